import { dropThreshold, survivorScale } from "../../numbers/random.js";
import type { StreamKey } from "../../numbers/random.js";
import type { Kernels } from "../load.js";

/** `dropChanges` of numbers/random.ts on `count` changes at an address in kernel memory. */
export type DropKernel = (
  changes: number,
  count: number,
  firstEntry: number,
  key: StreamKey,
  drop: number,
  rescale: boolean,
) => void;

export function dropKernel(kernels: Kernels): DropKernel {
  const run: (...args: number[]) => void = kernels.get("drop");
  return (changes, count, firstEntry, { key0, key1, stream0, stream1 }, drop, rescale) => {
    const threshold = dropThreshold(drop);
    // 2^32 does not fit into the kernel's u32
    const all = threshold === 2 ** 32;
    const limit = all ? 0 : threshold;
    const scale = survivorScale(drop, rescale);
    run(changes, count, firstEntry, key0, key1, stream0, stream1, limit, all ? 1 : 0, scale);
  };
}
