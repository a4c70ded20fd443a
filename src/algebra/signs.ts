/**
 * The rule that fixes signs: of every vector the entry of the largest magnitude, the first of several, is positive.
 * @returns −1 where the vector of `n` entries, `step` apart, has to be turned around, else 1.
 */
export function signOf(data: Float64Array, at: number, step: number, n: number): 1 | -1 {
  let largest = 0;
  let sign: 1 | -1 = 1;
  for (let index = 0; index < n; index++) {
    const value = data[at + index * step]!;
    if (Math.abs(value) <= largest) continue;
    largest = Math.abs(value);
    sign = value < 0 ? -1 : 1;
  }
  return sign;
}

/** Positions of `values` from the largest to the smallest; equal ones keep their order. */
export function descending(values: Float64Array): number[] {
  return [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
}
