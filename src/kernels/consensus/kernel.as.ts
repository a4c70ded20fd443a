import { ADD, addCounter, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/** -1 in every lane in which a model needs its change: |x| > lambda_t |sum - x|. */
// @ts-ignore: decorator
@inline function needs(x: v128, sum: v128, ratio: v128): v128 {
  return f32x4.gt(f32x4.abs(x), f32x4.mul(f32x4.abs(f32x4.sub(sum, x)), ratio));
}

/**
 * out = base + lambda * (the sum of the weighted changes where at least k models need theirs or it is not finite, else 0).
 * Scalars: lambda, k. Columns: weight, ratio. Counters: kept, dropped.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function consensus<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const lambda = f32x4.splat(load<f32>(context, SCALARS));
  const k = i32x4.splat(<i32>load<f32>(context, SCALARS + 4));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const zero = f32x4.splat(0);
  const infinity = f32x4.splat(Infinity);
  let finite = i32x4.splat(-1);
  let kept = i32x4.splat(0), dropped = i32x4.splat(0);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    let a = zero, b = zero;
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      const weight = v128.load32_splat(row, COLUMNS);
      v = load8<T>(p);
      a = f32x4.add(a, f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight));
      b = f32x4.add(b, f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight));
    }
    let active0 = i32x4.splat(0), active1 = i32x4.splat(0);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      const weight = v128.load32_splat(row, COLUMNS);
      const ratio = v128.load32_splat(row, COLUMNS + 4);
      v = load8<T>(p);
      active0 = i32x4.sub(active0, needs(f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight), a, ratio));
      active1 = i32x4.sub(active1, needs(f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight), b, ratio));
    }
    const keep0 = v128.or(i32x4.ge_s(active0, k), v128.not(f32x4.lt(f32x4.abs(a), infinity)));
    const keep1 = v128.or(i32x4.ge_s(active1, k), v128.not(f32x4.lt(f32x4.abs(b), infinity)));
    const moved0 = f32x4.ne(a, zero);
    const moved1 = f32x4.ne(b, zero);
    kept = i32x4.sub(i32x4.sub(kept, v128.and(moved0, keep0)), v128.and(moved1, keep1));
    dropped = i32x4.sub(i32x4.sub(dropped, v128.andnot(moved0, keep0)), v128.andnot(moved1, keep1));
    a = v128.and(a, keep0);
    b = v128.and(b, keep1);
    p = add + at;
    v = load8<T>(p);
    a = f32x4.add(first<T, O>(v), f32x4.mul(a, lambda));
    b = f32x4.add(second<T, O>(v, p), f32x4.mul(b, lambda));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  addCounter(context, 0, kept);
  addCounter(context, 1, dropped);
  return i32x4.all_true(finite) ? 1 : 0;
}

export function consensus_BF16_BF16(context: usize): i32 { return consensus<u16, u16>(context); }
export function consensus_BF16_F16(context: usize): i32 { return consensus<u16, i16>(context); }
export function consensus_BF16_F32(context: usize): i32 { return consensus<u16, f32>(context); }
export function consensus_F16_BF16(context: usize): i32 { return consensus<i16, u16>(context); }
export function consensus_F16_F16(context: usize): i32 { return consensus<i16, i16>(context); }
export function consensus_F16_F32(context: usize): i32 { return consensus<i16, f32>(context); }
export function consensus_F32_BF16(context: usize): i32 { return consensus<f32, u16>(context); }
export function consensus_F32_F16(context: usize): i32 { return consensus<f32, i16>(context); }
export function consensus_F32_F32(context: usize): i32 { return consensus<f32, f32>(context); }
