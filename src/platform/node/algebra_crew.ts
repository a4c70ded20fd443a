import { Worker } from "node:worker_threads";
import { mapInLanes, soloAlgebraCrew } from "../../algebra/crew.js";
import type { AlgebraCrew, AlgebraTask, MapWork } from "../../algebra/crew.js";
import { fromPlainError } from "../../errors.js";
import type { MergewrightError } from "../../errors.js";
import type { AlgebraAnswer, AlgebraCall } from "./algebra_worker.js";
import { workerFailed } from "./worker_failed.js";

/** Worker threads, each with an algebra of its own, begun with the first work; the calling thread alone for one. */
export function createAlgebraCrew(threads: number): AlgebraCrew {
  return threads > 1 ? new WorkerAlgebraCrew(threads) : soloAlgebraCrew();
}

interface Hand {
  readonly worker: Worker;
  waiting: { resolve: (output: unknown) => void; reject: (error: unknown) => void } | null;
}

class WorkerAlgebraCrew implements AlgebraCrew {
  readonly threads: number;
  readonly #hands: (Hand | undefined)[] = [];
  #broken: MergewrightError | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  /** Threads that have nothing to do, the one that worked last at the end; and who waits for one. */
  readonly #idle: number[];
  readonly #queue: ((lane: number) => void)[] = [];

  constructor(threads: number) {
    this.threads = threads;
    this.#idle = Array.from({ length: threads }, (_, lane) => threads - 1 - lane);
  }

  map<Input, Output>(
    { module, name }: AlgebraTask<Input, Output>,
    count: number,
    work: MapWork<Input, Output>,
  ): Promise<void> {
    // Lists that are given at the same time take turns: each has all threads.
    const result = this.#turn.then(() =>
      mapInLanes(this.threads, count, work, (_, input) => this.#callFree<Output>({ module, name, input })),
    );
    this.#turn = result.catch(() => {});
    return result;
  }

  call<Input, Output>({ module, name }: AlgebraTask<Input, Output>, input: Input): Promise<Output> {
    return this.#callFree<Output>({ module, name, input });
  }

  async #callFree<Output>(call: AlgebraCall): Promise<Output> {
    const lane = this.#idle.pop() ?? (await new Promise<number>((resolve) => this.#queue.push(resolve)));
    try {
      return await this.#call<Output>(lane, call);
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#idle.push(lane);
      else next(lane);
    }
  }

  #call<Output>(lane: number, call: AlgebraCall): Promise<Output> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    const hand = (this.#hands[lane] ??= this.#hire());
    return new Promise((resolve, reject) => {
      hand.waiting = { resolve: (output) => resolve(output as Output), reject };
      hand.worker.ref();
      hand.worker.postMessage(call);
    });
  }

  #hire(): Hand {
    const worker = new Worker(new URL("algebra_worker.js", import.meta.url), { execArgv: [] });
    const hand: Hand = { worker, waiting: null };
    worker.on("message", (answer: AlgebraAnswer) => {
      const { waiting } = hand;
      hand.waiting = null;
      worker.unref();
      if (answer.error === null) waiting?.resolve(answer.output);
      else waiting?.reject(fromPlainError(answer.error));
    });
    // For the worker's whole life: an unheard error would end the process without a message.
    worker.on("error", (error) => this.#break(error));
    return hand;
  }

  #break(cause: unknown): void {
    this.#broken = workerFailed(cause);
    for (const hand of this.#hands) {
      hand?.waiting?.reject(this.#broken);
      if (hand !== undefined) hand.waiting = null;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#hands.map((hand) => hand?.worker.terminate()));
  }
}
