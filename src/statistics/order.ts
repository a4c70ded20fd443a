/**
 * Scores as whole numbers in the same order, so that ranks are found by counting: the key of an f32 is its bit pattern
 * with the sign turned (negative numbers: all bits turned). −0 counts as 0, and NaN is below everything.
 */

/** The key of +infinity, the largest there is. */
export const LARGEST_KEY = 0xff80_0000;

export function keyOf(score: number): number {
  if (Number.isNaN(score)) return 0;
  const bits = new Int32Array(Float32Array.of(score + 0).buffer)[0]!;
  return (bits < 0 ? ~bits : bits ^ 0x8000_0000) >>> 0;
}

/** The score of a key; −infinity for that of NaN. */
export function scoreOf(key: number): number {
  const bits = key >= 0x8000_0000 ? key ^ 0x8000_0000 : ~key;
  const score = new Float32Array(Int32Array.of(bits).buffer)[0]!;
  return Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score;
}
