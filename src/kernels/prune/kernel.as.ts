import { magnitudeBits } from "../lanes.as";

const MAGNITUDE: i32 = 0x7fffffff;
const INFINITY_BITS: i32 = 0x7f800000;

/**
 * Twin of `keepBand`: keeps what is above `low` and not above `high` (bit patterns), scaled, in place. At `left` lie two
 * i32: entries equal to `low` yet to be kept, entries equal to `high` yet to be dropped; both are counted down.
 */
export function band(changes: usize, count: i32, low: i32, high: i32, scale: f32, left: usize): void {
  let lowLeft = load<i32>(left), highLeft = load<i32>(left, 4);
  const end = changes + (<usize>count << 2);
  const lows = i32x4.splat(low), highs = i32x4.splat(high), scales = f32x4.splat(scale);
  const magnitude = i32x4.splat(MAGNITUDE), infinity = i32x4.splat(INFINITY_BITS);
  for (; changes + 16 <= end; changes += 16) {
    const v = v128.load(changes);
    const m = v128.and(v, magnitude);
    let reachesLow = i32x4.gt_s(m, lows), reachesHigh = i32x4.gt_s(m, highs);
    const equalLow = i32x4.eq(m, lows), equalHigh = i32x4.eq(m, highs);
    if (v128.any_true(v128.or(equalLow, equalHigh))) {
      const atLow = popcnt<i32>(i32x4.bitmask(equalLow)), atHigh = popcnt<i32>(i32x4.bitmask(equalHigh));
      // A count that ends inside these four is spent one by one.
      if ((lowLeft > 0 && atLow > lowLeft) || (highLeft > 0 && atHigh > highLeft)) break;
      if (lowLeft > 0) {
        reachesLow = v128.or(reachesLow, equalLow);
        lowLeft -= atLow;
      }
      if (highLeft > 0) {
        reachesHigh = v128.or(reachesHigh, equalHigh);
        highLeft -= atHigh;
      }
    }
    const kept = v128.and(f32x4.mul(v, scales), v128.andnot(reachesLow, reachesHigh));
    v128.store(changes, v128.bitselect(kept, v, i32x4.lt_s(m, infinity)));
  }
  const rest = changes + 16 < end ? changes + 16 : end;
  for (; changes < rest; changes += 4) {
    const value = load<f32>(changes);
    const m = reinterpret<i32>(value) & MAGNITUDE;
    let reachesLow = m > low, reachesHigh = m > high;
    if (m == low && lowLeft > 0) {
      reachesLow = true;
      lowLeft--;
    }
    if (m == high && highLeft > 0) {
      reachesHigh = true;
      highLeft--;
    }
    if (m < INFINITY_BITS) store<f32>(changes, reachesLow && !reachesHigh ? value * scale : 0);
  }
  store<i32>(left, lowLeft);
  store<i32>(left, highLeft, 4);
  if (changes < end) band(changes, <i32>((end - changes) >>> 2), low, high, scale, left);
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

const BINS: i32 = 2048;
const COUNTERS_BYTES: usize = 4 * <usize>BINS;
/** Three histograms of digits. */
const DIGITS_BYTES: usize = 3 * 2048 * 4;

/**
 * Twin of `rowRanks`, without a sort of the row: magnitudes are counted by their upper 16 bits, from the largest down over
 * 16 octaves. Those whose lower 16 bits are zero (nearly all differences of BF16 entries, and zero itself) are the
 * smallest of their bin and equal to each other, so their ranks follow from a running count; the others are sorted and
 * come after them.
 *
 * At `scratch` 32,768 bytes and 16 more per entry.
 */
export function row_ranks(changes: usize, count: i32, ranks: usize, scratch: usize): void {
  const base = lowestBin(changes, count);
  const long = scratch + COUNTERS_BYTES + DIGITS_BYTES;
  let longEnd = long;
  memory.fill(scratch, 0, COUNTERS_BYTES);
  const end = changes + (<usize>count << 2);
  const last = changes + (<usize>(count & ~3) << 2);
  const counters = i32x4.splat(<i32>scratch), bases = i32x4.splat(base);
  let p = changes;
  // Offsets of four bins at a time: a loop costs more than what is done for one entry.
  for (; p < last; p += 16) {
    const at = binsAt(v128.and(v128.load(p), magnitudeBits()), counters, bases);
    count1(i32x4.extract_lane(at, 0));
    count1(i32x4.extract_lane(at, 1));
    count1(i32x4.extract_lane(at, 2));
    count1(i32x4.extract_lane(at, 3));
  }
  for (; p < end; p += 4) count1(scratch + binAt(load<i32>(p) & MAGNITUDE, base));
  startBins(scratch);
  const toRanks = ranks - changes;
  for (p = changes; p < last; p += 16) {
    const m = v128.and(v128.load(p), magnitudeBits());
    const at = binsAt(m, counters, bases);
    const other = v128.or(i32x4.shl(m, 16), v128.and(m, i32x4.eq(at, counters)));
    if (v128.any_true(other)) {
      for (let q = p; q < p + 16; q += 4) longEnd = rankOne(q, q + toRanks, ranks, scratch, base, longEnd);
      continue;
    }
    store<i32>(p + toRanks, next1(i32x4.extract_lane(at, 0)));
    store<i32>(p + toRanks, next1(i32x4.extract_lane(at, 1)), 4);
    store<i32>(p + toRanks, next1(i32x4.extract_lane(at, 2)), 8);
    store<i32>(p + toRanks, next1(i32x4.extract_lane(at, 3)), 12);
  }
  for (; p < end; p += 4) longEnd = rankOne(p, p + toRanks, ranks, scratch, base, longEnd);
  if (longEnd == long) return;
  const sorted = sortLong(long, longEnd, scratch + COUNTERS_BYTES, long + (<usize>count << 3));
  const sortedEnd = sorted + (longEnd - long);
  for (p = sorted; p < sortedEnd; p += 8) {
    const at = scratch + binAt(<i32>(load<u64>(p) >>> 32), base);
    store<i32>(ranks + <usize>load<u32>(p), next1(at));
  }
}

/** Gives an entry its rank, or puts it on the list of those to be sorted. @returns where that list ends. */
function rankOne(change: usize, rank: usize, ranks: usize, scratch: usize, base: i32, longEnd: usize): usize {
  const m = load<i32>(change) & MAGNITUDE;
  if ((m & 0xffff) == 0 && (m >>> 16 > base || m == 0)) {
    store<i32>(rank, next1(scratch + binAt(m, base)));
    return longEnd;
  }
  store<u64>(longEnd, (<u64>m << 32) | <u64>(rank - ranks));
  return longEnd + 8;
}

/** The upper 16 bits that the first bin ends with: everything up to them is in it. */
function lowestBin(changes: usize, count: i32): i32 {
  const magnitude = i32x4.splat(MAGNITUDE);
  const end = changes + (<usize>count << 2);
  let four = i32x4.splat(0);
  let p = changes;
  for (; p + 16 <= end; p += 16) four = i32x4.max_s(four, v128.and(v128.load(p), magnitude));
  let largest = max(
    max(i32x4.extract_lane(four, 0), i32x4.extract_lane(four, 1)),
    max(i32x4.extract_lane(four, 2), i32x4.extract_lane(four, 3)),
  );
  for (; p < end; p += 4) largest = max(largest, load<i32>(p) & MAGNITUDE);
  return max((largest >>> 16) - (BINS - 1), 0);
}

/** Offset of the counter of a magnitude's bin. */
// @ts-ignore: decorator
@inline function binAt(m: i32, base: i32): usize {
  return <usize>max((m >>> 16) - base, 0) << 2;
}

/** The addresses of the counters of four magnitudes' bins. */
// @ts-ignore: decorator
@inline function binsAt(m: v128, counters: v128, bases: v128): v128 {
  const bins = i32x4.max_s(i32x4.sub(i32x4.shr_u(m, 16), bases), i32x4.splat(0));
  return i32x4.add(i32x4.shl(bins, 2), counters);
}

/** What a counter says, which then says one more. */
// @ts-ignore: decorator
@inline function next1(at: usize): i32 {
  const value = load<i32>(at);
  store<i32>(at, value + 1);
  return value;
}

/** From counts to the rank of each bin's first entry. */
function startBins(counters: usize): void {
  let sum = 0;
  for (let p = counters, end = counters + (<usize>BINS << 2); p < end; p += 16) {
    if (!v128.any_true(v128.load(p))) continue;
    for (let q = p; q < p + 16; q += 4) {
      const size = load<i32>(q);
      store<i32>(q, sum);
      sum += size;
    }
  }
}

const FEW: usize = 24;

/** Sorts pairs of magnitude and place, which lie in order of places. @returns where the sorted ones lie. */
function sortLong(first: usize, end: usize, digits: usize, other: usize): usize {
  if (end - first <= FEW << 3) {
    for (let p = first + 8; p < end; p += 8) {
      const pair = load<u64>(p);
      let q = p;
      for (; q > first && load<u64>(q - 8) > pair; q -= 8) store<u64>(q, load<u64>(q - 8));
      store<u64>(q, pair);
    }
    return first;
  }
  // Digits of 11, 10 and 10 bits from the lowest up, each pass keeping the order of equal ones.
  memory.fill(digits, 0, DIGITS_BYTES);
  for (let p = first; p < end; p += 8) {
    const m = load<u32>(p, 4);
    count1(digits + (<usize>(m & 2047) << 2));
    count1(digits + 8192 + (<usize>((m >>> 11) & 1023) << 2));
    count1(digits + 16384 + (<usize>(m >>> 21) << 2));
  }
  const bytes = end - first;
  if (passDigit(first, bytes, other, digits, 0, 2047)) {
    const swap = first;
    first = other;
    other = swap;
  }
  if (passDigit(first, bytes, other, digits + 8192, 11, 1023)) {
    const swap = first;
    first = other;
    other = swap;
  }
  return passDigit(first, bytes, other, digits + 16384, 21, 1023) ? other : first;
}

// @ts-ignore: decorator
@inline function count1(at: usize): void {
  store<i32>(at, load<i32>(at) + 1);
}

/** @returns whether the pairs moved; they stay where all have the same digit. */
function passDigit(first: usize, bytes: usize, other: usize, digits: usize, shift: u32, mask: u32): bool {
  if (<usize>load<u32>(digits + (<usize>((load<u32>(first, 4) >>> shift) & mask) << 2)) << 3 == bytes) return false;
  let sum = 0;
  for (let p = digits, end = digits + (<usize>(mask + 1) << 2); p < end; p += 4) {
    const size = load<i32>(p);
    store<i32>(p, sum);
    sum += size;
  }
  for (let p = first, end = first + bytes; p < end; p += 8) {
    const pair = load<u64>(p);
    const at = digits + (<usize>((<u32>(pair >>> 32) >>> shift) & mask) << 2);
    const place = load<i32>(at);
    store<i32>(at, place + 1);
    store<u64>(other + (<usize>place << 3), pair);
  }
  return true;
}

const WORDS: f64 = 4294967296.0;
const LARGEST_WORD: f64 = 4294967295.0;
/** f64 numbers from here to twice it are whole: adding it rounds to nearest, ties to even. */
const WHOLE: f64 = 4503599627370496.0;

/** Twin of `dropRanked`. */
export function drop_ranked(
  changes: usize, words: usize, ranks: usize, count: i32, first: f64, step: f64, inverse: i32, scale: f32,
): void {
  const end = changes + (<usize>count << 2);
  const firsts = f64x2.splat(first), steps = f64x2.splat(step), scales = f32x4.splat(scale);
  const largest = f64x2.splat(LARGEST_WORD), whole = f64x2.splat(WHOLE);
  const one = f64x2.splat(1), unit = f64x2.splat(1.0 / WORDS), infinity = f32x4.splat(Infinity);
  for (; changes + 16 <= end; changes += 16, words += 16, ranks += 16) {
    const rank = v128.load(ranks);
    const v = v128.load(changes);
    const d0 = f64x2.sub(firsts, f64x2.mul(steps, f64x2.convert_low_i32x4_s(rank)));
    const d1 = f64x2.sub(
      firsts, f64x2.mul(steps, f64x2.convert_low_i32x4_s(v128.shuffle<i32>(rank, rank, 2, 3, 2, 3))),
    );
    const t0 = f64x2.add(f64x2.pmin(d0, largest), whole), t1 = f64x2.add(f64x2.pmin(d1, largest), whole);
    const kept = i32x4.ge_u(v128.load(words), v128.shuffle<i32>(t0, t1, 0, 2, 4, 6));
    let scaled = v;
    if (inverse) {
      const p0 = f32x4.demote_f64x2_zero(f64x2.sub(one, f64x2.mul(d0, unit)));
      const p1 = f32x4.demote_f64x2_zero(f64x2.sub(one, f64x2.mul(d1, unit)));
      scaled = f32x4.div(v, v128.shuffle<i64>(p0, p1, 0, 2));
    } else scaled = f32x4.mul(v, scales);
    v128.store(changes, v128.bitselect(v128.and(scaled, kept), v, f32x4.lt(f32x4.abs(v), infinity)));
  }
  for (; changes < end; changes += 4, words += 4, ranks += 4) {
    const value = load<f32>(changes);
    if (!(abs<f32>(value) < Infinity)) continue;
    const dropped = first - step * <f64>load<u32>(ranks);
    const threshold = min<f64>(dropped, LARGEST_WORD) + WHOLE - WHOLE;
    if (<f64>load<u32>(words) < threshold) store<f32>(changes, 0);
    else store<f32>(changes, inverse ? value / <f32>(1.0 - dropped / WORDS) : value * scale);
  }
}
