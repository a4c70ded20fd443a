/**
 * One thread of a team: takes lanes of the run at hand until no whole ones are left, then its share of one that it runs
 * together with others.
 */
import { parentPort, workerData } from "node:worker_threads";
import { loadRuntime } from "../../runtime/kernels/load.js";
import type { Step } from "../../runtime/program.js";
import { runProgram, runShare } from "../../runtime/run.js";
import type { Steps } from "../../runtime/run.js";
import { sharesOf } from "../../runtime/shares.js";
import type { Task } from "../../runtime/team.js";
import { Barrier, BARRIER_CELLS } from "./barrier.js";

export interface TeamStart {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** Address of this thread's scratch memory. */
  readonly scratch: number;
  readonly thread: number;
  /** Threads of the team. */
  readonly threads: number;
  /** How many lanes of the run have been taken, and how many steps have been made. */
  readonly counts: Int32Array;
  /** Cells of as many barriers as there are threads. */
  readonly barriers: Int32Array;
}

export interface TeamTask extends Omit<Task, "program"> {
  readonly program: number;
}

export interface TeamMessage {
  /** Whether all earlier programs are forgotten. */
  readonly forget: boolean;
  /** Those that the threads do not know yet. */
  readonly programs: readonly { readonly number: number; readonly program: Steps }[];
  readonly lanes: readonly (readonly TeamTask[])[];
  readonly weights: number;
  readonly arenas: readonly number[];
}

const { memory, module, scratch, thread, threads, counts, barriers } = workerData as TeamStart;
const kernels = loadRuntime(memory, scratch, module);

const count = () => void Atomics.add(counts, 1, 1);

interface Known extends Steps {
  /** This thread's shares of the steps, by `index of count`. */
  readonly shares: Map<string, readonly (readonly Step[])[]>;
}

const known = new Map<number, Known>();

parentPort!.on("message", ({ forget, programs, lanes, weights, arenas }: TeamMessage) => {
  if (forget) known.clear();
  for (const { number, program } of programs) known.set(number, { ...program, shares: new Map() });
  // A thread that starts while another grows the memory may not hear of it; growing by nothing makes this one look.
  memory.grow(0);
  const together = lanes.length % threads;
  const alone = lanes.length - together;
  for (let lane = Atomics.add(counts, 0, 1); lane < alone; lane = Atomics.add(counts, 0, 1)) {
    for (const { program, ...bases } of lanes[lane]!) {
      runProgram(kernels, known.get(program)!, { ...bases, weights, arena: arenas[thread]! }, count);
    }
  }
  if (together > 0) runTogether(lanes.slice(alone), weights, arenas);
  parentPort!.postMessage("done");
});

/** Lanes that are fewer than the threads: each is run by a gang of threads, in the arena of its first. */
function runTogether(lanes: readonly (readonly TeamTask[])[], weights: number, arenas: readonly number[]): void {
  const size = Math.floor(threads / lanes.length);
  const gang = Math.floor(thread / size);
  if (gang >= lanes.length) return;
  const index = thread % size;
  const barrier = new Barrier(barriers.subarray(BARRIER_CELLS * gang, BARRIER_CELLS * (gang + 1)), size);
  const meet = () => {
    barrier.wait();
    if (index === 0) count();
  };
  // The arena may still be at work for a lane of its thread's own.
  barrier.wait();
  for (const { program, ...bases } of lanes[gang]!) {
    const { steps, again, shares } = known.get(program)!;
    const key = `${index} of ${size}`;
    const own = shares.get(key) ?? sharesOf(steps, index, size);
    shares.set(key, own);
    runShare(kernels, own, again, { ...bases, weights, arena: arenas[gang * size]! }, meet);
  }
}
