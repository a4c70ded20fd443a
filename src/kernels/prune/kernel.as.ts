import { first, load8, magnitudeBits, second, sumLanes } from "../lanes.as";
import { dropTied, isAtLeast, largestWords, tiesOf } from "../random/chance.as";

const MAGNITUDE: i32 = 0x7fffffff;
const INFINITY_BITS: i32 = 0x7f800000;

/**
 * Twin of `keepBand`: keeps what is above `low` and not above `high` (bit patterns), scaled, in place. At `left` lie two
 * i32: entries equal to `low` yet to be kept, entries equal to `high` yet to be dropped; both are counted down.
 */
export function band(changes: usize, count: i32, low: i32, high: i32, scale: f32, left: usize): void {
  while (count > 0) {
    // All of nearly all tiles, where either all entries equal to an end belong to those above it or none.
    const sure = lasting(lasting(count, load<i32>(left)), load<i32>(left, 4));
    const isWhole = sure == count || sure > SINGLES;
    const run = isWhole ? (sure == count ? count : sure & ~3) : min(count, SINGLES);
    if (isWhole) bandWhole(changes, run, low, high, scale, left);
    else for (let p = changes, end = changes + (<usize>run << 2); p < end; p += 4) bandOne(p, low, high, scale, left);
    changes += <usize>run << 2;
    count -= run;
  }
}

/** Of so many entries how many cannot need more than is left of an end. */
// @ts-ignore: decorator
@inline function lasting(count: i32, left: i32): i32 {
  return left > 0 ? min(count, left) : count;
}

/** Fewer are looked at one by one. */
const SINGLES: i32 = 32;

function bandOne(change: usize, low: i32, high: i32, scale: f32, left: usize): void {
  const value = load<f32>(change);
  const m = reinterpret<i32>(value) & MAGNITUDE;
  const lowLeft = load<i32>(left), highLeft = load<i32>(left, 4);
  let reachesLow = m > low, reachesHigh = m > high;
  if (m == low && lowLeft > 0) {
    reachesLow = true;
    store<i32>(left, lowLeft - 1);
  }
  if (m == high && highLeft > 0) {
    reachesHigh = true;
    store<i32>(left, highLeft - 1, 4);
  }
  if (m < INFINITY_BITS) store<f32>(change, reachesLow && !reachesHigh ? value * scale : 0);
}

/** Where what is left of neither end runs out. */
// @ts-ignore: decorator
@inline function bandWhole(changes: usize, count: i32, low: i32, high: i32, scale: f32, left: usize): void {
  const end = changes + (<usize>count << 2);
  const lowLeft = load<i32>(left), highLeft = load<i32>(left, 4);
  const lows = i32x4.splat(low), highs = i32x4.splat(high), scales = f32x4.splat(scale);
  const from = i32x4.splat(lowLeft > 0 ? low - 1 : low), upTo = i32x4.splat(highLeft > 0 ? high - 1 : high);
  const magnitude = magnitudeBits(), infinity = i32x4.splat(INFINITY_BITS);
  let atLow = i32x4.splat(0), atHigh = i32x4.splat(0);
  for (; changes + 16 <= end; changes += 16) {
    const v = v128.load(changes);
    const m = v128.and(v, magnitude);
    atLow = i32x4.sub(atLow, i32x4.eq(m, lows));
    atHigh = i32x4.sub(atHigh, i32x4.eq(m, highs));
    const kept = v128.and(f32x4.mul(v, scales), v128.andnot(i32x4.gt_s(m, from), i32x4.gt_s(m, upTo)));
    v128.store(changes, v128.bitselect(kept, v, i32x4.gt_s(infinity, m)));
  }
  if (lowLeft > 0) store<i32>(left, lowLeft - sumLanes(atLow));
  if (highLeft > 0) store<i32>(left, highLeft - sumLanes(atHigh), 4);
  for (; changes < end; changes += 4) bandOne(changes, low, high, scale, left);
}

/** Twin of `addMagnitudes`: eight f64 at `sums`, the first value belongs to `lane`. */
export function l1(values: usize, count: i32, lane: i32, sums: usize): void {
  const end = values + (<usize>count << 2);
  for (; values < end && (lane & 7) != 0; values += 4) {
    addMagnitude(values, sums + ((<usize>lane & 7) << 3));
    lane++;
  }
  let s0 = v128.load(sums), s1 = v128.load(sums, 16), s2 = v128.load(sums, 32), s3 = v128.load(sums, 48);
  for (; values + 32 <= end; values += 32) {
    const a = f32x4.abs(v128.load(values)), b = f32x4.abs(v128.load(values, 16));
    s0 = f64x2.add(s0, f64x2.promote_low_f32x4(a));
    s1 = f64x2.add(s1, f64x2.promote_low_f32x4(v128.shuffle<i32>(a, a, 2, 3, 2, 3)));
    s2 = f64x2.add(s2, f64x2.promote_low_f32x4(b));
    s3 = f64x2.add(s3, f64x2.promote_low_f32x4(v128.shuffle<i32>(b, b, 2, 3, 2, 3)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
  for (; values < end; values += 4, sums += 8) addMagnitude(values, sums);
}

function addMagnitude(value: usize, sum: usize): void {
  store<f64>(sum, load<f64>(sum) + <f64>abs<f32>(load<f32>(value)));
}

/**
 * Twin of `noteKept`: sets the bits of the values that are not +0, from bit `first` of the mask on; the bits behind are
 * left as they are.
 */
export function note_kept(values: usize, count: i32, first: i32, mask: usize): void {
  const end = values + (<usize>count << 2);
  for (; values < end && (first & 7) != 0; values += 4) noteOne(values, first++, mask);
  let p = mask + (<usize>first >>> 3);
  const zero = i32x4.splat(0);
  for (; values + 32 <= end; values += 32, first += 8, p++) {
    const a = i32x4.bitmask(i32x4.ne(v128.load(values), zero));
    const b = i32x4.bitmask(i32x4.ne(v128.load(values, 16), zero));
    store<u8>(p, a | (b << 4));
  }
  for (; values < end; values += 4) noteOne(values, first++, mask);
}

function noteOne(value: usize, index: i32, mask: usize): void {
  const at = mask + (<usize>index >>> 3);
  const bit: u32 = 1 << (index & 7);
  const others = load<u8>(at) & ~bit;
  store<u8>(at, load<u32>(value) != 0 ? others | bit : others);
}

/** Twin of `applyKept`: what the mask keeps is multiplied by `scale`, the rest becomes +0; NaN and infinity stay. */
export function apply_kept(values: usize, count: i32, first: i32, mask: usize, scale: f32): void {
  const end = values + (<usize>count << 2);
  for (; values < end && (first & 7) != 0; values += 4) applyOne(values, first++, mask, scale);
  let p = mask + (<usize>first >>> 3);
  const scales = f32x4.splat(scale), infinity = f32x4.splat(Infinity);
  const low = i32x4(1, 2, 4, 8), high = i32x4(16, 32, 64, 128);
  for (; values + 32 <= end; values += 32, first += 8, p++) {
    const bits = i32x4.splat(load<u8>(p));
    const a = v128.load(values), b = v128.load(values, 16);
    const keptA = v128.and(f32x4.mul(a, scales), i32x4.eq(v128.and(bits, low), low));
    const keptB = v128.and(f32x4.mul(b, scales), i32x4.eq(v128.and(bits, high), high));
    v128.store(values, v128.bitselect(keptA, a, f32x4.lt(f32x4.abs(a), infinity)));
    v128.store(values, v128.bitselect(keptB, b, f32x4.lt(f32x4.abs(b), infinity)), 16);
  }
  for (; values < end; values += 4) applyOne(values, first++, mask, scale);
}

function applyOne(at: usize, index: i32, mask: usize, scale: f32): void {
  const value = load<f32>(at);
  if (!(abs<f32>(value) < Infinity)) return;
  const kept = (<i32>load<u8>(mask + (<usize>index >>> 3)) >>> (index & 7)) & 1;
  store<f32>(at, kept ? value * scale : 0);
}

/**
 * Twin of `widen`, `change` and `applyKept`: `model` as it is stored, `base` and `target` f32. `count` and `first` are
 * multiples of eight.
 */
// @ts-ignore: decorator
@inline function keptChange<T>(
  model: usize, base: usize, target: usize, count: i32, first8: i32, mask: usize, scale: f32,
): void {
  const scales = f32x4.splat(scale), infinity = f32x4.splat(Infinity), magnitude = magnitudeBits();
  const low = i32x4(1, 2, 4, 8), high = i32x4(16, 32, 64, 128);
  let p = mask + (<usize>first8 >>> 3);
  for (const end = target + (<usize>count << 2); target < end; target += 32) {
    const bits = i32x4.splat(load<u8>(p));
    const v = load8<T>(model);
    const a = f32x4.sub(first<T, f32>(v), v128.load(base));
    const b = f32x4.sub(second<T, f32>(v, model), v128.load(base, 16));
    const keptA = v128.and(f32x4.mul(a, scales), i32x4.eq(v128.and(bits, low), low));
    const keptB = v128.and(f32x4.mul(b, scales), i32x4.eq(v128.and(bits, high), high));
    v128.store(target, v128.bitselect(keptA, a, f32x4.lt(v128.and(a, magnitude), infinity)));
    v128.store(target, v128.bitselect(keptB, b, f32x4.lt(v128.and(b, magnitude), infinity)), 16);
    model += 8 * sizeof<T>();
    base += 32;
    p++;
  }
}

export function kept_change_BF16(m: usize, base: usize, target: usize, count: i32, at: i32, mask: usize, scale: f32): void {
  keptChange<u16>(m, base, target, count, at, mask, scale);
}
export function kept_change_F16(m: usize, base: usize, target: usize, count: i32, at: i32, mask: usize, scale: f32): void {
  keptChange<i16>(m, base, target, count, at, mask, scale);
}
export function kept_change_F32(m: usize, base: usize, target: usize, count: i32, at: i32, mask: usize, scale: f32): void {
  keptChange<f32>(m, base, target, count, at, mask, scale);
}

/**
 * Twin of `noteChosen`: at `sums` lie eight f64 for all magnitudes and eight for those that are kept. Without a mask (0)
 * only sums are made.
 */
export function note_chosen(changes: usize, chosen: usize, count: i32, first: i32, mask: usize, sums: usize): void {
  const end = changes + (<usize>count << 2);
  for (; changes < end && (first & 7) != 0; changes += 4, chosen++) noteOneChosen(changes, chosen, first++, mask, sums);
  const magnitude = magnitudeBits(), largest = i32x4.splat(INFINITY_BITS - 1);
  let p = mask + (<usize>first >>> 3);
  let b0 = v128.load(sums), b1 = v128.load(sums, 16), b2 = v128.load(sums, 32), b3 = v128.load(sums, 48);
  let a0 = v128.load(sums, 64), a1 = v128.load(sums, 80), a2 = v128.load(sums, 96), a3 = v128.load(sums, 112);
  for (; changes + 32 <= end; changes += 32, chosen += 8, first += 8, p++) {
    const x = v128.and(v128.load(changes), magnitude), y = v128.and(v128.load(changes, 16), magnitude);
    let kept = v128.load64_zero(chosen);
    const endless = i32x4.gt_s(i32x4.max_s(x, y), largest);
    if (v128.any_true(endless)) {
      const wide = i16x8.narrow_i32x4_s(i32x4.gt_s(x, largest), i32x4.gt_s(y, largest));
      kept = v128.or(kept, i8x16.narrow_i16x8_s(wide, wide));
    }
    if (mask != 0) store<u8>(p, i8x16.bitmask(kept));
    // Each byte eight times, from two at a time to all that an f64 takes.
    const pairs = v128.shuffle<i8>(kept, kept, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const k0 = v128.shuffle<i16>(pairs, pairs, 0, 0, 1, 1, 2, 2, 3, 3);
    const k1 = v128.shuffle<i16>(pairs, pairs, 4, 4, 5, 5, 6, 6, 7, 7);
    const x0 = f64x2.promote_low_f32x4(x), x1 = f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3));
    const y0 = f64x2.promote_low_f32x4(y), y1 = f64x2.promote_low_f32x4(v128.shuffle<i32>(y, y, 2, 3, 2, 3));
    b0 = f64x2.add(b0, x0);
    b1 = f64x2.add(b1, x1);
    b2 = f64x2.add(b2, y0);
    b3 = f64x2.add(b3, y1);
    a0 = f64x2.add(a0, v128.and(x0, v128.shuffle<i32>(k0, k0, 0, 0, 1, 1)));
    a1 = f64x2.add(a1, v128.and(x1, v128.shuffle<i32>(k0, k0, 2, 2, 3, 3)));
    a2 = f64x2.add(a2, v128.and(y0, v128.shuffle<i32>(k1, k1, 0, 0, 1, 1)));
    a3 = f64x2.add(a3, v128.and(y1, v128.shuffle<i32>(k1, k1, 2, 2, 3, 3)));
  }
  v128.store(sums, b0);
  v128.store(sums, b1, 16);
  v128.store(sums, b2, 32);
  v128.store(sums, b3, 48);
  v128.store(sums, a0, 64);
  v128.store(sums, a1, 80);
  v128.store(sums, a2, 96);
  v128.store(sums, a3, 112);
  for (; changes < end; changes += 4, chosen++) noteOneChosen(changes, chosen, first++, mask, sums);
}

function noteOneChosen(change: usize, chosen: usize, index: i32, mask: usize, sums: usize): void {
  const size = abs<f32>(load<f32>(change));
  const sum = sums + ((<usize>index & 7) << 3);
  store<f64>(sum, load<f64>(sum) + <f64>size);
  const kept = load<u8>(chosen) != 0 || !(size < Infinity);
  store<f64>(sum, load<f64>(sum, 64) + (kept ? <f64>size : 0), 64);
  if (mask == 0) return;
  const at = mask + (<usize>index >>> 3);
  const bit: u32 = 1 << (index & 7);
  const others = load<u8>(at) & ~bit;
  store<u8>(at, kept ? others | bit : others);
}

const WORDS: f64 = 4294967296.0;
const LARGEST_WORD: f64 = 4294967295.0;
/** f64 numbers from here to twice it are whole: adding it rounds to nearest, ties to even. */
const WHOLE: f64 = 4503599627370496.0;

/** Twin of `dropRanked`. */
export function drop_ranked(
  changes: usize, bytes: usize, ranks: usize, count: i32, first: f64, step: f64, inverse: i32, scale: f32,
  firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  const end = changes + (<usize>count << 2);
  const firsts = f64x2.splat(first), steps = f64x2.splat(step), scales = f32x4.splat(scale);
  const largest = f64x2.splat(LARGEST_WORD), whole = f64x2.splat(WHOLE);
  const one = f64x2.splat(1), unit = f64x2.splat(1.0 / WORDS), infinity = f32x4.splat(Infinity);
  let entry = <u64>firstEntry;
  for (; changes + 16 <= end; changes += 16, bytes += 4, ranks += 16, entry += 4) {
    const rank = v128.load(ranks);
    const v = v128.load(changes);
    const d0 = f64x2.sub(firsts, f64x2.mul(steps, f64x2.convert_low_i32x4_s(rank)));
    const d1 = f64x2.sub(
      firsts, f64x2.mul(steps, f64x2.convert_low_i32x4_s(v128.shuffle<i32>(rank, rank, 2, 3, 2, 3))),
    );
    const t0 = f64x2.add(f64x2.pmin(d0, largest), whole), t1 = f64x2.add(f64x2.pmin(d1, largest), whole);
    const words = largestWords(bytes), limits = v128.shuffle<i32>(t0, t1, 0, 2, 4, 6);
    const kept = i32x4.ge_u(words, limits);
    let scaled = v;
    if (inverse) {
      const p0 = f32x4.demote_f64x2_zero(f64x2.sub(one, f64x2.mul(d0, unit)));
      const p1 = f32x4.demote_f64x2_zero(f64x2.sub(one, f64x2.mul(d1, unit)));
      scaled = f32x4.div(v, v128.shuffle<i64>(p0, p1, 0, 2));
    } else scaled = f32x4.mul(v, scales);
    const finite = f32x4.lt(f32x4.abs(v), infinity);
    v128.store(changes, v128.bitselect(v128.and(scaled, kept), v, finite));
    const ties = v128.and(tiesOf(words, limits), finite);
    if (v128.any_true(ties)) dropTied(changes, ties, limits, entry, key0, key1, stream0, stream1);
  }
  for (; changes < end; changes += 4, bytes++, ranks += 4, entry++) {
    const value = load<f32>(changes);
    if (!(abs<f32>(value) < Infinity)) continue;
    const dropped = first - step * <f64>load<u32>(ranks);
    const threshold = <u32>max<f64>(min<f64>(dropped, LARGEST_WORD) + WHOLE - WHOLE, 0);
    const kept = isAtLeast(load<u8>(bytes), threshold, entry, key0, key1, stream0, stream1);
    if (!kept) store<f32>(changes, 0);
    else store<f32>(changes, inverse ? value / <f32>(1.0 - dropped / WORDS) : value * scale);
  }
}

/** Twin of `rankThresholds`: a u32 for each rank. */
export function rank_thresholds(target: usize, count: i32, first: f64, step: f64): void {
  for (let rank = 0; rank < count; rank++, target += 4) {
    const threshold = min<f64>(first - step * <f64>rank, LARGEST_WORD) + WHOLE - WHOLE;
    store<u32>(target, <u32>max<f64>(threshold, 0));
  }
}
