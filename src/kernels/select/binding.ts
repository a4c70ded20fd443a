import type { FindRank } from "./definition.js";
import type { Kernels } from "../load.js";

const RESULT_AT = 4 * (8192 + 2048 + 256 + 2);
/** Bytes of memory that `rankSelector` works in. */
export const SELECT_BYTES = RESULT_AT + 12;

/**
 * `selectRanks` of definition.ts for a sample that lies in kernel memory.
 * @param state address of `SELECT_BYTES` bytes, a multiple of four, which are the sample's until its last rank is found.
 */
export function selectRanksKernel(kernels: Kernels, state: number, { byteOffset, length }: Uint32Array): FindRank {
  const start: (values: number, count: number, state: number) => void = kernels.get("select_start");
  const select: (values: number, count: number, rank: number, state: number) => void = kernels.get("select_rank");
  const result = new Uint32Array(kernels.memory.buffer, state + RESULT_AT, 3);
  start(byteOffset, length, state);
  return (rank) => {
    select(byteOffset, length, rank, state);
    return { bits: result[0]!, above: result[1]!, atLeast: result[2]! };
  };
}
