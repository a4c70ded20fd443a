import type { Worker } from "node:worker_threads";
import { fromPlainError } from "../../errors.js";
import type { MergewrightError } from "../../errors.js";
import { inOrder, soloCrew } from "../../execute/crew.js";
import type { BlockPart, Crew, Stage } from "../../execute/crew.js";
import type { JobName, Jobs } from "../../execute/jobs.js";
import type { WorkSetup } from "../../execute/setup.js";
import { workbenchBytes } from "../../execute/workbench.js";
import type { Method } from "../../methods/method.js";
import { canShareMemory, compileKernels, createMemory, loadKernels, PAGE_BYTES } from "../../kernels/load.js";
import { openBench } from "./bench.js";
import { CLAIM_INTS, CLAIM_SLOTS } from "./messages.js";
import type { FromWorker, ToWorker, WorkerStart } from "./messages.js";
import { takeThread } from "./threads.js";
import { workerFailed } from "./worker_failed.js";

/** The first page is left to the kernels' own data. */
const RESERVED = PAGE_BYTES;

/**
 * Threads over one shared kernel memory; the calling thread alone for one thread or where memory cannot be shared.
 * @param statisticsBytes kernel memory reserved for samples and histograms.
 * @param own methods beside those of the catalogue; one that no module holds is known to the calling thread alone.
 */
export async function createCrew(
  setup: WorkSetup,
  threads: number,
  statisticsBytes: number,
  own: readonly Method[] = [],
): Promise<Crew> {
  const bytes = workbenchBytes(setup);
  const count = canShareMemory() && !isBound(setup, own) ? threads : 1;
  const memory = createMemory(RESERVED + statisticsBytes + count * bytes, count > 1);
  const regionOf = (thread: number) => ({ address: RESERVED + statisticsBytes + thread * bytes, bytes });
  if (count > 1) return new WorkerCrew(setup, memory, count, regionOf, modulesOf(own));
  const bench = openBench(setup, loadKernels(memory), regionOf(0), own);
  return { ...soloCrew(bench, RESERVED), close: () => bench.close() };
}

/** Whether the work needs a method that no module holds, so that no other thread can load it. */
function isBound(setup: WorkSetup, own: readonly Method[]): boolean {
  const used = new Set([setup.method, ...setup.merges.map((merge) => merge.setup.method)]);
  return own.some(({ name, origin }) => origin === undefined && used.has(name));
}

function modulesOf(own: readonly Method[]): string[] {
  return [...new Set(own.flatMap(({ origin }) => (origin === undefined ? [] : [origin.module])))];
}

interface Running {
  readonly parts: BlockPart<JobName>[];
  readonly progress: ((parts: readonly BlockPart<JobName>[]) => void) | undefined;
  readonly resolve: (parts: Jobs[JobName]["part"][]) => void;
  readonly reject: (error: unknown) => void;
  readonly blocks: number;
  waiting: number;
  error: unknown;
}

class WorkerCrew implements Crew {
  readonly threads: number;
  readonly memory: WebAssembly.Memory;
  readonly statistics = RESERVED;
  readonly #workers: Worker[];
  readonly #claims = new Int32Array(new SharedArrayBuffer(CLAIM_SLOTS * CLAIM_INTS * 4));
  readonly #running = new Map<number, Running>();
  #nextId = 0;
  #broken: MergewrightError | null = null;

  constructor(
    setup: WorkSetup,
    memory: WebAssembly.Memory,
    threads: number,
    regionOf: (thread: number) => WorkerStart["region"],
    modules: readonly string[],
  ) {
    this.threads = threads;
    this.memory = memory;
    const module = compileKernels(true);
    this.#workers = Array.from({ length: threads }, (_, thread) => {
      const region = regionOf(thread);
      const worker = takeThread();
      worker.on("message", (message: FromWorker) => this.#receive(message));
      // Listened to for the worker's whole life: an unheard error would end the process without a message.
      worker.on("error", (error) => this.#break(error));
      const start: ToWorker = {
        type: "start",
        start: { setup, memory, module, region, thread, claims: this.#claims, modules },
      };
      worker.postMessage(start);
      return worker;
    });
  }

  run<N extends JobName>(
    { job, blocks, args }: Stage<N>,
    progress?: (parts: readonly BlockPart<N>[]) => void,
  ): Promise<Jobs[N]["part"][]> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    if (blocks.length === 0) return Promise.resolve([]);
    const id = this.#nextId++;
    const slot = id % CLAIM_SLOTS;
    this.#claims.fill(0, slot * CLAIM_INTS, (slot + 1) * CLAIM_INTS);
    return new Promise((resolve, reject) => {
      this.#running.set(id, {
        parts: [],
        progress: progress as Running["progress"],
        resolve: resolve,
        reject,
        blocks: blocks.length,
        waiting: this.threads,
        error: null,
      });
      const message: ToWorker = { type: "stage", id, slot, job, blocks, args };
      for (const worker of this.#workers) worker.postMessage(message);
    });
  }

  #receive(message: FromWorker): void {
    const running = this.#running.get(message.id);
    if (running === undefined) return;
    if (message.parts.length > 0) this.#take(running, message);
    if (message.type === "parts") return;
    if (message.error !== null) running.error ??= fromPlainError(message.error);
    if (--running.waiting > 0) return;
    this.#running.delete(message.id);
    if (running.error !== null) running.reject(running.error);
    else running.resolve(inOrder(running.parts));
  }

  #take(running: Running, { id, parts }: FromWorker): void {
    for (const part of parts) running.parts.push(part);
    try {
      running.progress?.(parts);
    } catch (error) {
      // Such as a full disk under the journal: the threads stop taking blocks, then the stage fails.
      running.error ??= error;
      Atomics.add(this.#claims, (id % CLAIM_SLOTS) * CLAIM_INTS, running.blocks);
    }
  }

  #break(error: unknown): void {
    this.#broken = workerFailed(error, "run the same command again; it continues where it stopped");
    for (const running of this.#running.values()) running.reject(this.#broken);
    this.#running.clear();
  }

  async close(): Promise<void> {
    const ended = this.#workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve)));
    const close: ToWorker = { type: "close" };
    for (const worker of this.#workers) worker.postMessage(close);
    await Promise.all(ended);
  }
}
