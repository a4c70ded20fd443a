/** One thread of a team: takes lanes of the run at hand until none is left. */
import { parentPort, workerData } from "node:worker_threads";
import { loadRuntime } from "../../runtime/kernels/load.js";
import { runProgram } from "../../runtime/run.js";
import type { Steps } from "../../runtime/run.js";
import type { Task } from "../../runtime/team.js";

export interface TeamStart {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** Address of this thread's scratch memory. */
  readonly scratch: number;
  readonly thread: number;
  /** How many lanes of the run have been taken. */
  readonly taken: Int32Array;
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

const { memory, module, scratch, thread, taken } = workerData as TeamStart;
const kernels = loadRuntime(memory, scratch, module);
const known = new Map<number, Steps>();

parentPort!.on("message", ({ forget, programs, lanes, weights, arenas }: TeamMessage) => {
  if (forget) known.clear();
  for (const { number, program } of programs) known.set(number, program);
  // A thread that starts while another grows the memory may not hear of it; growing by nothing makes this one look.
  memory.grow(0);
  const arena = arenas[thread]!;
  for (let lane = Atomics.add(taken, 0, 1); lane < lanes.length; lane = Atomics.add(taken, 0, 1)) {
    for (const { program, ...bases } of lanes[lane]!) {
      runProgram(kernels, known.get(program)!, { ...bases, weights, arena });
    }
  }
  parentPort!.postMessage("done");
});
