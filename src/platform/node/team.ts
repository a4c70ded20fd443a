import { Worker } from "node:worker_threads";
import type { MergewrightError } from "../../errors.js";
import { createMemory } from "../../kernels/load.js";
import { compileRuntime, loadRuntime } from "../../runtime/kernels/load.js";
import type { Program } from "../../runtime/program.js";
import { stepsOf } from "../../runtime/run.js";
import type { Steps } from "../../runtime/run.js";
import { PROGRESS_EVERY, scratchPlaces } from "../../runtime/team.js";
import type { Lane, Progress, Team } from "../../runtime/team.js";
import { BARRIER_CELLS } from "./barrier.js";
import type { TeamMessage, TeamStart, TeamTask } from "./team_worker.js";
import { workerFailed } from "./worker_failed.js";

/** Programs that threads remember. */
const PROGRAMS_KNOWN = 64;

/** Worker threads over one shared memory; each takes the next lane that is left, and what is left over they share. */
export function threadTeam(threads: number): Team {
  return new ThreadTeam(threads);
}

class ThreadTeam implements Team {
  readonly threads: number;
  readonly memory: WebAssembly.Memory;
  readonly kernels: Team["kernels"];
  readonly free: number;
  readonly #workers: readonly Worker[];
  /** How many lanes have been taken, and how many steps have been made. */
  readonly #counts = new Int32Array(new SharedArrayBuffer(8));
  readonly #known = new Map<Program, number>();
  #nextProgram = 0;
  #running: { waiting: number; resolve: () => void; reject: (error: unknown) => void } | null = null;
  #broken: MergewrightError | null = null;

  constructor(threads: number) {
    this.threads = threads;
    const { scratch, free } = scratchPlaces(threads);
    this.free = free;
    this.memory = createMemory(4 * free, true);
    const module = compileRuntime(true);
    this.kernels = loadRuntime(this.memory, 0, module);
    const barriers = new Int32Array(new SharedArrayBuffer(4 * BARRIER_CELLS * threads));
    const common = { memory: this.memory, module, threads, counts: this.#counts, barriers };
    this.#workers = scratch.map((place, thread) => {
      const workerData: TeamStart = { ...common, scratch: place, thread };
      const worker = new Worker(new URL("team_worker.js", import.meta.url), { workerData });
      worker.on("message", () => this.#done());
      // For the worker's whole life: an unheard error would end the process without a message.
      worker.on("error", (error) => this.#break(error));
      worker.unref();
      return worker;
    });
  }

  async run(
    lanes: readonly Lane[],
    weights: number,
    arenas: readonly number[],
    progress: Progress = () => {},
  ): Promise<void> {
    const total = lanes.flat().reduce((sum, { program }) => sum + stepsOf(program), 0);
    const timer = setInterval(() => progress(Atomics.load(this.#counts, 1) / total), PROGRESS_EVERY);
    try {
      await this.#run(lanes, weights, arenas);
    } finally {
      clearInterval(timer);
    }
  }

  #run(lanes: readonly Lane[], weights: number, arenas: readonly number[]): Promise<void> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    const forget = this.#forget();
    const fresh = this.#learn(lanes.flat().map(({ program }) => program));
    const tasks = lanes.map((lane) =>
      lane.map(({ program, ...bases }): TeamTask => ({ ...bases, program: this.#known.get(program)! })),
    );
    this.#counts.fill(0);
    return new Promise((resolve, reject) => {
      this.#running = { waiting: this.threads, resolve, reject };
      const message: TeamMessage = { forget, programs: fresh, lanes: tasks, weights, arenas };
      for (const worker of this.#workers) {
        worker.ref();
        worker.postMessage(message);
      }
    });
  }

  /** Forgets all programs once there are many of them. */
  #forget(): boolean {
    if (this.#known.size < PROGRAMS_KNOWN) return false;
    this.#known.clear();
    return true;
  }

  /** Numbers programs; those that are new are sent along, without what only the main thread writes. */
  #learn(programs: readonly Program[]): TeamMessage["programs"] {
    const fresh: { number: number; program: Steps }[] = [];
    for (const program of programs) {
      if (this.#known.has(program)) continue;
      this.#known.set(program, this.#nextProgram);
      const { steps, again } = program;
      fresh.push({ number: this.#nextProgram++, program: { steps, again } });
    }
    return fresh;
  }

  #done(): void {
    if (this.#running === null || --this.#running.waiting > 0) return;
    const { resolve } = this.#running;
    this.#running = null;
    for (const worker of this.#workers) worker.unref();
    resolve();
  }

  #break(error: unknown): void {
    this.#broken = workerFailed(error);
    this.#running?.reject(this.#broken);
    this.#running = null;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
