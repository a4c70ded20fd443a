import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, STRIDE, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * SCE: see methods/sce.ts. Scalars: select (1: only columns whose variance is at least the threshold), threshold, floor.
 * Columns: coefficient. `count` is a multiple of eight.
 */

/** The half `second` (0 or 1) of a row's eight changes. */
// @ts-ignore: decorator
@inline function changeOf<T, O>(row: usize, at: usize, s: v128, half: i32): v128 {
  const p = <usize>load<u32>(row) + at;
  const v = load8<T>(p);
  return f32x4.sub(half == 0 ? first<T, O>(v) : second<T, O>(v, p), s);
}

/** n^3 times the population variance of a column's n changes, without a division. */
// @ts-ignore: decorator
@inline function variance<T, O>(context: usize, rowsEnd: usize, at: usize, s: v128, models: v128, half: i32): v128 {
  const origin = changeOf<T, O>(context + ROWS, at, s, half);
  let sum = f32x4.splat(0);
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    sum = f32x4.add(sum, f32x4.sub(changeOf<T, O>(row, at, s, half), origin));
  }
  let squares = f32x4.splat(0);
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const distance = f32x4.sub(f32x4.mul(f32x4.sub(changeOf<T, O>(row, at, s, half), origin), models), sum);
    squares = f32x4.add(squares, f32x4.mul(distance, distance));
  }
  return squares;
}

// @ts-ignore: decorator
@inline function fuse<T, O>(context: usize, rowsEnd: usize, at: usize, s: v128, base: v128, models: v128, half: i32): v128 {
  const zero = f32x4.splat(0);
  let dropped = zero;
  if (load<f32>(context, SCALARS) != 0) {
    const threshold = v128.load32_splat(context, SCALARS + 4);
    dropped = f32x4.lt(variance<T, O>(context, rowsEnd, at, s, models, half), threshold);
  }
  let sum = zero;
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    sum = f32x4.add(sum, changeOf<T, O>(row, at, s, half));
  }
  // What turns a change of the elected sign into a positive one.
  const turn = v128.andnot(i32x4.splat(0x80000000), f32x4.ge(v128.andnot(sum, dropped), zero));
  let merged = zero;
  let weight = zero;
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const x = v128.andnot(changeOf<T, O>(row, at, s, half), dropped);
    const coefficient = v128.load32_splat(row, COLUMNS);
    const turned = v128.xor(x, turn);
    // A NaN agrees with either sign, so that it reaches the result.
    merged = f32x4.add(merged, f32x4.mul(v128.andnot(x, f32x4.lt(turned, zero)), coefficient));
    weight = f32x4.add(weight, v128.and(coefficient, f32x4.gt(turned, zero)));
  }
  weight = f32x4.pmax(weight, v128.load32_splat(context, SCALARS + 8));
  weight = v128.bitselect(f32x4.splat(1), weight, f32x4.eq(weight, zero));
  return f32x4.add(base, f32x4.div(merged, weight));
}

// @ts-ignore: decorator
@inline function sce<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const many = f32x4.splat(<f32>models);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const p = subtract + at;
    const s = load8<T>(p);
    const q = add + at;
    const v = load8<T>(q);
    const a = fuse<T, O>(context, rowsEnd, at, first<T, O>(s), first<T, O>(v), many, 0);
    const b = fuse<T, O>(context, rowsEnd, at, second<T, O>(s, p), second<T, O>(v, q), many, 1);
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

/** One row of scores: the variance. */
// @ts-ignore: decorator
@inline function variances<T>(context: usize): void {
  const models = load<i32>(context);
  const many = f32x4.splat(<f32>models);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const p = subtract + at;
    const s = load8<T>(p);
    v128.store(out, variance<T, f32>(context, rowsEnd, at, first<T, f32>(s), many, 0));
    v128.store(out, variance<T, f32>(context, rowsEnd, at, second<T, f32>(s, p), many, 1), 16);
    out += 32;
  }
}

/** Adds the squares of eight finite numbers to eight f64; what is not finite counts as 0. */
// @ts-ignore: decorator
@inline function addSquares(sums: usize, a: v128, b: v128): void {
  const infinity = f32x4.splat(Infinity);
  const x = v128.and(a, f32x4.lt(f32x4.abs(a), infinity)), y = v128.and(b, f32x4.lt(f32x4.abs(b), infinity));
  addSquare(sums, f64x2.promote_low_f32x4(x));
  addSquare(sums + 16, f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3)));
  addSquare(sums + 32, f64x2.promote_low_f32x4(y));
  addSquare(sums + 48, f64x2.promote_low_f32x4(v128.shuffle<i32>(y, y, 2, 3, 2, 3)));
}

// @ts-ignore: decorator
@inline function addSquare(sum: usize, x: v128): void {
  v128.store(sum, f64x2.add(v128.load(sum), f64x2.mul(x, x)));
}

/**
 * Per model its changes, zero in columns that are not selected: as a row of scores where SUMS is f32; where it is f64 their
 * squares are added to eight f64, by place modulo eight. Rows and sums lie `stride` bytes apart.
 */
// @ts-ignore: decorator
@inline function selected<T, SUMS>(context: usize): void {
  const models = load<i32>(context);
  const many = f32x4.splat(<f32>models);
  const stride = <usize>load<u32>(context, STRIDE);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const threshold = v128.load32_splat(context, SCALARS + 4);
  const select = load<f32>(context, SCALARS) != 0;
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const p = subtract + at;
    const s = load8<T>(p);
    const s0 = first<T, f32>(s);
    const s1 = second<T, f32>(s, p);
    let dropped0 = i32x4.splat(0), dropped1 = i32x4.splat(0);
    if (select) {
      dropped0 = f32x4.lt(variance<T, f32>(context, rowsEnd, at, s0, many, 0), threshold);
      dropped1 = f32x4.lt(variance<T, f32>(context, rowsEnd, at, s1, many, 1), threshold);
    }
    let target = out;
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      const a = v128.andnot(changeOf<T, f32>(row, at, s0, 0), dropped0);
      const b = v128.andnot(changeOf<T, f32>(row, at, s1, 1), dropped1);
      if (sizeof<SUMS>() == 8) addSquares(target, a, b);
      else {
        v128.store(target, a);
        v128.store(target, b, 16);
      }
      target += stride;
    }
    if (sizeof<SUMS>() == 4) out += 32;
  }
}

export function sce_squares_BF16(context: usize): void { selected<u16, f64>(context); }
export function sce_squares_F16(context: usize): void { selected<i16, f64>(context); }
export function sce_squares_F32(context: usize): void { selected<f32, f64>(context); }
export function sce_BF16_BF16(context: usize): i32 { return sce<u16, u16>(context); }
export function sce_BF16_F16(context: usize): i32 { return sce<u16, i16>(context); }
export function sce_BF16_F32(context: usize): i32 { return sce<u16, f32>(context); }
export function sce_F16_BF16(context: usize): i32 { return sce<i16, u16>(context); }
export function sce_F16_F16(context: usize): i32 { return sce<i16, i16>(context); }
export function sce_F16_F32(context: usize): i32 { return sce<i16, f32>(context); }
export function sce_F32_BF16(context: usize): i32 { return sce<f32, u16>(context); }
export function sce_F32_F16(context: usize): i32 { return sce<f32, i16>(context); }
export function sce_F32_F32(context: usize): i32 { return sce<f32, f32>(context); }
export function sce_variance_BF16(context: usize): void { variances<u16>(context); }
export function sce_variance_F16(context: usize): void { variances<i16>(context); }
export function sce_variance_F32(context: usize): void { variances<f32>(context); }
export function sce_selected_BF16(context: usize): void { selected<u16, f32>(context); }
export function sce_selected_F16(context: usize): void { selected<i16, f32>(context); }
export function sce_selected_F32(context: usize): void { selected<f32, f32>(context); }
