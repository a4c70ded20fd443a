import {
  ADD, addCounter, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, ROW_COUNTERS, SCALARS, SCRATCH, SUBTRACT,
} from "../context.as";
import { addLanes, first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * Active changes (not smaller than a model's threshold) merged by how many models are active: the mean of several; the
 * one of a single model times its `unique` factor. out = base + lambda * that. The definition is `combineOverlap` in
 * methods/overlap.ts.
 *
 * Scalars: lambda. Columns: threshold (above 0), unique. Counters: shared, unique.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function overlap<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const lambda = f32x4.splat(load<f32>(context, SCALARS));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const zero = f32x4.splat(0);
  const one = i32x4.splat(1);
  let finite = i32x4.splat(-1);
  let shared = i32x4.splat(0), unique = i32x4.splat(0);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    let a = zero, b = zero, factor0 = zero, factor1 = zero;
    let active0 = i32x4.splat(0), active1 = i32x4.splat(0);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      const threshold = v128.load32_splat(row, COLUMNS);
      const factor = v128.load32_splat(row, COLUMNS + 4);
      v = load8<T>(p);
      const x0 = f32x4.sub(first<T, O>(v), s0);
      const x1 = f32x4.sub(second<T, O>(v, p), s1);
      // A NaN is never smaller, so it is active and reaches the result.
      const small0 = f32x4.lt(f32x4.abs(x0), threshold);
      const small1 = f32x4.lt(f32x4.abs(x1), threshold);
      a = f32x4.add(a, v128.andnot(x0, small0));
      b = f32x4.add(b, v128.andnot(x1, small1));
      factor0 = f32x4.add(factor0, v128.andnot(factor, small0));
      factor1 = f32x4.add(factor1, v128.andnot(factor, small1));
      active0 = i32x4.add(active0, v128.andnot(one, small0));
      active1 = i32x4.add(active1, v128.andnot(one, small1));
    }
    const single0 = i32x4.eq(active0, one);
    const single1 = i32x4.eq(active1, one);
    const several0 = i32x4.gt_s(active0, one);
    const several1 = i32x4.gt_s(active1, one);
    unique = i32x4.sub(i32x4.sub(unique, single0), single1);
    shared = i32x4.sub(i32x4.sub(shared, several0), several1);
    a = f32x4.div(a, f32x4.convert_i32x4_s(i32x4.max_s(active0, one)));
    b = f32x4.div(b, f32x4.convert_i32x4_s(i32x4.max_s(active1, one)));
    a = v128.bitselect(f32x4.mul(a, factor0), a, single0);
    b = v128.bitselect(f32x4.mul(b, factor1), b, single1);
    p = add + at;
    v = load8<T>(p);
    a = f32x4.add(first<T, O>(v), f32x4.mul(a, lambda));
    b = f32x4.add(second<T, O>(v, p), f32x4.mul(b, lambda));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  addCounter(context, 0, shared);
  addCounter(context, 1, unique);
  return i32x4.all_true(finite) ? 1 : 0;
}

/**
 * Counts, per model, its active changes that some other model shares and those that it alone has: row counters 0 and 1
 * (i64, added to). Columns: threshold (above 0). Scratch: four bytes per entry. `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function overlapCount<T>(context: usize): void {
  const models = load<i32>(context);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const scratch = <usize>load<u32>(context, SCRATCH);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const one = i32x4.splat(1);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  // How many models are active in every entry.
  let to = scratch;
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, T>(v), s1 = second<T, T>(v, p);
    let active0 = i32x4.splat(0), active1 = i32x4.splat(0);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      const threshold = v128.load32_splat(row, COLUMNS);
      v = load8<T>(p);
      const small0 = f32x4.lt(f32x4.abs(f32x4.sub(first<T, T>(v), s0)), threshold);
      const small1 = f32x4.lt(f32x4.abs(f32x4.sub(second<T, T>(v, p), s1)), threshold);
      active0 = i32x4.add(active0, v128.andnot(one, small0));
      active1 = i32x4.add(active1, v128.andnot(one, small1));
    }
    v128.store(to, active0);
    v128.store(to, active1, 16);
    to += 32;
  }
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    const threshold = v128.load32_splat(row, COLUMNS);
    let shared = i32x4.splat(0), unique = i32x4.splat(0);
    let from = scratch;
    for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
      let p = subtract + at;
      let v = load8<T>(p);
      const s0 = first<T, T>(v), s1 = second<T, T>(v, p);
      p = model + at;
      v = load8<T>(p);
      const small0 = f32x4.lt(f32x4.abs(f32x4.sub(first<T, T>(v), s0)), threshold);
      const small1 = f32x4.lt(f32x4.abs(f32x4.sub(second<T, T>(v, p), s1)), threshold);
      const active0 = v128.load(from), active1 = v128.load(from, 16);
      shared = i32x4.sub(shared, v128.andnot(i32x4.gt_s(active0, one), small0));
      shared = i32x4.sub(shared, v128.andnot(i32x4.gt_s(active1, one), small1));
      unique = i32x4.sub(unique, v128.andnot(i32x4.eq(active0, one), small0));
      unique = i32x4.sub(unique, v128.andnot(i32x4.eq(active1, one), small1));
      from += 32;
    }
    addLanes(row + ROW_COUNTERS, shared);
    addLanes(row + ROW_COUNTERS + 8, unique);
  }
}

export function overlap_count_BF16(context: usize): void { overlapCount<u16>(context); }
export function overlap_count_F16(context: usize): void { overlapCount<i16>(context); }
export function overlap_count_F32(context: usize): void { overlapCount<f32>(context); }
export function overlap_BF16_BF16(context: usize): i32 { return overlap<u16, u16>(context); }
export function overlap_BF16_F16(context: usize): i32 { return overlap<u16, i16>(context); }
export function overlap_BF16_F32(context: usize): i32 { return overlap<u16, f32>(context); }
export function overlap_F16_BF16(context: usize): i32 { return overlap<i16, u16>(context); }
export function overlap_F16_F16(context: usize): i32 { return overlap<i16, i16>(context); }
export function overlap_F16_F32(context: usize): i32 { return overlap<i16, f32>(context); }
export function overlap_F32_BF16(context: usize): i32 { return overlap<f32, u16>(context); }
export function overlap_F32_F16(context: usize): i32 { return overlap<f32, i16>(context); }
export function overlap_F32_F32(context: usize): i32 { return overlap<f32, f32>(context); }
