/**
 * The upper 32 of the 64 bits of `a` × (`upper` × 2^16 + `lower`), all unsigned; `Math.imul` gives the lower 32. The
 * constant comes in halves so that every partial sum stays below 2^32 and nothing is computed in floating point.
 */
export function multiplyHigh(a: number, upper: number, lower: number): number {
  const aLower = a & 0xffff;
  const aUpper = a >>> 16;
  const middle = (Math.imul(aUpper, lower) + (Math.imul(aLower, lower) >>> 16)) >>> 0;
  const other = (Math.imul(aLower, upper) + (middle & 0xffff)) >>> 0;
  return (Math.imul(aUpper, upper) + (middle >>> 16) + (other >>> 16)) | 0;
}
