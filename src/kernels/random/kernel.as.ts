import {
  CHANCE_BLOCKS, halfBlock, isAtLeast, lowBits, lowOf, MULTIPLIER_0, MULTIPLIER_1, ROUNDS, WEYL_0, WEYL_1
} from "./chance.as";

/** Read from memory in the loop: see lanes.as.ts. */
const CONSTANTS: usize = memory.data<u32>([MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1]);

/**
 * Twin of `dropChanges` in numbers/random.ts. An entry stays if its chance word is at least `threshold`, and none stays if
 * `all` is 1. Any count, any first entry.
 */
export function drop(
  changes: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32, scale: f32,
): void {
  draw<f32>(changes, count, firstEntry, key0, key1, stream0, stream1, threshold, all, scale);
}

/** Twin of `chanceBytes`. */
export function chance_bytes(
  target: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  draw<u8>(target, count, firstEntry, key0, key1, stream0, stream1, 0, 0, 0);
}

/** Twin of `chanceKept`; none stays if `all` is 1. */
export function chance_kept(
  target: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32,
): void {
  draw<i8>(target, count, firstEntry, key0, key1, stream0, stream1, threshold, all, 0);
}

/**
 * T is what lies at `target`: f32 changes, or i8 that say what is kept, or u8 random bytes to be. Two sets of four blocks of
 * Philox4x32-10 make the bytes of 128 entries; one set alone waits for its own multiplications (a fifth slower).
 */
// @ts-ignore: decorator
@inline function draw<T>(
  target: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32, scale: f32,
): void {
  let entry = <u64>firstEntry;
  const end = entry + <u64>count;
  if ((entry & 15) != 0 && entry < end) {
    const next = min<u64>(end, (entry | 15) + 1);
    drawPart<T>(target, entry, next, key0, key1, stream0, stream1, threshold, all, scale);
    target += <usize>(next - entry) * sizeof<T>();
    entry = next;
  }
  const low = lowOf(threshold);
  const tops = i8x16.splat(<i8>(threshold >>> 24));
  const none = i8x16.splat(all ? -1 : 0);
  const unsure = i8x16.splat(all || low == 0 ? 0 : -1);
  const scales = f32x4.splat(scale);
  const multiplier0 = v128.load32_splat(CONSTANTS);
  const weyl0 = v128.load32_splat(CONSTANTS, 8), weyl1 = v128.load32_splat(CONSTANTS, 12);
  const multiplier1 = v128.load32_splat(CONSTANTS, 4);
  for (; entry + 128 <= end; entry += 128) {
    // lane k of c0 ... c3: the four words of counter entry / 16 + k; lane k of d0 ... d3: those of the fourth after it
    const block = i64x2.splat((entry >> 4) | (<u64>CHANCE_BLOCKS << 32));
    const b01 = i64x2.add(block, i64x2(0, 1));
    const b23 = i64x2.add(block, i64x2(2, 3));
    const b45 = i64x2.add(block, i64x2(4, 5));
    const b67 = i64x2.add(block, i64x2(6, 7));
    let c0 = v128.shuffle<i32>(b01, b23, 0, 2, 4, 6);
    let c1 = v128.shuffle<i32>(b01, b23, 1, 3, 5, 7);
    let c2 = i32x4.splat(stream0);
    let c3 = i32x4.splat(stream1);
    let d0 = v128.shuffle<i32>(b45, b67, 0, 2, 4, 6);
    let d1 = v128.shuffle<i32>(b45, b67, 1, 3, 5, 7);
    let d2 = c2;
    let d3 = c3;
    let k0 = i32x4.splat(key0);
    let k1 = i32x4.splat(key1);
    for (let round = 0; round < ROUNDS; round++) {
      let low0 = i64x2.extmul_low_i32x4_u(c0, multiplier0);
      let high0 = i64x2.extmul_high_i32x4_u(c0, multiplier0);
      let low1 = i64x2.extmul_low_i32x4_u(c2, multiplier1);
      let high1 = i64x2.extmul_high_i32x4_u(c2, multiplier1);
      c0 = v128.xor(v128.xor(v128.shuffle<i32>(low1, high1, 1, 3, 5, 7), c1), k0);
      c2 = v128.xor(v128.xor(v128.shuffle<i32>(low0, high0, 1, 3, 5, 7), c3), k1);
      c1 = v128.shuffle<i32>(low1, high1, 0, 2, 4, 6);
      c3 = v128.shuffle<i32>(low0, high0, 0, 2, 4, 6);
      low0 = i64x2.extmul_low_i32x4_u(d0, multiplier0);
      high0 = i64x2.extmul_high_i32x4_u(d0, multiplier0);
      low1 = i64x2.extmul_low_i32x4_u(d2, multiplier1);
      high1 = i64x2.extmul_high_i32x4_u(d2, multiplier1);
      d0 = v128.xor(v128.xor(v128.shuffle<i32>(low1, high1, 1, 3, 5, 7), d1), k0);
      d2 = v128.xor(v128.xor(v128.shuffle<i32>(low0, high0, 1, 3, 5, 7), d3), k1);
      d1 = v128.shuffle<i32>(low1, high1, 0, 2, 4, 6);
      d3 = v128.shuffle<i32>(low0, high0, 0, 2, 4, 6);
      k0 = i32x4.add(k0, weyl0);
      k1 = i32x4.add(k1, weyl1);
    }
    take64<T>(target, c0, c1, c2, c3, tops, none, unsure, scales, low, entry, key0, key1, stream0, stream1);
    take64<T>(
      target + 64 * sizeof<T>(), d0, d1, d2, d3, tops, none, unsure, scales, low, entry + 64, key0, key1, stream0, stream1,
    );
    target += 128 * sizeof<T>();
  }
  while (entry < end) {
    const next = min<u64>(end, entry + 16);
    drawPart<T>(target, entry, next, key0, key1, stream0, stream1, threshold, all, scale);
    target += 16 * sizeof<T>();
    entry = next;
  }
}

/** From words by counter to the bytes of four blocks, a 4 x 4 transpose, and to what is made of them. */
// @ts-ignore: decorator
@inline function take64<T>(
  target: usize, c0: v128, c1: v128, c2: v128, c3: v128, tops: v128, none: v128, unsure: v128, scales: v128, low: u32,
  entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  const p = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
  const q = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const r = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
  const s = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  const a = v128.shuffle<i64>(p, q, 0, 2), b = v128.shuffle<i64>(p, q, 1, 3);
  const c = v128.shuffle<i64>(r, s, 0, 2), d = v128.shuffle<i64>(r, s, 1, 3);
  if (isInteger<T>() && !isSigned<T>()) {
    v128.store(target, a);
    v128.store(target, b, 16);
    v128.store(target, c, 32);
    v128.store(target, d, 48);
    return;
  }
  const ties0 = v128.and(i8x16.eq(a, tops), unsure), ties1 = v128.and(i8x16.eq(b, tops), unsure);
  const ties2 = v128.and(i8x16.eq(c, tops), unsure), ties3 = v128.and(i8x16.eq(d, tops), unsure);
  let lost: u64 = 0;
  if (v128.any_true(v128.or(v128.or(ties0, ties1), v128.or(ties2, ties3)))) {
    const ties = <u64>i8x16.bitmask(ties0) | (<u64>i8x16.bitmask(ties1) << 16) |
      (<u64>i8x16.bitmask(ties2) << 32) | (<u64>i8x16.bitmask(ties3) << 48);
    lost = lostOf<T>(target, ties, low, entry, key0, key1, stream0, stream1);
  }
  take16<T>(target, v128.andnot(i8x16.ge_u(a, tops), none), scales);
  take16<T>(target + 16 * sizeof<T>(), v128.andnot(i8x16.ge_u(b, tops), none), scales);
  take16<T>(target + 32 * sizeof<T>(), v128.andnot(i8x16.ge_u(c, tops), none), scales);
  take16<T>(target + 48 * sizeof<T>(), v128.andnot(i8x16.ge_u(d, tops), none), scales);
  for (; lost != 0; lost &= lost - 1) store<T>(target + <usize>ctz(lost) * sizeof<T>(), 0);
}

/** Of the entries whose byte is the threshold's, a bit each: those that are dropped nevertheless. */
function lostOf<T>(
  target: usize, ties: u64, low: u32, entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): u64 {
  let lost: u64 = 0;
  for (; ties != 0; ties &= ties - 1) {
    const index = ctz(ties);
    if (isFloat<T>() && !(abs<f32>(load<f32>(target + (<usize>index << 2))) < Infinity)) continue;
    if (lowBits(entry + index, key0, key1, stream0, stream1) < low) lost |= (<u64>1) << index;
  }
  return lost;
}

// @ts-ignore: decorator
@inline function take16<T>(target: usize, kept: v128, scales: v128): void {
  if (isInteger<T>()) {
    v128.store(target, kept);
    return;
  }
  const first = v128.shuffle<i8>(kept, kept, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const last = v128.shuffle<i8>(kept, kept, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
  drop4(target, v128.shuffle<i16>(first, first, 0, 0, 1, 1, 2, 2, 3, 3), scales);
  drop4(target + 16, v128.shuffle<i16>(first, first, 4, 4, 5, 5, 6, 6, 7, 7), scales);
  drop4(target + 32, v128.shuffle<i16>(last, last, 0, 0, 1, 1, 2, 2, 3, 3), scales);
  drop4(target + 48, v128.shuffle<i16>(last, last, 4, 4, 5, 5, 6, 6, 7, 7), scales);
}

// @ts-ignore: decorator
@inline function drop4(changes: usize, kept: v128, scales: v128): void {
  const v = v128.load(changes);
  const finite = f32x4.lt(f32x4.abs(v), f32x4.splat(Infinity));
  v128.store(changes, v128.bitselect(v128.and(f32x4.mul(v, scales), kept), v, finite));
}

/** A few entries of one block. */
function drawPart<T>(
  target: usize, entry: u64, end: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32, scale: f32,
): void {
  const block = entry >> 4;
  const c1 = <u32>(block >> 32) | CHANCE_BLOCKS;
  const first = halfBlock(<u32>block, c1, stream0, stream1, key0, key1, false);
  const last = halfBlock(<u32>block, c1, stream0, stream1, key0, key1, true);
  for (; entry < end; entry++, target += sizeof<T>()) {
    const byte = <u32>((entry & 8 ? last : first) >> ((entry & 7) << 3)) & 255;
    if (isInteger<T>() && !isSigned<T>()) {
      store<u8>(target, byte);
      continue;
    }
    const value = isFloat<T>() ? load<f32>(target) : 0;
    if (isFloat<T>() && !(abs<f32>(value) < Infinity)) continue;
    const kept = !all && isAtLeast(byte, threshold, entry, key0, key1, stream0, stream1);
    if (isFloat<T>()) store<f32>(target, kept ? value * scale : 0);
    else store<i8>(target, kept ? -1 : 0);
  }
}
