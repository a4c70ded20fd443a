/**
 * Products of f64 matrices, as gemm.as.ts makes those of f32: blocks of M 64, K 256, N 256 are packed in panels of 4 rows of A
 * and 4 columns of B, and a micro-kernel of 4 x 4 sums runs over the panels.
 */

const BLOCK_M: i32 = 64;
const BLOCK_K: i32 = 256;
const BLOCK_N: i32 = 256;
const A_BYTES: usize = 64 * 256 * 8;
const B_BYTES: usize = 256 * 256 * 8;
/** Bytes of one step of k in a panel. */
const STEP: usize = 32;

/** Panels of 4 rows of a matrix whose rows run along k; rows that are missing count as zeros. */
function packRows64(source: usize, stride: usize, rows: i32, depth: i32, target: usize): void {
  for (let row = 0; row < rows; row += 4) {
    if (rows - row >= 4) packFour64(source, stride, depth, target);
    else {
      for (let k = 0; k < depth; k++) {
        const out = target + <usize>k * STEP;
        for (let index = 0; index < 4; index++) {
          const value = row + index < rows ? load<f64>(source + <usize>index * stride + (<usize>k << 3)) : 0;
          store<f64>(out + (<usize>index << 3), value);
        }
      }
    }
    source += 4 * stride;
    target += STEP * <usize>depth;
  }
}

function packFour64(source: usize, stride: usize, depth: i32, out: usize): void {
  const s1 = source + stride, s2 = s1 + stride, s3 = s2 + stride;
  let at: usize = 0;
  for (const whole = <usize>(depth & ~1) << 3; at < whole; at += 16) {
    const a = v128.load(source + at), b = v128.load(s1 + at), c = v128.load(s2 + at), d = v128.load(s3 + at);
    v128.store(out, v128.shuffle<i64>(a, b, 0, 2));
    v128.store(out, v128.shuffle<i64>(c, d, 0, 2), 16);
    v128.store(out, v128.shuffle<i64>(a, b, 1, 3), 32);
    v128.store(out, v128.shuffle<i64>(c, d, 1, 3), 48);
    out += 2 * STEP;
  }
  if ((depth & 1) != 0) {
    store<f64>(out, load<f64>(source + at));
    store<f64>(out, load<f64>(s1 + at), 8);
    store<f64>(out, load<f64>(s2 + at), 16);
    store<f64>(out, load<f64>(s3 + at), 24);
  }
}

/** Panels of 4 columns of a matrix whose rows are the steps of k. */
function packColumns64(source: usize, stride: usize, columns: i32, depth: i32, target: usize): void {
  for (let column = 0; column < columns; column += 4) {
    let from = source + (<usize>column << 3);
    const left = columns - column;
    if (left >= 4) {
      for (let k = 0; k < depth; k++) {
        v128.store(target, v128.load(from));
        v128.store(target, v128.load(from, 16), 16);
        target += STEP;
        from += stride;
      }
    } else {
      for (let k = 0; k < depth; k++) {
        for (let index = 0; index < 4; index++) {
          const at = <usize>index << 3;
          store<f64>(target + at, index < left ? load<f64>(from + at) : 0);
        }
        target += STEP;
        from += stride;
      }
    }
  }
}

// @ts-ignore: decorator
@inline function put64(c: usize, low: v128, high: v128, alpha: v128, add: bool): void {
  let a = f64x2.mul(low, alpha), b = f64x2.mul(high, alpha);
  if (add) {
    a = f64x2.add(v128.load(c), a);
    b = f64x2.add(v128.load(c, 16), b);
  }
  v128.store(c, a);
  v128.store(c, b, 16);
}

function micro64(pa: usize, pb: usize, depth: i32, c: usize, stride: usize, scale: f64, add: bool): void {
  let c00 = f64x2.splat(0), c01 = f64x2.splat(0), c10 = f64x2.splat(0), c11 = f64x2.splat(0);
  let c20 = f64x2.splat(0), c21 = f64x2.splat(0), c30 = f64x2.splat(0), c31 = f64x2.splat(0);
  const end = pa + <usize>depth * STEP;
  while (pa < end) {
    const b0 = v128.load(pb), b1 = v128.load(pb, 16);
    const a0 = v128.load64_splat(pa);
    c00 = f64x2.add(c00, f64x2.mul(a0, b0));
    c01 = f64x2.add(c01, f64x2.mul(a0, b1));
    const a1 = v128.load64_splat(pa, 8);
    c10 = f64x2.add(c10, f64x2.mul(a1, b0));
    c11 = f64x2.add(c11, f64x2.mul(a1, b1));
    const a2 = v128.load64_splat(pa, 16);
    c20 = f64x2.add(c20, f64x2.mul(a2, b0));
    c21 = f64x2.add(c21, f64x2.mul(a2, b1));
    const a3 = v128.load64_splat(pa, 24);
    c30 = f64x2.add(c30, f64x2.mul(a3, b0));
    c31 = f64x2.add(c31, f64x2.mul(a3, b1));
    pa += STEP;
    pb += STEP;
  }
  const alpha = f64x2.splat(scale);
  put64(c, c00, c01, alpha, add);
  put64(c + stride, c10, c11, alpha, add);
  put64(c + 2 * stride, c20, c21, alpha, add);
  put64(c + 3 * stride, c30, c31, alpha, add);
}

/** A tile at the edge: summed into `tile`, of which `rows` x `columns` entries are taken. */
function edge64(tile: usize, c: usize, stride: usize, rows: i32, columns: i32, add: bool): void {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = <usize>column << 3;
      const value = load<f64>(tile + <usize>row * STEP + at);
      store<f64>(c + at, add ? load<f64>(c + at) + value : value);
    }
    c += stride;
  }
}

/**
 * C = alpha op(A) op(B), plus C where `accumulate`. op(A) is `[m, k]`, op(B) `[k, n]`; strides count entries; transposed
 * inputs lie as `[k, m]` and `[n, k]`.
 * @param scratch 655,488 bytes.
 */
export function gemm64(
  m: i32, n: i32, k: i32,
  a: usize, aStride: i32, aTransposed: i32,
  b: usize, bStride: i32, bTransposed: i32,
  c: usize, cStride: i32,
  alpha: f64, accumulate: i32, scratch: usize,
): void {
  const as = <usize>aStride << 3, bs = <usize>bStride << 3, cs = <usize>cStride << 3;
  const packedB = scratch + A_BYTES;
  const tile = packedB + B_BYTES;
  for (let k0 = 0; k0 < k; k0 += BLOCK_K) {
    const depth = min(BLOCK_K, k - k0);
    const add = accumulate != 0 || k0 > 0;
    for (let n0 = 0; n0 < n; n0 += BLOCK_N) {
      const columns = min(BLOCK_N, n - n0);
      if (bTransposed != 0) packRows64(b + <usize>n0 * bs + (<usize>k0 << 3), bs, columns, depth, packedB);
      else packColumns64(b + <usize>k0 * bs + (<usize>n0 << 3), bs, columns, depth, packedB);
      for (let m0 = 0; m0 < m; m0 += BLOCK_M) {
        const rows = min(BLOCK_M, m - m0);
        if (aTransposed != 0) packColumns64(a + <usize>k0 * as + (<usize>m0 << 3), as, rows, depth, scratch);
        else packRows64(a + <usize>m0 * as + (<usize>k0 << 3), as, rows, depth, scratch);
        const corner = c + <usize>m0 * cs + (<usize>n0 << 3);
        for (let j = 0; j < columns; j += 4) {
          const pb = packedB + (<usize>j * <usize>depth << 3);
          for (let i = 0; i < rows; i += 4) {
            const pa = scratch + (<usize>i * <usize>depth << 3);
            const target = corner + <usize>i * cs + (<usize>j << 3);
            if (rows - i >= 4 && columns - j >= 4) micro64(pa, pb, depth, target, cs, alpha, add);
            else {
              micro64(pa, pb, depth, tile, STEP, alpha, false);
              edge64(tile, target, cs, min(rows - i, 4), min(columns - j, 4), add);
            }
          }
        }
      }
    }
  }
}
