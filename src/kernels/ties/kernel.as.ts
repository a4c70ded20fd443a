import { ADD, addCounter, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * TIES with election by mass and a disjoint mean or sum, in one pass over any number of models: the sums of the
 * positive and of the negative entries are kept apart, so that nothing is read again after the election.
 *
 * Scalars: lambda, zero (1: a zero sum elects the positive sign, else the negative), mean (1: divide, 0: sum), tally
 * (1: count cancelled, positive and negative columns). Columns: threshold, vote, weight, share (see ties.ts).
 * Counters: conflicts, cancelled, positive, negative.
 * WEIGHTED is i32 when all votes, weights and shares are 1, else f32.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function ties<T, O, WEIGHTED>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const lambda = f32x4.splat(load<f32>(context, SCALARS));
  const zeroIsPositive = i32x4.splat(load<f32>(context, SCALARS + 4) == 1 ? -1 : 0);
  const mean = load<f32>(context, SCALARS + 8) == 1;
  const tally = load<f32>(context, SCALARS + 12) == 1;
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  let finite = i32x4.splat(-1);
  let conflicts = i32x4.splat(0);
  let positive = i32x4.splat(0), negative = i32x4.splat(0), cancelled = i32x4.splat(0);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    let sum0 = zero, sum1 = zero;
    let plus0 = zero, plus1 = zero, minus0 = zero, minus1 = zero;
    let share0 = zero, share1 = zero, less0 = zero, less1 = zero;
    let up0 = i32x4.splat(0), up1 = i32x4.splat(0), down0 = i32x4.splat(0), down1 = i32x4.splat(0);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      const threshold = v128.load32_splat(row, COLUMNS);
      v = load8<T>(p);
      let x0 = f32x4.sub(first<T, O>(v), s0);
      let x1 = f32x4.sub(second<T, O>(v, p), s1);
      // Dropped only if smaller: a NaN is never smaller, so it stays and reaches the result.
      x0 = v128.andnot(x0, f32x4.lt(f32x4.abs(x0), threshold));
      x1 = v128.andnot(x1, f32x4.lt(f32x4.abs(x1), threshold));
      if (isInteger<WEIGHTED>()) {
        sum0 = f32x4.add(sum0, x0);
        sum1 = f32x4.add(sum1, x1);
      } else {
        const vote = v128.load32_splat(row, COLUMNS + 4);
        const weight = v128.load32_splat(row, COLUMNS + 8);
        sum0 = f32x4.add(sum0, f32x4.mul(x0, vote));
        sum1 = f32x4.add(sum1, f32x4.mul(x1, vote));
        x0 = f32x4.mul(x0, weight);
        x1 = f32x4.mul(x1, weight);
      }
      // pmax(x, 0) is x where x is NaN, so both sums carry it.
      plus0 = f32x4.add(plus0, f32x4.pmax(x0, zero));
      plus1 = f32x4.add(plus1, f32x4.pmax(x1, zero));
      minus0 = f32x4.add(minus0, f32x4.pmin(x0, zero));
      minus1 = f32x4.add(minus1, f32x4.pmin(x1, zero));
      if (isInteger<WEIGHTED>()) {
        up0 = i32x4.sub(up0, f32x4.gt(x0, zero));
        up1 = i32x4.sub(up1, f32x4.gt(x1, zero));
        down0 = i32x4.sub(down0, f32x4.lt(x0, zero));
        down1 = i32x4.sub(down1, f32x4.lt(x1, zero));
      } else {
        const share = v128.load32_splat(row, COLUMNS + 12);
        share0 = f32x4.add(share0, v128.and(share, f32x4.gt(x0, zero)));
        share1 = f32x4.add(share1, v128.and(share, f32x4.gt(x1, zero)));
        less0 = f32x4.add(less0, v128.and(share, f32x4.lt(x0, zero)));
        less1 = f32x4.add(less1, v128.and(share, f32x4.lt(x1, zero)));
      }
    }
    const elected0 = v128.or(f32x4.gt(sum0, zero), v128.and(f32x4.eq(sum0, zero), zeroIsPositive));
    const elected1 = v128.or(f32x4.gt(sum1, zero), v128.and(f32x4.eq(sum1, zero), zeroIsPositive));
    let a = v128.bitselect(plus0, minus0, elected0);
    let b = v128.bitselect(plus1, minus1, elected1);
    const conflict0 = v128.and(f32x4.gt(plus0, zero), f32x4.lt(minus0, zero));
    const conflict1 = v128.and(f32x4.gt(plus1, zero), f32x4.lt(minus1, zero));
    conflicts = i32x4.sub(i32x4.sub(conflicts, conflict0), conflict1);
    if (tally) {
      positive = i32x4.sub(i32x4.sub(positive, f32x4.gt(sum0, zero)), f32x4.gt(sum1, zero));
      negative = i32x4.sub(i32x4.sub(negative, f32x4.lt(sum0, zero)), f32x4.lt(sum1, zero));
      cancelled = i32x4.sub(cancelled, v128.and(f32x4.eq(sum0, zero), conflict0));
      cancelled = i32x4.sub(cancelled, v128.and(f32x4.eq(sum1, zero), conflict1));
    }
    if (mean) {
      if (isInteger<WEIGHTED>()) {
        share0 = f32x4.convert_i32x4_s(v128.bitselect(up0, down0, elected0));
        share1 = f32x4.convert_i32x4_s(v128.bitselect(up1, down1, elected1));
      } else {
        share0 = v128.bitselect(share0, less0, elected0);
        share1 = v128.bitselect(share1, less1, elected1);
      }
      a = f32x4.div(a, v128.bitselect(one, share0, f32x4.eq(share0, zero)));
      b = f32x4.div(b, v128.bitselect(one, share1, f32x4.eq(share1, zero)));
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
  addCounter(context, 0, conflicts);
  addCounter(context, 1, cancelled);
  addCounter(context, 2, positive);
  addCounter(context, 3, negative);
  return i32x4.all_true(finite) ? 1 : 0;
}

export function ties_BF16_BF16(context: usize): i32 { return ties<u16, u16, i32>(context); }
export function ties_BF16_F16(context: usize): i32 { return ties<u16, i16, i32>(context); }
export function ties_BF16_F32(context: usize): i32 { return ties<u16, f32, i32>(context); }
export function ties_F16_BF16(context: usize): i32 { return ties<i16, u16, i32>(context); }
export function ties_F16_F16(context: usize): i32 { return ties<i16, i16, i32>(context); }
export function ties_F16_F32(context: usize): i32 { return ties<i16, f32, i32>(context); }
export function ties_F32_BF16(context: usize): i32 { return ties<f32, u16, i32>(context); }
export function ties_F32_F16(context: usize): i32 { return ties<f32, i16, i32>(context); }
export function ties_F32_F32(context: usize): i32 { return ties<f32, f32, i32>(context); }
export function ties_weighted_BF16_BF16(context: usize): i32 { return ties<u16, u16, f32>(context); }
export function ties_weighted_BF16_F16(context: usize): i32 { return ties<u16, i16, f32>(context); }
export function ties_weighted_BF16_F32(context: usize): i32 { return ties<u16, f32, f32>(context); }
export function ties_weighted_F16_BF16(context: usize): i32 { return ties<i16, u16, f32>(context); }
export function ties_weighted_F16_F16(context: usize): i32 { return ties<i16, i16, f32>(context); }
export function ties_weighted_F16_F32(context: usize): i32 { return ties<i16, f32, f32>(context); }
export function ties_weighted_F32_BF16(context: usize): i32 { return ties<f32, u16, f32>(context); }
export function ties_weighted_F32_F16(context: usize): i32 { return ties<f32, i16, f32>(context); }
export function ties_weighted_F32_F32(context: usize): i32 { return ties<f32, f32, f32>(context); }
