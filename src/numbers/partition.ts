/**
 * How many leading indices of 0 … `length` − 1 satisfy a condition that, once it fails, fails for all after: a binary search.
 */
export function partitionPoint(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
