/**
 * Of the entries whose magnitude equals a threshold keeps the first ones and sets the others to zero.
 * @param left how many are kept.
 * @returns how many more may be kept.
 */
export function keepFirst(values: Float32Array, threshold: number, left: number): number {
  for (const [at, value] of values.entries()) {
    if (Math.abs(value) !== threshold) continue;
    if (left > 0) left--;
    else values[at] = 0;
  }
  return left;
}
