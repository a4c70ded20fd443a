import type { Block } from "./blocks.js";

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
