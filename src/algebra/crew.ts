/**
 * Many matrices on many threads. A task is a function of an algebra and plain data, exported by a module so that another
 * thread finds it; a crew maps it over a list of inputs, which are made when a thread is free for them:
 *
 *     // expert_task.ts
 *     export const expertTask = algebraTask(import.meta.url, "expertTask", (algebra, input: Input): Output => …);
 *     // where the work is given out
 *     await crew.map(expertTask, jobs.length, {
 *       input: (index) => read(jobs[index]),
 *       done: (index, output) => write(jobs[index], output),
 *     });
 *
 * The platform makes the crew: `platform/node/algebra_crew.ts` has worker threads, `soloAlgebraCrew` is the calling thread.
 * Nothing about a result depends on which: an algebra gives the same bits on every thread.
 */
import { MergewrightError } from "../errors.js";
import { openAlgebra } from "./algebra.js";
import type { Algebra } from "./algebra.js";

/** What is done to one input. Inputs and outputs are plain data: objects, arrays, typed arrays, numbers, strings. */
export interface AlgebraTask<Input, Output> {
  /** Address of the module that exports the task, and the name under which. */
  readonly module: string;
  readonly name: string;
  readonly run: (algebra: Algebra, input: Input) => Output | Promise<Output>;
}

/** @param module `import.meta.url`. @param name the name of the constant that the result is assigned to and exported as. */
export function algebraTask<Input, Output>(
  module: string,
  name: string,
  run: AlgebraTask<Input, Output>["run"],
): AlgebraTask<Input, Output> {
  return { module, name, run };
}

export interface MapWork<Input, Output> {
  /** Makes input `index`, 0 to count − 1. Called in order, one at a time, when a thread is free. */
  readonly input: (index: number) => Input | Promise<Input>;
  /** Takes an output. Called one at a time, in the order in which outputs are finished; the next input does not wait. */
  readonly done: (index: number, output: Output) => void | Promise<void>;
  /** Told after every `done` how many there have been. */
  readonly progress?: (finished: number, count: number) => void;
  /** What has begun when it aborts is finished first, but no longer taken. */
  readonly signal?: AbortSignal;
}

export interface AlgebraCrew {
  readonly threads: number;
  /**
   * At most as many inputs as there are threads, and outputs that wait for `done`, are in memory at a time.
   * @throws the error of the lowest index that failed, once what had begun is finished; the same for any number of threads.
   * `interrupted` when the signal aborts.
   */
  map<Input, Output>(task: AlgebraTask<Input, Output>, count: number, work: MapWork<Input, Output>): Promise<void>;
  /** One input, on the next thread that is free. */
  call<Input, Output>(task: AlgebraTask<Input, Output>, input: Input): Promise<Output>;
  close(): Promise<void>;
}

/** Milliseconds of work after which the calling thread lets timers and events in. */
const PAUSE_EVERY = 50;

/** The crew of one: the calling thread. Browsers, and work that is not worth threads. */
export function soloAlgebraCrew(): AlgebraCrew {
  let algebra: Algebra | null = null;
  let paused = performance.now();
  const call = async <Input, Output>(task: AlgebraTask<Input, Output>, input: Input): Promise<Output> => {
    if (performance.now() - paused >= PAUSE_EVERY) {
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
      paused = performance.now();
    }
    return task.run((algebra ??= openAlgebra()), input);
  };
  return {
    threads: 1,
    map: (task, count, work) => mapInLanes(1, count, work, (_, input) => call(task, input)),
    call,
    close: () => Promise.resolve(),
  };
}

/** What crews have in common: `lanes` inputs at a time. @param call does the task, in the lane's thread. */
export async function mapInLanes<Input, Output>(
  lanes: number,
  count: number,
  { input, done, progress, signal }: MapWork<Input, Output>,
  call: (lane: number, input: Input) => Promise<Output>,
): Promise<void> {
  const failed: { readonly index: number; readonly error: unknown }[] = [];
  const [made, taken] = [inTurn(), inTurn()];
  let [next, finished] = [0, 0];
  const stopped = () => failed.length > 0 || signal?.aborted === true;
  const lane = async (number: number) => {
    while (!stopped() && next < count) {
      const index = next++;
      try {
        const output = await call(number, await made(() => input(index)));
        await taken(async () => {
          if (stopped()) return;
          await done(index, output);
          progress?.(++finished, count);
        });
      } catch (error) {
        failed.push({ index, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, count) }, (_, number) => lane(number)));
  const [first] = failed.sort((a, b) => a.index - b.index);
  if (first !== undefined) throw first.error;
  if (signal?.aborted === true && finished < count) throw interrupted(finished, count);
}

/** Lets one piece of work begin when the one before it has ended, well or badly. */
function inTurn(): <T>(work: () => T | Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  };
}

function interrupted(finished: number, count: number): MergewrightError {
  return new MergewrightError(`stopped after ${finished} of ${count} matrices`, {
    kind: "environment",
    code: "interrupted",
    advice: "run the same command again",
  });
}
