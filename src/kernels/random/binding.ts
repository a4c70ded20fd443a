import { dropThreshold } from "../../numbers/random.js";
import type { StreamKey } from "../../numbers/random.js";
import type { Kernels } from "../load.js";

/** `dropChanges` of numbers/random.ts on `count` changes at an address in kernel memory. */
export type DropKernel = (
  changes: number,
  count: number,
  firstEntry: number,
  key: StreamKey,
  drop: number,
  scale: number,
) => void;

export function dropKernel(kernels: Kernels): DropKernel {
  const run: (...args: number[]) => void = kernels.get("drop");
  return (changes, count, firstEntry, { key0, key1, stream0, stream1 }, drop, scale) => {
    const threshold = dropThreshold(drop);
    // 2^32 does not fit into the kernel's u32
    const all = threshold === 2 ** 32;
    const limit = all ? 0 : threshold;
    run(changes, count, firstEntry, key0, key1, stream0, stream1, limit, all ? 1 : 0, scale);
  };
}

/** `randomWords` of numbers/random.ts, written as u32 to an address in kernel memory. */
export type WordsKernel = (target: number, count: number, firstEntry: number, key: StreamKey) => void;

export function wordsKernel(kernels: Kernels): WordsKernel {
  const run: (...args: number[]) => void = kernels.get("words");
  return (target, count, firstEntry, { key0, key1, stream0, stream1 }) =>
    run(target, count, firstEntry, key0, key1, stream0, stream1);
}
