import { DTYPE_BYTES, type Dtype } from "../../numbers/dtypes.js";

/** Bytes of a tensor, or `null` where their number passes 2^53 − 1. */
export function bytesOf(dtype: Dtype, shape: readonly number[]): number | null {
  let product = DTYPE_BYTES[dtype];
  for (const dimension of shape) {
    product *= dimension;
    if (product > Number.MAX_SAFE_INTEGER) return null;
  }
  return product;
}
