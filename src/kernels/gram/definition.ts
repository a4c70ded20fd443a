/** Inner products of vectors, as the gram kernels compute them. */

/** Pairs i ≤ j of so many vectors. */
export function pairCount(vectors: number): number {
  return (vectors * (vectors + 1)) / 2;
}

/**
 * Σ x_i x_j of every pair i ≤ j, row by row. Positions at which some vector is not finite are left out. Products and
 * sums are f64: four partial sums by position modulo 4, put together at the end as (s0 + s1) + (s2 + s3).
 *
 * @param vectors equally long.
 */
export function gramOf(vectors: readonly Float32Array[]): number[] {
  const isFinite = finitePositions(vectors);
  return pairsOf(vectors).map(([a, b]) => {
    const sums = [0, 0, 0, 0];
    for (let p = 0; p < a.length; p++) if (isFinite[p]) sums[p % 4]! += a[p]! * b[p]!;
    return sums[0]! + sums[1]! + (sums[2]! + sums[3]!);
  });
}

/** Of each column of matrices of `width` columns, stored row by row: the same pairs, summed in f64 from the first row on. */
export function columnGram(vectors: readonly Float32Array[], width: number): number[][] {
  const isFinite = finitePositions(vectors);
  return Array.from({ length: width }, (_, column) =>
    pairsOf(vectors).map(([a, b]) => {
      let sum = 0;
      for (let p = column; p < a.length; p += width) if (isFinite[p]) sum += a[p]! * b[p]!;
      return sum;
    }),
  );
}

function finitePositions(vectors: readonly Float32Array[]): boolean[] {
  return Array.from(vectors[0]!, (_, p) => vectors.every((values) => Number.isFinite(values[p])));
}

function pairsOf(vectors: readonly Float32Array[]): (readonly [Float32Array, Float32Array])[] {
  return vectors.flatMap((a, i) => vectors.slice(i).map((b) => [a, b] as const));
}
