/** Worker threads, which load their code while it is still being found out what they will work on. */
import os from "node:os";
import { Worker } from "node:worker_threads";

const waiting: Worker[] = [];

/**
 * Starts threads for the crew that is going to be made. They keep no process alive; those that nobody takes end with it.
 * @param count default: as many as `defaultThreads`. The calling thread does the work of one.
 */
export function startThreads(count: number = defaultThreads()): void {
  if (count === 1) return;
  while (waiting.length < count) {
    const thread = open();
    thread.unref();
    waiting.push(thread);
  }
}

/** A thread that waits for a `WorkerStart`: one that was started before, or a new one. */
export function takeThread(): Worker {
  const thread = waiting.shift();
  thread?.ref();
  return thread ?? open();
}

/** One thread per processor. */
export function defaultThreads(): number {
  return os.availableParallelism();
}

function open(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { execArgv: [] });
}
