/**
 * target[i, j] += sum over k of left[i, k] * right[k, j], k ascending, every operation rounded to f32; the sum is complete
 * before it is added. Twin of `addProduct` in plain.ts.
 *
 * Four rows share what is loaded of `right`, and columns go by panels, so that a panel stays in the cache for all rows.
 * Strides are in entries. Any counts, any alignment.
 */

/** Columns of a panel: with rank 64 it takes 64 KiB. */
const PANEL: i32 = 256;

export function low_rank(
  target: usize, stride: i32, rows: i32, columns: i32, left: usize, right: usize, rightStride: i32, rank: i32,
): i32 {
  const step = <usize>stride << 2;
  const leftStep = <usize>rank << 2;
  for (let from = 0; from < columns; from += PANEL) {
    const width = min(columns - from, PANEL);
    const panel = right + (<usize>from << 2);
    let out = target + (<usize>from << 2);
    let factor = left;
    let row = 0;
    for (; row + 4 <= rows; row += 4) {
      fourRows(out, step, width, factor, leftStep, panel, <usize>rightStride << 2, rank);
      out += 4 * step;
      factor += 4 * leftStep;
    }
    for (; row < rows; row++) {
      oneRow(out, width, factor, panel, <usize>rightStride << 2, rank);
      out += step;
      factor += leftStep;
    }
  }
  return 1;
}

// @ts-ignore: decorator
@inline function add(at: usize, low: v128, high: v128): void {
  v128.store(at, f32x4.add(v128.load(at), low));
  v128.store(at, f32x4.add(v128.load(at, 16), high), 16);
}

function fourRows(
  out: usize, step: usize, width: i32, left: usize, leftStep: usize, right: usize, rightStep: usize, rank: i32,
): void {
  let column = 0;
  const zero = f32x4.splat(0);
  const l1 = left + leftStep, l2 = l1 + leftStep, l3 = l2 + leftStep;
  const end = <usize>rank << 2;
  for (; column + 8 <= width; column += 8) {
    let c00 = zero, c01 = zero, c10 = zero, c11 = zero, c20 = zero, c21 = zero, c30 = zero, c31 = zero;
    let b = right;
    for (let k: usize = 0; k < end; k += 4) {
      const b0 = v128.load(b), b1 = v128.load(b, 16);
      const a0 = v128.load32_splat(left + k);
      c00 = f32x4.add(c00, f32x4.mul(a0, b0));
      c01 = f32x4.add(c01, f32x4.mul(a0, b1));
      const a1 = v128.load32_splat(l1 + k);
      c10 = f32x4.add(c10, f32x4.mul(a1, b0));
      c11 = f32x4.add(c11, f32x4.mul(a1, b1));
      const a2 = v128.load32_splat(l2 + k);
      c20 = f32x4.add(c20, f32x4.mul(a2, b0));
      c21 = f32x4.add(c21, f32x4.mul(a2, b1));
      const a3 = v128.load32_splat(l3 + k);
      c30 = f32x4.add(c30, f32x4.mul(a3, b0));
      c31 = f32x4.add(c31, f32x4.mul(a3, b1));
      b += rightStep;
    }
    add(out, c00, c01);
    add(out + step, c10, c11);
    add(out + 2 * step, c20, c21);
    add(out + 3 * step, c30, c31);
    out += 32;
    right += 32;
  }
  if (column == width) return;
  const rest = width - column;
  oneRow(out, rest, left, right, rightStep, rank);
  oneRow(out + step, rest, l1, right, rightStep, rank);
  oneRow(out + 2 * step, rest, l2, right, rightStep, rank);
  oneRow(out + 3 * step, rest, l3, right, rightStep, rank);
}

function oneRow(out: usize, width: i32, left: usize, right: usize, rightStep: usize, rank: i32): void {
  let column = 0;
  const zero = f32x4.splat(0);
  const end = <usize>rank << 2;
  for (; column + 8 <= width; column += 8) {
    let c0 = zero, c1 = zero;
    let b = right;
    for (let k: usize = 0; k < end; k += 4) {
      const a = v128.load32_splat(left + k);
      c0 = f32x4.add(c0, f32x4.mul(a, v128.load(b)));
      c1 = f32x4.add(c1, f32x4.mul(a, v128.load(b, 16)));
      b += rightStep;
    }
    add(out, c0, c1);
    out += 32;
    right += 32;
  }
  for (; column < width; column++) {
    let sum: f32 = 0;
    let b = right;
    for (let k: usize = 0; k < end; k += 4) {
      sum += load<f32>(left + k) * load<f32>(b);
      b += rightStep;
    }
    store<f32>(out, load<f32>(out) + sum);
    out += 4;
    right += 4;
  }
}
