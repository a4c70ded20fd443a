import { digestText } from "../../numbers/checksum.js";
import type { Kernels } from "../load.js";

/** XXH64, with seed 0, of bytes in kernel memory: what `xxh64` of numbers/checksum.ts gives for them. */
export function checksumKernel(kernels: Kernels): (address: number, bytes: number) => string {
  const xxh64 = kernels.get("xxh64") as unknown as (address: number, bytes: number) => bigint;
  return (address, bytes) => digestText(xxh64(address, bytes));
}
