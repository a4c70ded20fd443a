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
  return (changes, count, firstEntry, { key0, key1, stream0, stream1 }, drop, scale) =>
    run(changes, count, firstEntry, key0, key1, stream0, stream1, ...limitOf(dropThreshold(drop)), scale);
}

/** `chanceBytes` of numbers/random.ts, written to an address in kernel memory. */
export type ChanceBytesKernel = (target: number, count: number, firstEntry: number, key: StreamKey) => void;

export function chanceBytesKernel(kernels: Kernels): ChanceBytesKernel {
  const run: (...args: number[]) => void = kernels.get("chance_bytes");
  return (target, count, firstEntry, { key0, key1, stream0, stream1 }) =>
    run(target, count, firstEntry, key0, key1, stream0, stream1);
}

/** `chanceKept` of numbers/random.ts, written to an address in kernel memory. */
export type ChanceKeptKernel = (
  target: number,
  count: number,
  firstEntry: number,
  key: StreamKey,
  threshold: number,
) => void;

export function chanceKeptKernel(kernels: Kernels): ChanceKeptKernel {
  const run: (...args: number[]) => void = kernels.get("chance_kept");
  return (target, count, firstEntry, { key0, key1, stream0, stream1 }, threshold) =>
    run(target, count, firstEntry, key0, key1, stream0, stream1, ...limitOf(threshold));
}

/** A threshold, and 1 where it is 2^32, which does not fit into a kernel's u32. */
function limitOf(threshold: number): readonly [limit: number, all: number] {
  return threshold === 2 ** 32 ? [0, 1] : [threshold, 0];
}
