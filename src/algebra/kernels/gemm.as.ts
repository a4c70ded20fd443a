/**
 * Products of matrices. Blocks of M 64, K 256, N 512 are packed, A in panels of 4 rows and B in panels of 8 columns, both
 * with k running slowest, so that plain and transposed inputs cost the same; then a micro-kernel of 4 x 8 sums runs over
 * the panels. Its loop over k is left rolled: unrolled, older V8 runs out of registers and takes half as long again.
 */

const BLOCK_M: i32 = 64;
const BLOCK_K: i32 = 256;
const BLOCK_N: i32 = 512;
const A_BYTES: usize = 64 * 256 * 4;
const B_BYTES: usize = 256 * 512 * 4;
/** What of a product is computed, as in gemm.ts. */
const ENTRIES: i32 = 1;
const FIRST: i32 = 2;
const LAST: i32 = 3;

/** Panels of `width` rows of a matrix whose rows run along k. */
function packRows(source: usize, stride: usize, rows: i32, depth: i32, target: usize, width: i32): void {
  const step = <usize>width << 2;
  for (let row = 0; row < rows; row += width) {
    for (let four = 0; four < width; four += 4) {
      const left = min(rows - row - four, 4);
      const out = target + (<usize>four << 2);
      if (left >= 4) packFour(source + <usize>(row + four) * stride, stride, depth, out, step);
      else packFew(source + <usize>(row + four) * stride, stride, left, depth, out, step);
    }
    target += step * <usize>depth;
  }
}

function packFour(source: usize, stride: usize, depth: i32, out: usize, step: usize): void {
  const s1 = source + stride, s2 = s1 + stride, s3 = s2 + stride;
  let at: usize = 0;
  const whole = <usize>(depth & ~3) << 2;
  for (; at < whole; at += 16) {
    const a = v128.load(source + at), b = v128.load(s1 + at), c = v128.load(s2 + at), d = v128.load(s3 + at);
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), abHigh = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cdHigh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(out, v128.shuffle<i64>(ab, cd, 0, 2));
    v128.store(out + step, v128.shuffle<i64>(ab, cd, 1, 3));
    v128.store(out + 2 * step, v128.shuffle<i64>(abHigh, cdHigh, 0, 2));
    v128.store(out + 3 * step, v128.shuffle<i64>(abHigh, cdHigh, 1, 3));
    out += 4 * step;
  }
  for (const end = <usize>depth << 2; at < end; at += 4) {
    store<f32>(out, load<f32>(source + at));
    store<f32>(out, load<f32>(s1 + at), 4);
    store<f32>(out, load<f32>(s2 + at), 8);
    store<f32>(out, load<f32>(s3 + at), 12);
    out += step;
  }
}

function packFew(source: usize, stride: usize, rows: i32, depth: i32, out: usize, step: usize): void {
  for (let k = 0; k < depth; k++) {
    v128.store(out, f32x4.splat(0));
    for (let row = 0; row < rows; row++) {
      store<f32>(out + (<usize>row << 2), load<f32>(source + <usize>row * stride + (<usize>k << 2)));
    }
    out += step;
  }
}

/** Panels of `width` columns of a matrix whose rows are the steps of k. */
function packColumns(source: usize, stride: usize, columns: i32, depth: i32, target: usize, width: i32): void {
  const bytes = <usize>width << 2;
  for (let column = 0; column < columns; column += width) {
    let from = source + (<usize>column << 2);
    const left = columns - column;
    if (left >= width) {
      for (let k = 0; k < depth; k++) {
        v128.store(target, v128.load(from));
        if (width == 8) v128.store(target, v128.load(from, 16), 16);
        target += bytes;
        from += stride;
      }
    } else {
      for (let k = 0; k < depth; k++) {
        for (let index = 0; index < width; index++) {
          const at = <usize>index << 2;
          store<f32>(target + at, index < left ? load<f32>(from + at) : 0);
        }
        target += bytes;
        from += stride;
      }
    }
  }
}

// @ts-ignore: decorator
@inline function put(c: usize, low: v128, high: v128, alpha: v128, bias: usize, add: bool): void {
  let a = f32x4.mul(low, alpha), b = f32x4.mul(high, alpha);
  if (add) {
    a = f32x4.add(v128.load(c), a);
    b = f32x4.add(v128.load(c, 16), b);
  } else if (bias != 0) {
    a = f32x4.add(a, v128.load(bias));
    b = f32x4.add(b, v128.load(bias, 16));
  }
  v128.store(c, a);
  v128.store(c, b, 16);
}

function micro(pa: usize, pb: usize, depth: i32, c: usize, stride: usize, scale: f32, bias: usize, add: bool): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  const end = pa + (<usize>depth << 4);
  while (pa < end) {
    const b0 = v128.load(pb), b1 = v128.load(pb, 16);
    const a0 = v128.load32_splat(pa);
    c00 = f32x4.add(c00, f32x4.mul(a0, b0));
    c01 = f32x4.add(c01, f32x4.mul(a0, b1));
    const a1 = v128.load32_splat(pa, 4);
    c10 = f32x4.add(c10, f32x4.mul(a1, b0));
    c11 = f32x4.add(c11, f32x4.mul(a1, b1));
    const a2 = v128.load32_splat(pa, 8);
    c20 = f32x4.add(c20, f32x4.mul(a2, b0));
    c21 = f32x4.add(c21, f32x4.mul(a2, b1));
    const a3 = v128.load32_splat(pa, 12);
    c30 = f32x4.add(c30, f32x4.mul(a3, b0));
    c31 = f32x4.add(c31, f32x4.mul(a3, b1));
    pa += 16;
    pb += 32;
  }
  const alpha = f32x4.splat(scale);
  put(c, c00, c01, alpha, bias, add);
  put(c + stride, c10, c11, alpha, bias, add);
  put(c + 2 * stride, c20, c21, alpha, bias, add);
  put(c + 3 * stride, c30, c31, alpha, bias, add);
}

/** A tile at the edge: summed into `tile`, of which `rows` x `columns` entries are taken. */
function edge(tile: usize, c: usize, stride: usize, rows: i32, columns: i32, bias: usize, add: bool): void {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = <usize>column << 2;
      let value = load<f32>(tile + (<usize>row << 5) + at);
      if (add) value = load<f32>(c + at) + value;
      else if (bias != 0) value += load<f32>(bias + at);
      store<f32>(c + at, value);
    }
    c += stride;
  }
}

// @ts-ignore: decorator
@inline function clamp(value: i32, high: i32): i32 {
  return min(max(value, 0), high);
}

/**
 * C = alpha op(A) op(B), plus C where `accumulate`, else plus `bias` (one entry per column; 0 for none).
 * op(A) is `[m, k]`, op(B) `[k, n]`; strides count entries; transposed inputs lie as `[k, m]` and `[n, k]`.
 * @param scratch 589,952 bytes.
 */
export function gemm(
  m: i32, n: i32, k: i32,
  a: usize, aStride: i32, aTransposed: i32,
  b: usize, bStride: i32, bTransposed: i32,
  c: usize, cStride: i32,
  alpha: f32, bias: usize, accumulate: i32, scratch: usize,
): void {
  triangle(
    m, n, k, a, aStride, aTransposed, b, bStride, bTransposed, c, cStride, alpha, bias, accumulate, 0, 0, scratch,
  );
}

/** `gemm` of which only a part is computed: definition in gemm.ts. */
export function triangle(
  m: i32, n: i32, k: i32,
  a: usize, aStride: i32, aTransposed: i32,
  b: usize, bStride: i32, bTransposed: i32,
  c: usize, cStride: i32,
  alpha: f32, bias: usize, accumulate: i32, part: i32, past: i32, scratch: usize,
): void {
  const as = <usize>aStride << 2, bs = <usize>bStride << 2, cs = <usize>cStride << 2;
  const packedB = scratch + A_BYTES;
  const tile = packedB + B_BYTES;
  for (let k0 = 0; k0 < k; k0 += BLOCK_K) {
    const depth = min(BLOCK_K, k - k0);
    const add = accumulate != 0 || k0 > 0;
    for (let n0 = 0; n0 < n; n0 += BLOCK_N) {
      if (part == ENTRIES && n0 > past + lastPanel(0, m) + 3) break;
      const columns = min(BLOCK_N, n - n0);
      if (bTransposed != 0) packRows(b + <usize>n0 * bs + (<usize>k0 << 2), bs, columns, depth, packedB, 8);
      else packColumns(b + <usize>k0 * bs + (<usize>n0 << 2), bs, columns, depth, packedB, 8);
      for (let m0 = 0; m0 < m; m0 += BLOCK_M) {
        const rows = min(BLOCK_M, m - m0);
        if (part == ENTRIES && n0 > past + lastPanel(m0, rows) + 3) continue;
        // Steps of k that the block's rows need: `packed` of them, behind the first `skipped`.
        let skipped = 0, packed = depth;
        if (part == FIRST) packed = clamp(past + lastPanel(m0, rows) + 4 - k0, depth);
        else if (part == LAST) {
          skipped = clamp(m0 - past - k0, depth);
          packed = depth - skipped;
        }
        if (packed == 0 && add) continue;
        const k1 = k0 + skipped;
        if (aTransposed != 0) packColumns(a + <usize>k1 * as + (<usize>m0 << 2), as, rows, packed, scratch, 4);
        else packRows(a + <usize>m0 * as + (<usize>k1 << 2), as, rows, packed, scratch, 4);
        const corner = c + <usize>m0 * cs + (<usize>n0 << 2);
        for (let j = 0; j < columns; j += 8) {
          const panelB = packedB + (<usize>j * <usize>depth << 2);
          const shift = bias == 0 ? 0 : bias + (<usize>(n0 + j) << 2);
          for (let i = part == ENTRIES ? max(0, (n0 + j - past - m0) & ~3) : 0; i < rows; i += 4) {
            let from = 0, steps = packed;
            if (part == FIRST) steps = clamp(past + m0 + i + 4 - k0, packed);
            else if (part == LAST) {
              from = clamp(m0 + i - past - k1, packed);
              steps = packed - from;
            }
            if (steps == 0 && add) continue;
            const pa = scratch + (<usize>i * <usize>packed << 2) + (<usize>from << 4);
            const pb = panelB + (<usize>(skipped + from) << 5);
            const target = corner + <usize>i * cs + (<usize>j << 2);
            if (rows - i >= 4 && columns - j >= 8) micro(pa, pb, steps, target, cs, alpha, shift, add);
            else {
              micro(pa, pb, steps, tile, 32, alpha, 0, false);
              edge(tile, target, cs, min(rows - i, 4), min(columns - j, 8), shift, add);
            }
          }
        }
      }
    }
  }
}

/** The first row of the last panel of four. */
// @ts-ignore: decorator
@inline function lastPanel(first: i32, rows: i32): i32 {
  return first + ((rows - 1) & ~3);
}
