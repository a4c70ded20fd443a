import type { Block } from "./blocks.js";

/** Entries of a whole model that are sampled: half a million. */
export const MODEL_SAMPLE = 524_288;
const TENSOR_SAMPLES = [16_384, 32_768, 65_536] as const;
const SAMPLED_SHARE = 64;

/** Entries read together where only a sample is read: one kibibyte of a 16-bit format. */
export const SAMPLE_RUN = 512;

/** Entries of a tensor that are sampled, about one in 64: more costs as much as counting in a narrower bracket saves. */
export function tensorSample(entries: number): number {
  return TENSOR_SAMPLES.find((size) => size * SAMPLED_SHARE >= entries) ?? TENSOR_SAMPLES.at(-1)!;
}

/** Runs that a thread takes together: it reads one in less time than it takes to be told of it. */
const RUNS_TOGETHER = 8;

/** Runs of one tensor, one after the other; `start` is the first one's, `count` is of all. */
export interface SampledRuns extends Block {
  readonly runs: readonly Block[];
}

/** @param runs in order, each tensor's together. */
export function runsTogether(runs: readonly Block[]): SampledRuns[] {
  const groups: Block[][] = [];
  for (const run of runs) {
    const last = groups.at(-1);
    if (last !== undefined && last.length < RUNS_TOGETHER && last[0]!.tensor === run.tensor) last.push(run);
    else groups.push([run]);
  }
  return groups.map((some) => {
    const { tensor, start } = some[0]!;
    return { tensor, start, count: some.reduce((sum, { count }) => sum + count, 0), runs: some };
  });
}

/** Takes the next `count` places of samples, of which so many are filled. @returns the first of each. */
export function takeSlots(filled: number[], samples: readonly number[], count: number): number[] {
  return samples.map((sample) => {
    const slot = filled[sample]!;
    filled[sample] = slot + count;
    return slot;
  });
}

/**
 * Short runs of entries spread evenly over tensors one after the other.
 * @param tensors indices; `entriesOf` their sizes.
 * @param sample entries wanted, a multiple of `length`.
 */
export function evenRuns(
  tensors: readonly number[],
  entriesOf: (tensor: number) => number,
  sample: number,
  length: number,
): Block[] {
  const total = tensors.reduce((sum, tensor) => sum + entriesOf(tensor), 0);
  const runs = sample / length;
  const blocks: Block[] = [];
  let index = 0;
  let before = 0;
  for (let run = 0; run < runs; run++) {
    const position = Math.floor((run * total) / runs);
    while (position >= before + entriesOf(tensors[index]!)) before += entriesOf(tensors[index++]!);
    const tensor = tensors[index]!;
    const start = position - before;
    blocks.push({ tensor, start, count: Math.min(length, entriesOf(tensor) - start) });
  }
  return blocks;
}
