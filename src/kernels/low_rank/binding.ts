import type { Kernels } from "../load.js";

/** Addresses of f32 in kernel memory, of any alignment; strides in entries. See kernel.as.ts. */
export type LowRankKernel = (
  target: number,
  stride: number,
  rows: number,
  columns: number,
  left: number,
  right: number,
  rightStride: number,
  rank: number,
) => number;

export function lowRankKernel(kernels: Kernels): LowRankKernel {
  return kernels.exports["low_rank"] as LowRankKernel;
}
