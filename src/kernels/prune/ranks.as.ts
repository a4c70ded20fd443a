import { magnitudeBits } from "../lanes.as";
import { isAtLeast, largestWords, lowBits, lowOf, tiesOf } from "../random/chance.as";

const MAGNITUDE: i32 = 0x7fffffff;
const BINS: i32 = 1024;
const COUNTERS_BYTES: usize = 4 * <usize>BINS;
/** Three histograms of digits. */
const DIGITS_BYTES: usize = 3 * 2048 * 4;

/**
 * Ranks of a row's entries, without a sort of the row: magnitudes are counted by their upper 16 bits, from the largest down
 * over eight octaves. Those whose lower 16 bits are zero (nearly all differences of BF16 entries, and zero itself) are the
 * smallest of their bin and equal to each other, so their ranks follow from a running count; the others are sorted and
 * come after them.
 *
 * At `scratch` 32,768 bytes and 24 more per entry: the counters, then one for entries that wait, in whose place the histograms
 * of digits come; then, with 8 bytes an entry each, the list of long entries, where counters are (later room to sort in), and
 * the list of ties.
 */
// @ts-ignore: decorator
@inline function longOf(scratch: usize): usize {
  return scratch + COUNTERS_BYTES + DIGITS_BYTES;
}

/** Where per entry the address of its counter lies, until the list before is sorted. */
// @ts-ignore: decorator
@inline function turnsOf(scratch: usize, count: i32): usize {
  return longOf(scratch) + (<usize>count << 3);
}

/** Twin of `rowRanks`. */
export function row_ranks(changes: usize, count: i32, ranks: usize, scratch: usize): void {
  const base = lowestBin(changes, count);
  const longEnd = countBins(changes, count, scratch, base);
  startBins(scratch, 0, 0);
  store<u32>(scratch + COUNTERS_BYTES, 0);
  let rank = ranks, turn = turnsOf(scratch, count);
  const end = ranks + (<usize>count << 2);
  for (const last = ranks + (<usize>(count & ~3) << 2); rank < last; rank += 16, turn += 16) {
    store<i32>(rank, next1(load<u32>(turn)));
    store<i32>(rank, next1(load<u32>(turn, 4)), 4);
    store<i32>(rank, next1(load<u32>(turn, 8)), 8);
    store<i32>(rank, next1(load<u32>(turn, 12)), 12);
  }
  for (; rank < end; rank += 4, turn += 4) store<i32>(rank, next1(load<u32>(turn)));
  const sorted = sortLong(longOf(scratch), longEnd, scratch + COUNTERS_BYTES, turnsOf(scratch, count), base);
  const sortedEnd = sorted + (longEnd - longOf(scratch));
  for (let p = sorted; p < sortedEnd; p += 8) {
    store<i32>(ranks + (<usize>load<u32>(p) << 2), next1(scratch + binAt(load<i32>(p, 4), base)));
  }
}

/**
 * Twin of `keepRanked`, of `rows` rows. As `row_ranks`, but bins count in addresses of `thresholds`, a u32 for each rank, so
 * that no rank is written down.
 */
export function keep_ranked(
  changes: usize, bytes: usize, chosen: usize, row: i32, rows: i32, thresholds: usize, scratch: usize,
  firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  let entry = <u64>firstEntry;
  for (; rows > 0; rows--) {
    keepRow(changes, bytes, chosen, row, thresholds, scratch, entry, key0, key1, stream0, stream1);
    changes += <usize>row << 2;
    bytes += <usize>row;
    chosen += <usize>row;
    entry += <u64>row;
  }
}

function keepRow(
  changes: usize, bytes: usize, chosen: usize, count: i32, thresholds: usize, scratch: usize,
  entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  const base = lowestBin(changes, count);
  const longEnd = countBins(changes, count, scratch, base);
  startBins(scratch, <i32>thresholds, 2);
  store<u32>(scratch + COUNTERS_BYTES, <u32>thresholds);
  const ties = turnsOf(scratch, count) + (<usize>count << 3);
  const tiesEnd = keepInTurn(bytes, chosen, count, turnsOf(scratch, count), ties);
  for (let tie = ties; tie < tiesEnd; tie += 8) {
    const place = load<u32>(tie);
    if (lowBits(entry + place, key0, key1, stream0, stream1) < lowOf(load<u32>(tie, 4))) store<u8>(chosen + place, 0);
  }
  const sorted = sortLong(longOf(scratch), longEnd, scratch + COUNTERS_BYTES, turnsOf(scratch, count), base);
  const sortedEnd = sorted + (longEnd - longOf(scratch));
  for (let p = sorted; p < sortedEnd; p += 8) {
    const place = load<u32>(p);
    const threshold = load<u32>(nextAddress(scratch + binAt(load<i32>(p, 4), base)));
    const kept = isAtLeast(load<u8>(bytes + place), threshold, entry + place, key0, key1, stream0, stream1);
    store<u8>(chosen + place, kept ? 255 : 0);
  }
}

/**
 * Decides about the entries of a row by the thresholds that their counters say; those that share their threshold's byte are
 * kept and listed at `ties`, with their thresholds. Calls nothing: a loop that does, however rarely, keeps fewer values in
 * registers.
 * @returns where the ties end.
 */
function keepInTurn(bytes: usize, chosen: usize, count: i32, turn: usize, ties: usize): usize {
  const last = <usize>(count & ~3);
  let p: usize = 0;
  for (; p < last; p += 4, turn += 16) {
    let limits = v128.load32_zero(nextAddress(load<u32>(turn)));
    limits = v128.load32_lane(nextAddress(load<u32>(turn, 4)), limits, 1);
    limits = v128.load32_lane(nextAddress(load<u32>(turn, 8)), limits, 2);
    limits = v128.load32_lane(nextAddress(load<u32>(turn, 12)), limits, 3);
    const words = largestWords(bytes + p);
    const kept = i32x4.ge_u(words, limits), tied = tiesOf(words, limits);
    const half = i16x8.narrow_i32x4_s(kept, kept);
    v128.store32_lane(chosen + p, i8x16.narrow_i16x8_s(half, half), 0);
    if (!v128.any_true(tied)) continue;
    const bits = i32x4.bitmask(tied);
    ties = putTie(ties, <u32>p, i32x4.extract_lane(limits, 0), bits & 1);
    ties = putTie(ties, <u32>p + 1, i32x4.extract_lane(limits, 1), (bits >>> 1) & 1);
    ties = putTie(ties, <u32>p + 2, i32x4.extract_lane(limits, 2), (bits >>> 2) & 1);
    ties = putTie(ties, <u32>p + 3, i32x4.extract_lane(limits, 3), bits >>> 3);
  }
  for (; p < <usize>count; p++, turn += 4) {
    const threshold = load<u32>(nextAddress(load<u32>(turn)));
    const byte = <u32>load<u8>(bytes + p);
    store<u8>(chosen + p, byte >= threshold >>> 24 ? 255 : 0);
    ties = putTie(ties, <u32>p, threshold, byte == threshold >>> 24 ? 1 : 0);
  }
  return ties;
}

/** Whether a magnitude is the smallest of its bin. */
// @ts-ignore: decorator
@inline function isShort(m: i32, base: i32): bool {
  return (m & 0xffff) == 0 && (m >>> 16 > base || m == 0);
}

/** Puts an entry on the list of ties if `is` is 1, not if it is 0. @returns where the list ends. */
// @ts-ignore: decorator
@inline function putTie(ties: usize, place: u32, threshold: u32, is: i32): usize {
  store<u64>(ties, (<u64>threshold << 32) | <u64>place);
  return ties + (<usize>is << 3);
}

/** The address that a counter holds, which then holds the next. */
// @ts-ignore: decorator
@inline function nextAddress(at: usize): usize {
  const value = load<u32>(at);
  store<u32>(at, value + 4);
  return <usize>value;
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

/**
 * Counts the magnitudes in each bin and writes per entry where its counter is. Long entries (see `row_ranks`) are listed, with
 * their places, and wait: theirs is the counter behind the bins.
 * @returns where their list ends.
 */
function countBins(changes: usize, count: i32, scratch: usize, base: i32): usize {
  memory.fill(scratch, 0, COUNTERS_BYTES);
  const turns = turnsOf(scratch, count);
  let long = longOf(scratch);
  const last = <usize>(count & ~3) << 2;
  const counters = i32x4.splat(<i32>scratch), bases = i32x4.splat(base), magnitude = magnitudeBits();
  let p: usize = 0;
  // Addresses of four counters at a time: a loop costs more than what is done for one entry.
  for (; p < last; p += 16) {
    const m = v128.and(v128.load(changes + p), magnitude);
    const at = binsAt(m, counters, bases);
    v128.store(turns + p, at);
    count1(i32x4.extract_lane(at, 0));
    count1(i32x4.extract_lane(at, 1));
    count1(i32x4.extract_lane(at, 2));
    count1(i32x4.extract_lane(at, 3));
    if (!v128.any_true(v128.or(i32x4.shl(m, 16), v128.and(m, i32x4.eq(at, counters))))) continue;
    for (let q = p; q < p + 16; q += 4) long = putLong(long, changes, q, turns, scratch, base);
  }
  for (const end = <usize>count << 2; p < end; p += 4) {
    const at = scratch + binAt(load<i32>(changes + p) & MAGNITUDE, base);
    store<u32>(turns + p, <u32>at);
    count1(at);
    long = putLong(long, changes, p, turns, scratch, base);
  }
  return long;
}

/** Lists the entry at an offset if it is long, and lets it wait. @returns where the list ends. */
// @ts-ignore: decorator
@inline function putLong(long: usize, changes: usize, p: usize, turns: usize, scratch: usize, base: i32): usize {
  const m = load<i32>(changes + p) & MAGNITUDE;
  if (isShort(m, base)) return long;
  store<u64>(long, (<u64>m << 32) | <u64>(p >>> 2));
  store<u32>(turns + p, <u32>(scratch + COUNTERS_BYTES));
  return long + 8;
}

/** From counts to the rank of each bin's first entry, shifted left and added to `first`. */
function startBins(counters: usize, first: i32, shift: i32): void {
  const none = i32x4.splat(0);
  let before = i32x4.splat(first);
  for (let p = counters, end = counters + COUNTERS_BYTES; p < end; p += 16) {
    const sizes = i32x4.shl(v128.load(p), shift);
    let upTo = i32x4.add(sizes, v128.shuffle<i32>(none, sizes, 3, 4, 5, 6));
    upTo = i32x4.add(upTo, v128.shuffle<i32>(none, upTo, 2, 3, 4, 5));
    v128.store(p, i32x4.add(before, i32x4.sub(upTo, sizes)));
    before = i32x4.add(before, v128.shuffle<i32>(upTo, upTo, 3, 3, 3, 3));
  }
}

const FEW: usize = 24;
const SOME: usize = 512;
const BUCKETS: i32 = 256;
/** More in a bucket are not sorted by insertion. */
const CROWD: i32 = 48;

/**
 * Sorts pairs of magnitude and place, which lie in order of places. Of a row of BF16 differences there are a few dozen:
 * too many for an insertion sort of all, too few for the digits' histograms.
 * @param base as of `lowestBin`.
 * @returns where the sorted ones lie.
 */
function sortLong(first: usize, end: usize, digits: usize, other: usize, base: i32): usize {
  if (end - first <= FEW << 3) {
    sortByInsertion(first, end);
    return first;
  }
  if (end - first <= SOME << 3 && fillBuckets(first, end, digits, other, base)) {
    sortByInsertion(other, other + (end - first));
    return other;
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

/** By all 64 bits. */
function sortByInsertion(first: usize, end: usize): void {
  for (let p = first + 8; p < end; p += 8) {
    const pair = load<u64>(p);
    let q = p;
    for (; q > first && load<u64>(q - 8) > pair; q -= 8) store<u64>(q, load<u64>(q - 8));
    store<u64>(q, pair);
  }
}

// @ts-ignore: decorator
@inline function bucketAt(m: u32, counters: usize, base: i32): usize {
  return counters + (<usize>(min<u32>(max<i32>(<i32>(m >>> 16) - base, 0), BINS - 1) >>> 2) << 2);
}

/** Moves pairs to `other` in order of buckets of four bins. @returns false, with nothing moved, where one is crowded. */
function fillBuckets(first: usize, end: usize, counters: usize, other: usize, base: i32): bool {
  memory.fill(counters, 0, 4 * BUCKETS);
  for (let p = first; p < end; p += 8) count1(bucketAt(load<u32>(p, 4), counters, base));
  let at = <i32>other;
  for (let p = counters, last = counters + 4 * BUCKETS; p < last; p += 4) {
    const size = load<i32>(p);
    if (size > CROWD) return false;
    store<i32>(p, at);
    at += size << 3;
  }
  for (let p = first; p < end; p += 8) {
    const counter = bucketAt(load<u32>(p, 4), counters, base);
    const target = load<u32>(counter);
    store<u32>(counter, target + 8);
    store<u64>(<usize>target, load<u64>(p));
  }
  return true;
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
