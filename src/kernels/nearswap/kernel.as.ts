import { ADD, COUNT, OUT, ROWS, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/** A change of magnitude up to `t` as it is, a larger one cut to `t`; below `floor` in proportion. See nearswap.ts. */
// @ts-ignore: decorator
@inline function swap(x: v128, t: v128, floor: v128, slope: v128): v128 {
  const magnitude = f32x4.abs(x);
  const cut = v128.bitselect(i32x4.splat(0x80000000), i32x4.splat(0), f32x4.lt(x, f32x4.splat(0)));
  const step = v128.bitselect(v128.or(t, cut), x, f32x4.gt(magnitude, t));
  return v128.bitselect(f32x4.mul(x, slope), step, f32x4.lt(magnitude, floor));
}

/**
 * Nearswap of one model: out = base + swap(model - subtract). Scalars: t, floor, slope.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function nearswap<T, O>(context: usize): i32 {
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const model = <usize>load<u32>(context, ROWS);
  const t = f32x4.splat(load<f32>(context, SCALARS));
  const floor = f32x4.splat(load<f32>(context, SCALARS + 4));
  const slope = f32x4.splat(load<f32>(context, SCALARS + 8));
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    p = model + at;
    v = load8<T>(p);
    let a = swap(f32x4.sub(first<T, O>(v), s0), t, floor, slope);
    let b = swap(f32x4.sub(second<T, O>(v, p), s1), t, floor, slope);
    p = add + at;
    v = load8<T>(p);
    a = f32x4.add(first<T, O>(v), a);
    b = f32x4.add(second<T, O>(v, p), b);
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function nearswap_BF16_BF16(context: usize): i32 { return nearswap<u16, u16>(context); }
export function nearswap_BF16_F16(context: usize): i32 { return nearswap<u16, i16>(context); }
export function nearswap_BF16_F32(context: usize): i32 { return nearswap<u16, f32>(context); }
export function nearswap_F16_BF16(context: usize): i32 { return nearswap<i16, u16>(context); }
export function nearswap_F16_F16(context: usize): i32 { return nearswap<i16, i16>(context); }
export function nearswap_F16_F32(context: usize): i32 { return nearswap<i16, f32>(context); }
export function nearswap_F32_BF16(context: usize): i32 { return nearswap<f32, u16>(context); }
export function nearswap_F32_F16(context: usize): i32 { return nearswap<f32, i16>(context); }
export function nearswap_F32_F32(context: usize): i32 { return nearswap<f32, f32>(context); }
