import type { Block } from "./blocks.js";
import { exactSums, jobs } from "./jobs.js";
import type { Bench } from "./bench.js";
import type { JobName, Jobs } from "./jobs.js";

/** The part of block `index` of a stage; for parts that threads add up themselves `index` is −1 − thread. */
export interface BlockPart<N extends JobName> {
  readonly index: number;
  readonly part: Jobs[N]["part"];
}

/** One job over a list of blocks, worked on by every thread until none is left. */
export interface Stage<N extends JobName> {
  readonly job: N;
  readonly blocks: readonly Jobs[N]["block"][];
  readonly args: Jobs[N]["args"];
}

/** Threads that work on stages in the order they are given. The only thing execute knows of threads. */
export interface Crew {
  readonly threads: number;
  /** Kernel memory shared with the threads, for histograms and samples. */
  readonly memory: WebAssembly.Memory;
  /** Address of the bytes reserved for statistics at the creation of the crew. */
  readonly statistics: number;
  /**
   * @param progress called from time to time with parts that are done, before the promise resolves with all of them
   * in block order.
   */
  run<N extends JobName>(
    stage: Stage<N>,
    progress?: (parts: readonly BlockPart<N>[]) => void,
  ): Promise<Jobs[N]["part"][]>;
  close(): Promise<void>;
}

/** Gives out the blocks of a stage; half of the threads take them from the front, half from the back. */
export interface Claims {
  /** @returns an index, or −1 when none is left. */
  next(): number;
}

/** One thread's share of a stage. */
export async function workOn<N extends JobName>(
  bench: Bench,
  { job, blocks, args }: Stage<N>,
  claims: Claims,
  thread: number,
  done: (part: BlockPart<N>) => void | Promise<void>,
): Promise<void> {
  const run = jobs[job] as (bench: Bench, block: Block, args: Jobs[N]["args"]) => Promise<Jobs[N]["part"]>;
  const add = exactSums[job];
  let sum: { part: Jobs[N]["part"] } | null = null;
  for (let index = claims.next(); index >= 0; index = claims.next()) {
    const part = await run(bench, blocks[index]!, args);
    if (add === undefined) await done({ index, part });
    else sum = { part: sum === null ? part : add(sum.part, part) };
  }
  if (sum !== null) await done({ index: -1 - thread, part: sum.part });
}

/** Parts in block order; those summed by threads follow in any order, their sums being exact. */
export function inOrder<N extends JobName>(parts: readonly BlockPart<N>[]): Jobs[N]["part"][] {
  return [...parts].sort((a, b) => a.index - b.index).map(({ part }) => part);
}

/** Milliseconds of work after which the crew of one lets timers and signals in. */
const PAUSE_EVERY = 50;

/** The crew of one: the calling thread. Also what runs where threads or shared memory are missing. */
export function soloCrew(bench: Bench, statistics: number): Crew {
  // Stages may be given while another runs; they share the buffers of one bench, so they take turns.
  let turn: Promise<unknown> = Promise.resolve();
  return {
    threads: 1,
    memory: bench.work.kernels.memory,
    statistics,
    run(stage, progress) {
      const result = turn.then(() => runAlone(bench, stage, progress));
      turn = result.catch(() => {});
      return result;
    },
    close: () => bench.work.close(),
  };
}

async function runAlone<N extends JobName>(
  bench: Bench,
  stage: Stage<N>,
  progress: ((parts: readonly BlockPart<N>[]) => void) | undefined,
): Promise<Jobs[N]["part"][]> {
  let taken = 0;
  const claims = { next: () => (taken < stage.blocks.length ? taken++ : -1) };
  const parts: BlockPart<N>[] = [];
  let paused = performance.now();
  await workOn(bench, stage, claims, 0, async (part) => {
    parts.push(part);
    progress?.([part]);
    if (performance.now() - paused < PAUSE_EVERY) return;
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    paused = performance.now();
  });
  return inOrder(parts);
}

/** A crew that tells which blocks of a stage are done, as they are; blocks whose parts threads add up, at its end. */
export function observed(crew: Crew, done: (job: JobName, blocks: readonly Block[]) => void): Crew {
  return {
    threads: crew.threads,
    memory: crew.memory,
    statistics: crew.statistics,
    close: () => crew.close(),
    async run<N extends JobName>(stage: Stage<N>, progress?: (parts: readonly BlockPart<N>[]) => void) {
      const parts = await crew.run(stage, (some) => {
        progress?.(some);
        done(
          stage.job,
          some.flatMap(({ index }) => (index < 0 ? [] : [stage.blocks[index]!])),
        );
      });
      if (exactSums[stage.job] !== undefined) done(stage.job, stage.blocks);
      return parts;
    },
  };
}
