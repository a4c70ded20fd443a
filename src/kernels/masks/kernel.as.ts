import { ADD, COLUMNS, COUNT, ROWS, ROW_BYTES, ROW_COUNTERS, SCRATCH, SUBTRACT } from "../context.as";
import { first, load8, second } from "../lanes.as";

/** Where a row keeps the address of its mask: its last column. */
const MASK: usize = COLUMNS + 24;
/** Sums of a model: four f64 of |change| and four of |shared| under the mask, by entry modulo 4. */
const SUM_BYTES: usize = 64;

/**
 * Twin of `makeMasks` in definition.ts. t = model - subtract, in format T; the shared change, as stored, is at ADD in
 * format S. Columns: what the rule takes, and last the address at which the row's bits go. Row counter 0 counts the bits set;
 * the sums are added to those at SCRATCH. `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function masks<T, S, Rule>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const shared = <usize>load<u32>(context, ADD);
  for (let model = 0; model < models; model++) {
    const row = context + ROWS + <usize>model * ROW_BYTES;
    const input = <usize>load<u32>(row);
    const parameter = v128.load32_splat(row, COLUMNS);
    let bits = <usize>load<u32>(row, MASK);
    const sums = <usize>load<u32>(context, SCRATCH) + <usize>model * SUM_BYTES;
    let change0 = v128.load(sums), change1 = v128.load(sums, 16);
    let shared0 = v128.load(sums, 32), shared1 = v128.load(sums, 48);
    let kept: i64 = 0;
    for (let i = 0; i < count; i += 8) {
      const at = <usize>i * sizeof<T>();
      const a = load8<T>(input + at);
      const b = load8<T>(subtract + at);
      const t0 = f32x4.sub(first<T, f32>(a), first<T, f32>(b));
      const t1 = f32x4.sub(second<T, f32>(a, input + at), second<T, f32>(b, subtract + at));
      const p = shared + <usize>i * sizeof<S>();
      const s = load8<S>(p);
      const s0 = first<S, f32>(s);
      const s1 = second<S, f32>(s, p);
      const m0 = isInteger<Rule>() ? agree(t0, s0) : within(t0, s0, parameter);
      const m1 = isInteger<Rule>() ? agree(t1, s1) : within(t1, s1, parameter);
      const byte = i32x4.bitmask(m0) | (i32x4.bitmask(m1) << 4);
      store<u8>(bits, byte);
      bits++;
      kept += <i64>popcnt<i32>(byte);
      const c0 = f32x4.abs(t0), c1 = f32x4.abs(t1);
      change0 = f64x2.add(f64x2.add(change0, f64x2.promote_low_f32x4(c0)), f64x2.promote_low_f32x4(c1));
      change1 = f64x2.add(f64x2.add(change1, upper(c0)), upper(c1));
      const k0 = v128.and(f32x4.abs(s0), m0), k1 = v128.and(f32x4.abs(s1), m1);
      shared0 = f64x2.add(f64x2.add(shared0, f64x2.promote_low_f32x4(k0)), f64x2.promote_low_f32x4(k1));
      shared1 = f64x2.add(f64x2.add(shared1, upper(k0)), upper(k1));
    }
    v128.store(sums, change0);
    v128.store(sums, change1, 16);
    v128.store(sums, shared0, 32);
    v128.store(sums, shared1, 48);
    store<i64>(row, load<i64>(row, ROW_COUNTERS) + kept, ROW_COUNTERS);
  }
  return 1;
}

// @ts-ignore: decorator
@inline function upper(v: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 1));
}

/** Both above zero or both below it: t with the sign of s multiplied in is above zero, and s is not zero. */
// @ts-ignore: decorator
@inline function agree(t: v128, s: v128): v128 {
  const zero = f32x4.splat(0);
  const turned = v128.xor(t, v128.and(s, i32x4.splat(0x80000000)));
  return v128.and(f32x4.gt(turned, zero), f32x4.gt(f32x4.abs(s), zero));
}

/** |t| > lambda |s - t|. */
// @ts-ignore: decorator
@inline function within(t: v128, s: v128, lambda: v128): v128 {
  return f32x4.gt(f32x4.abs(t), f32x4.mul(lambda, f32x4.abs(f32x4.sub(s, t))));
}

export function agree_BF16_BF16(context: usize): i32 { return masks<u16, u16, i32>(context); }
export function agree_BF16_F16(context: usize): i32 { return masks<u16, i16, i32>(context); }
export function agree_BF16_F32(context: usize): i32 { return masks<u16, f32, i32>(context); }
export function agree_F16_BF16(context: usize): i32 { return masks<i16, u16, i32>(context); }
export function agree_F16_F16(context: usize): i32 { return masks<i16, i16, i32>(context); }
export function agree_F16_F32(context: usize): i32 { return masks<i16, f32, i32>(context); }
export function agree_F32_BF16(context: usize): i32 { return masks<f32, u16, i32>(context); }
export function agree_F32_F16(context: usize): i32 { return masks<f32, i16, i32>(context); }
export function agree_F32_F32(context: usize): i32 { return masks<f32, f32, i32>(context); }
export function within_BF16_BF16(context: usize): i32 { return masks<u16, u16, f32>(context); }
export function within_BF16_F16(context: usize): i32 { return masks<u16, i16, f32>(context); }
export function within_BF16_F32(context: usize): i32 { return masks<u16, f32, f32>(context); }
export function within_F16_BF16(context: usize): i32 { return masks<i16, u16, f32>(context); }
export function within_F16_F16(context: usize): i32 { return masks<i16, i16, f32>(context); }
export function within_F16_F32(context: usize): i32 { return masks<i16, f32, f32>(context); }
export function within_F32_BF16(context: usize): i32 { return masks<f32, u16, f32>(context); }
export function within_F32_F16(context: usize): i32 { return masks<f32, i16, f32>(context); }
export function within_F32_F32(context: usize): i32 { return masks<f32, f32, f32>(context); }
