import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/** The larger of two magnitudes, the earlier one of equals; a NaN wins and stays. */
// @ts-ignore: decorator
@inline function larger(best: v128, x: v128): v128 {
  const wins = v128.or(f32x4.gt(f32x4.abs(x), f32x4.abs(best)), f32x4.ne(x, x));
  return v128.bitselect(x, best, wins);
}

/**
 * out = base + lambda * (the weighted change of largest magnitude). Scalars: lambda. Columns: weight.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function magmax<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const lambda = f32x4.splat(load<f32>(context, SCALARS));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    p = <usize>load<u32>(context, ROWS) + at;
    let weight = v128.load32_splat(context, ROWS + COLUMNS);
    v = load8<T>(p);
    let a = f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight);
    let b = f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight);
    for (let row = context + ROWS + ROW_BYTES; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      weight = v128.load32_splat(row, COLUMNS);
      v = load8<T>(p);
      a = larger(a, f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight));
      b = larger(b, f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight));
    }
    p = add + at;
    v = load8<T>(p);
    a = f32x4.add(first<T, O>(v), f32x4.mul(a, lambda));
    b = f32x4.add(second<T, O>(v, p), f32x4.mul(b, lambda));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function magmax_BF16_BF16(context: usize): i32 { return magmax<u16, u16>(context); }
export function magmax_BF16_F16(context: usize): i32 { return magmax<u16, i16>(context); }
export function magmax_BF16_F32(context: usize): i32 { return magmax<u16, f32>(context); }
export function magmax_F16_BF16(context: usize): i32 { return magmax<i16, u16>(context); }
export function magmax_F16_F16(context: usize): i32 { return magmax<i16, i16>(context); }
export function magmax_F16_F32(context: usize): i32 { return magmax<i16, f32>(context); }
export function magmax_F32_BF16(context: usize): i32 { return magmax<f32, u16>(context); }
export function magmax_F32_F16(context: usize): i32 { return magmax<f32, i16>(context); }
export function magmax_F32_F32(context: usize): i32 { return magmax<f32, f32>(context); }
