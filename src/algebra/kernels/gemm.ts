/** What the definition computes on: entries, and the rounding after every operation. */
export interface ProductMachine {
  readonly f: Float32Array | Float64Array;
  readonly round: (value: number) => number;
}

const BLOCK_K = 256;

/**
 * What of a product is computed where row r and column (or step of k) s belong together only if s is at most past + r,
 * as positions of a text that do not look ahead. Panels of 4 rows and 8 columns are computed or left out as a whole, so
 * entries beside the limit count and must be zeros or be ignored. Rows and `past` in whole panels may be taken apart.
 */
export const PARTS = {
  whole: 0,
  /** Entries of C that no row of a panel needs are not written. */
  entries: 1,
  /** Terms of the sum: k at most past + r. */
  first: 2,
  /** Terms of the sum where r is at most past + k: the transpose of `first`. */
  last: 3,
} as const;

/**
 * C = alpha op(A) op(B), plus C where `accumulate`, else plus `bias` (one entry per column; 0 for none). op(A) is
 * `[m, k]`, op(B) `[k, n]`; transposed inputs lie as `[k, m]` and `[n, k]`. Addresses and strides count entries. Sums run
 * along k in blocks of 256, each block from zero.
 */
export function gemm(
  machine: ProductMachine,
  m: number,
  n: number,
  k: number,
  a: number,
  aStride: number,
  aTransposed: number,
  b: number,
  bStride: number,
  bTransposed: number,
  c: number,
  cStride: number,
  alpha: number,
  bias: number,
  accumulate: number,
): void {
  const operands = [a, aStride, aTransposed, b, bStride, bTransposed, c, cStride] as const;
  triangle(machine, m, n, k, ...operands, alpha, bias, accumulate, PARTS.whole, 0);
}

/** `gemm` of which only a part is computed. @param part one of `PARTS`. */
export function triangle(
  machine: ProductMachine,
  m: number,
  n: number,
  k: number,
  a: number,
  aStride: number,
  aTransposed: number,
  b: number,
  bStride: number,
  bTransposed: number,
  c: number,
  cStride: number,
  alpha: number,
  bias: number,
  accumulate: number,
  part: number,
  past: number,
): void {
  const { f, round } = machine;
  const [aRow, aStep] = aTransposed === 0 ? [aStride, 1] : [1, aStride];
  const [bColumn, bStep] = bTransposed === 0 ? [1, bStride] : [bStride, 1];
  for (let row = 0; row < m; row++) {
    const panel = row - (row % 4);
    const from = part === PARTS.last ? Math.max(0, panel - past) : 0;
    const to = part === PARTS.first ? Math.min(k, panel + past + 4) : k;
    for (let column = 0; column < n; column++) {
      if (part === PARTS.entries && column - (column % 8) > past + panel + 3) continue;
      const at = c + row * cStride + column;
      for (let k0 = 0; k0 < k; k0 += BLOCK_K) {
        const add = accumulate !== 0 || k0 > 0;
        const [first, end] = [Math.max(from, k0), Math.min(to, k0 + BLOCK_K)];
        if (first >= end && add) continue;
        let sum = 0;
        for (let step = first; step < end; step++) {
          sum = round(sum + round(f[a + row * aRow + step * aStep]! * f[b + column * bColumn + step * bStep]!));
        }
        const scaled = round(round(alpha) * sum);
        if (add) f[at] = round(f[at]! + scaled);
        else f[at] = bias === 0 ? scaled : round(scaled + f[bias + column]!);
      }
    }
  }
}
