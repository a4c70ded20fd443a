import type { Kernels } from "../load.js";

/** `keepFirst` of definition.ts over `count` entries in kernel memory. */
export function keepFirstKernel(
  kernels: Kernels,
): (address: number, count: number, threshold: number, left: number) => number {
  return kernels.get("keep_first");
}
