import { createMemory, PAGE_BYTES } from "../kernels/load.js";
import { SCRATCH_BYTES } from "./kernels/definitions.js";
import { loadRuntime } from "./kernels/load.js";
import type { RuntimeKernels } from "./kernels/load.js";
import type { Program } from "./program.js";
import { runProgram, stepsOf } from "./run.js";

/** A program over a part of a batch; addresses in entries. */
export interface Task {
  readonly program: Program;
  readonly inputs: number;
  readonly outputs: number;
  readonly gradients: number;
}

/** Tasks that one thread does one after the other, because they add to the same sums. */
export type Lane = readonly Task[];

/** Is told a share between 0 and 1. */
export type Progress = (share: number) => void;

/** Milliseconds between reports of progress. */
export const PROGRESS_EVERY = 100;

/** Threads over one memory. Which thread takes which lane, or a share of one, changes no result. */
export interface Team {
  readonly threads: number;
  readonly memory: WebAssembly.Memory;
  /** Kernels for the calling thread's own use; not those that need scratch memory. */
  readonly kernels: RuntimeKernels;
  /** The first entry that is free for weights and whatever follows. */
  readonly free: number;
  /**
   * @param arenas the beginning of each thread's working memory.
   * @param progress told now and then of the share of the kernel calls that has been made.
   */
  run(lanes: readonly Lane[], weights: number, arenas: readonly number[], progress?: Progress): Promise<void>;
  close(): Promise<void>;
}

/** Addresses of each thread's scratch memory in bytes, and the entry behind the last. */
export function scratchPlaces(threads: number): { readonly scratch: readonly number[]; readonly free: number } {
  const scratch = Array.from({ length: threads }, (_, thread) => PAGE_BYTES + thread * SCRATCH_BYTES);
  return { scratch, free: (PAGE_BYTES + threads * SCRATCH_BYTES) / 4 };
}

/** Milliseconds of work after which the calling thread lets timers and events in. */
const PAUSE_EVERY = 50;

/** The calling thread alone: browsers, and wherever memory cannot be shared. */
export function soloTeam(): Team {
  const { scratch, free } = scratchPlaces(1);
  const memory = createMemory(4 * free, false);
  const kernels = loadRuntime(memory, scratch[0]!);
  return {
    threads: 1,
    memory,
    kernels,
    free,
    async run(lanes, weights, [arena], progress) {
      let paused = performance.now();
      const tasks = lanes.flat();
      const total = tasks.reduce((sum, { program }) => sum + stepsOf(program), 0);
      let done = 0;
      let told = paused;
      const tell = () => {
        done++;
        if (progress === undefined || performance.now() - told < PROGRESS_EVERY) return;
        told = performance.now();
        progress(done / total);
      };
      for (const { program, inputs, outputs, gradients } of tasks) {
        runProgram(kernels, program, { weights, arena: arena!, inputs, outputs, gradients }, tell);
        if (performance.now() - paused < PAUSE_EVERY) continue;
        await new Promise<void>((resolve) => setTimeout(resolve, 0));
        paused = performance.now();
      }
    },
    close: () => Promise.resolve(),
  };
}
