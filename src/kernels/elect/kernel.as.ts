import { COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * out = the largest of 0 and all t where their sum is above zero, else the smallest; t = model - subtract, summed in model
 * order. `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function elect<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const zero = f32x4.splat(0);
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    let sum0 = zero, sum1 = zero, high0 = zero, high1 = zero, low0 = zero, low1 = zero;
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      v = load8<T>(p);
      const t0 = f32x4.sub(first<T, O>(v), s0);
      const t1 = f32x4.sub(second<T, O>(v, p), s1);
      sum0 = f32x4.add(sum0, t0);
      sum1 = f32x4.add(sum1, t1);
      high0 = f32x4.max(high0, t0);
      high1 = f32x4.max(high1, t1);
      low0 = f32x4.min(low0, t0);
      low1 = f32x4.min(low1, t1);
    }
    const a = v128.bitselect(high0, low0, f32x4.gt(sum0, zero));
    const b = v128.bitselect(high1, low1, f32x4.gt(sum1, zero));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

/** out = alpha (t0 + t1 + ...), in model order. Scalars: alpha. Otherwise as `elect`. */
// @ts-ignore: decorator
@inline function total<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const alpha = f32x4.splat(load<f32>(context, SCALARS));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    let a = f32x4.splat(0), b = f32x4.splat(0);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      v = load8<T>(p);
      a = f32x4.add(a, f32x4.sub(first<T, O>(v), s0));
      b = f32x4.add(b, f32x4.sub(second<T, O>(v, p), s1));
    }
    a = f32x4.mul(a, alpha);
    b = f32x4.mul(b, alpha);
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function elect_BF16_BF16(context: usize): i32 { return elect<u16, u16>(context); }
export function elect_BF16_F16(context: usize): i32 { return elect<u16, i16>(context); }
export function elect_BF16_F32(context: usize): i32 { return elect<u16, f32>(context); }
export function elect_F16_BF16(context: usize): i32 { return elect<i16, u16>(context); }
export function elect_F16_F16(context: usize): i32 { return elect<i16, i16>(context); }
export function elect_F16_F32(context: usize): i32 { return elect<i16, f32>(context); }
export function elect_F32_BF16(context: usize): i32 { return elect<f32, u16>(context); }
export function elect_F32_F16(context: usize): i32 { return elect<f32, i16>(context); }
export function elect_F32_F32(context: usize): i32 { return elect<f32, f32>(context); }
export function total_BF16_BF16(context: usize): i32 { return total<u16, u16>(context); }
export function total_BF16_F16(context: usize): i32 { return total<u16, i16>(context); }
export function total_BF16_F32(context: usize): i32 { return total<u16, f32>(context); }
export function total_F16_BF16(context: usize): i32 { return total<i16, u16>(context); }
export function total_F16_F16(context: usize): i32 { return total<i16, i16>(context); }
export function total_F16_F32(context: usize): i32 { return total<i16, f32>(context); }
export function total_F32_BF16(context: usize): i32 { return total<f32, u16>(context); }
export function total_F32_F16(context: usize): i32 { return total<f32, i16>(context); }
export function total_F32_F32(context: usize): i32 { return total<f32, f32>(context); }
