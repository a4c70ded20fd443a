/** What the definition computes on: entries, and the rounding after every operation. */
export interface ProductMachine {
  readonly f: Float32Array | Float64Array;
  readonly round: (value: number) => number;
}

const BLOCK_K = 256;

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
  const { f, round } = machine;
  const [aRow, aStep] = aTransposed === 0 ? [aStride, 1] : [1, aStride];
  const [bColumn, bStep] = bTransposed === 0 ? [1, bStride] : [bStride, 1];
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const at = c + row * cStride + column;
      for (let k0 = 0; k0 < k; k0 += BLOCK_K) {
        let sum = 0;
        for (let step = k0; step < Math.min(k, k0 + BLOCK_K); step++) {
          sum = round(sum + round(f[a + row * aRow + step * aStep]! * f[b + column * bColumn + step * bStep]!));
        }
        const scaled = round(round(alpha) * sum);
        if (accumulate !== 0 || k0 > 0) f[at] = round(f[at]! + scaled);
        else f[at] = bias === 0 ? scaled : round(scaled + f[bias + column]!);
      }
    }
  }
}
