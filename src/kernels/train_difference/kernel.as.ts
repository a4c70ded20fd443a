import { ADD, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/** (b - c) |b| / (|b| + |b - c|), 0 where both are zero. */
// @ts-ignore: decorator
@inline function trained(b: v128, c: v128): v128 {
  const difference = f32x4.sub(b, c);
  const distance = f32x4.abs(b);
  const sum = f32x4.add(distance, f32x4.abs(difference));
  const share = v128.andnot(f32x4.div(distance, sum), f32x4.eq(sum, f32x4.splat(0)));
  return f32x4.mul(difference, share);
}

/**
 * Train difference of the two models b and c: out = base + scale * trained(b - subtract, c - subtract). Scalars: scale.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function trainDifference<T, O>(context: usize): i32 {
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const plus = <usize>load<u32>(context, ROWS);
  const minus = <usize>load<u32>(context, ROWS + ROW_BYTES);
  const scale = f32x4.splat(load<f32>(context, SCALARS));
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const vs = load8<T>(subtract + at);
    const vp = load8<T>(plus + at);
    const vm = load8<T>(minus + at);
    const va = load8<T>(add + at);
    const s0 = first<T, O>(vs);
    const s1 = second<T, O>(vs, subtract + at);
    let a = trained(f32x4.sub(first<T, O>(vp), s0), f32x4.sub(first<T, O>(vm), s0));
    let b = trained(f32x4.sub(second<T, O>(vp, plus + at), s1), f32x4.sub(second<T, O>(vm, minus + at), s1));
    a = f32x4.add(first<T, O>(va), f32x4.mul(a, scale));
    b = f32x4.add(second<T, O>(va, add + at), f32x4.mul(b, scale));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function train_difference_BF16_BF16(context: usize): i32 { return trainDifference<u16, u16>(context); }
export function train_difference_BF16_F16(context: usize): i32 { return trainDifference<u16, i16>(context); }
export function train_difference_BF16_F32(context: usize): i32 { return trainDifference<u16, f32>(context); }
export function train_difference_F16_BF16(context: usize): i32 { return trainDifference<i16, u16>(context); }
export function train_difference_F16_F16(context: usize): i32 { return trainDifference<i16, i16>(context); }
export function train_difference_F16_F32(context: usize): i32 { return trainDifference<i16, f32>(context); }
export function train_difference_F32_BF16(context: usize): i32 { return trainDifference<f32, u16>(context); }
export function train_difference_F32_F16(context: usize): i32 { return trainDifference<f32, i16>(context); }
export function train_difference_F32_F32(context: usize): i32 { return trainDifference<f32, f32>(context); }
