import { addLanes } from "../lanes.as";

/**
 * What is known of a row of f32 scores: range, sums, counts around a bracket, keys. `count` is a multiple of eight; each
 * state is 64 bytes of memory that is added to. definition.ts is the twin.
 */

/** State: four least, four largest scores (f32; NaN is passed over), then how many are above zero (i64). */
export function score_range(p: usize, count: i32, state: usize): void {
  let least = v128.load(state);
  let most = v128.load(state, 16);
  let positive = i32x4.splat(0);
  const zero = f32x4.splat(0);
  for (const end = p + (<usize>count << 2); p < end; p += 16) {
    const v = f32x4.add(v128.load(p), zero);
    least = f32x4.pmin(least, v);
    most = f32x4.pmax(most, v);
    positive = i32x4.sub(positive, f32x4.gt(v, zero));
  }
  v128.store(state, least);
  v128.store(state, most, 16);
  addLanes(state + 32, positive);
}

/** State: eight f64, to which the entries at places 0-7 modulo 8 are added; entries that are not finite count as 0. */
// @ts-ignore: decorator
@inline function sum<SQUARES>(p: usize, count: i32, state: usize): void {
  let a = v128.load(state);
  let b = v128.load(state, 16);
  let c = v128.load(state, 32);
  let d = v128.load(state, 48);
  const infinity = f32x4.splat(Infinity);
  for (const end = p + (<usize>count << 2); p < end; p += 32) {
    let v = v128.load(p);
    v = v128.and(v, f32x4.lt(f32x4.abs(v), infinity));
    let w = v128.load(p, 16);
    w = v128.and(w, f32x4.lt(f32x4.abs(w), infinity));
    let x = f64x2.promote_low_f32x4(v);
    a = f64x2.add(a, isInteger<SQUARES>() ? f64x2.mul(x, x) : x);
    x = f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 0));
    b = f64x2.add(b, isInteger<SQUARES>() ? f64x2.mul(x, x) : x);
    x = f64x2.promote_low_f32x4(w);
    c = f64x2.add(c, isInteger<SQUARES>() ? f64x2.mul(x, x) : x);
    x = f64x2.promote_low_f32x4(i64x2.shuffle(w, w, 1, 0));
    d = f64x2.add(d, isInteger<SQUARES>() ? f64x2.mul(x, x) : x);
  }
  v128.store(state, a);
  v128.store(state, b, 16);
  v128.store(state, c, 32);
  v128.store(state, d, 48);
}

export function score_sum(p: usize, count: i32, state: usize): void { sum<f32>(p, count, state); }
export function score_squares(p: usize, count: i32, state: usize): void { sum<i32>(p, count, state); }

/** Signed integers in the order of the scores; -0 is 0, NaN is below everything. */
// @ts-ignore: decorator
@inline function keysOf(p: usize): v128 {
  const v = f32x4.add(v128.load(p), f32x4.splat(0));
  const keys = v128.xor(v, i32x4.shr_u(i32x4.shr_s(v, 31), 1));
  return v128.bitselect(keys, i32x4.splat(i32.MIN_VALUE), f32x4.eq(v, v));
}

/** Puts the key of each score, as an unsigned integer, in its place. */
export function score_keys(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) {
    v128.store(p, v128.xor(keysOf(p), i32x4.splat(i32.MIN_VALUE)));
  }
}

/** Inside the state of a count: the bracket (signed keys; low unsigned), its histogram, then three i64. */
const HIGH: usize = 4;
const GUESS: usize = 8;
const LOW: usize = 12;
const BINS: usize = 16;
const SHIFT: usize = 20;
const SEEN: usize = 24;
const COUNTS: usize = 32;

/**
 * Counts keys >= high, > guess and >= guess, and those strictly between low and high other than guess in bin
 * (key - low) >> shift of a histogram that all threads share; `first` is low + 1. See survey/kernel.as.ts.
 */
export function score_count(p: usize, count: i32, state: usize): void {
  const lowest = v128.load32_splat(state);
  const high = v128.load32_splat(state, HIGH);
  const guess = v128.load32_splat(state, GUESS);
  let atHigh = i32x4.splat(0), above = i32x4.splat(0), atLeast = i32x4.splat(0);
  for (const end = p + (<usize>count << 2); p < end; p += 32) {
    const k0 = keysOf(p);
    const k1 = keysOf(p + 16);
    const high0 = i32x4.ge_s(k0, high);
    const high1 = i32x4.ge_s(k1, high);
    const above0 = i32x4.gt_s(k0, guess);
    const above1 = i32x4.gt_s(k1, guess);
    const least0 = i32x4.ge_s(k0, guess);
    const least1 = i32x4.ge_s(k1, guess);
    atHigh = i32x4.sub(i32x4.sub(atHigh, high0), high1);
    above = i32x4.sub(i32x4.sub(above, above0), above1);
    atLeast = i32x4.sub(i32x4.sub(atLeast, least0), least1);
    const inside0 = v128.andnot(v128.andnot(i32x4.ge_s(k0, lowest), high0), v128.xor(above0, least0));
    const inside1 = v128.andnot(v128.andnot(i32x4.ge_s(k1, lowest), high1), v128.xor(above1, least1));
    // One entry in a hundred or fewer.
    if (v128.any_true(v128.or(inside0, inside1))) {
      countInside(state, k0, i32x4.bitmask(inside0));
      countInside(state, k1, i32x4.bitmask(inside1));
    }
  }
  addLanes(state + COUNTS, atHigh);
  addLanes(state + COUNTS + 8, above);
  addLanes(state + COUNTS + 16, atLeast);
}

function countInside(state: usize, keys: v128, mask: i32): void {
  if (mask & 1) countOne(state, i32x4.extract_lane(keys, 0));
  if (mask & 2) countOne(state, i32x4.extract_lane(keys, 1));
  if (mask & 4) countOne(state, i32x4.extract_lane(keys, 2));
  if (mask & 8) countOne(state, i32x4.extract_lane(keys, 3));
}

// @ts-ignore: decorator
@inline function countOne(state: usize, key: i32): void {
  const shift = load<u32>(state, SHIFT);
  const seen = <usize>load<u32>(state, SEEN);
  const place = (<u32>key ^ 0x80000000) - load<u32>(state, LOW);
  const at = <usize>(place >>> shift) << 2;
  atomic.add<u32>(<usize>load<u32>(state, BINS) + at, 1);
  if (seen != 0) {
    const value = <u32>1 << (place & ((1 << shift) - 1));
    // Read first: after the first few entries of a bin nothing changes, and a read needs no lock.
    if ((load<u32>(seen + at) & value) == 0) atomic.or<u32>(seen + at, value);
  }
}
