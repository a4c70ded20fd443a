const MULTIPLIER_0: u32 = 0xd2511f53;
const MULTIPLIER_1: u32 = 0xcd9e8d57;
const WEYL_0: u32 = 0x9e3779b9;
const WEYL_1: u32 = 0xbb67ae85;
const ROUNDS = 10;
/** Read from memory in the loop: see lanes.as.ts. */
const CONSTANTS: usize = memory.data<u32>([MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1]);

/**
 * Twin of `dropChanges` in numbers/random.ts. An entry stays if its word is at least `threshold`, and none stays if `all`
 * is 1. Any count, any first entry.
 */
export function drop(
  changes: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32, scale: f32,
): void {
  philox<f32>(changes, count, firstEntry, key0, key1, stream0, stream1, threshold, all, scale);
}

/** Twin of `randomWords`: the words themselves, as u32. */
export function words(
  target: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  philox<u32>(target, count, firstEntry, key0, key1, stream0, stream1, 0, 0, 0);
}

/**
 * T is what lies at `changes`: f32 changes, or u32 words to be. Two sets of four blocks of Philox4x32-10 make the words
 * of 32 entries; one set alone waits for its own multiplications (a fifth slower).
 */
// @ts-ignore: decorator
@inline function philox<T>(
  changes: usize, count: i32, firstEntry: f64, key0: u32, key1: u32, stream0: u32, stream1: u32,
  threshold: u32, all: i32, scale: f32,
): void {
  let entry = <u64>firstEntry;
  const end = entry + <u64>count;
  for (; entry < end && (entry & 3) != 0; entry++) {
    drop1<T>(changes, entry, key0, key1, stream0, stream1, threshold, all, scale);
    changes += 4;
  }
  const limits = i32x4.splat(threshold);
  const scales = f32x4.splat(scale);
  const none = i32x4.splat(all ? -1 : 0);
  const multiplier0 = v128.load32_splat(CONSTANTS);
  const weyl0 = v128.load32_splat(CONSTANTS, 8), weyl1 = v128.load32_splat(CONSTANTS, 12);
  const multiplier1 = v128.load32_splat(CONSTANTS, 4);
  for (; entry + 32 <= end; entry += 32) {
    // lane k of c0 ... c3: the four words of counter entry / 4 + k; lane k of d0 ... d3: those of the fourth after it
    const block = i64x2.splat(entry >> 2);
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
    drop16<T>(changes, c0, c1, c2, c3, limits, none, scales);
    drop16<T>(changes + 64, d0, d1, d2, d3, limits, none, scales);
    changes += 128;
  }
  for (; entry < end; entry++) {
    drop1<T>(changes, entry, key0, key1, stream0, stream1, threshold, all, scale);
    changes += 4;
  }
}

/** From words by counter to the order of the entries, a 4 x 4 transpose. */
// @ts-ignore: decorator
@inline function drop16<T>(
  changes: usize, c0: v128, c1: v128, c2: v128, c3: v128, limits: v128, none: v128, scales: v128,
): void {
  const p = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
  const q = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const r = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
  const s = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  drop4<T>(changes, v128.shuffle<i64>(p, q, 0, 2), limits, none, scales);
  drop4<T>(changes + 16, v128.shuffle<i64>(p, q, 1, 3), limits, none, scales);
  drop4<T>(changes + 32, v128.shuffle<i64>(r, s, 0, 2), limits, none, scales);
  drop4<T>(changes + 48, v128.shuffle<i64>(r, s, 1, 3), limits, none, scales);
}

// @ts-ignore: decorator
@inline function drop4<T>(changes: usize, words: v128, limits: v128, none: v128, scales: v128): void {
  if (isInteger<T>()) {
    v128.store(changes, words);
    return;
  }
  const v = v128.load(changes);
  const kept = v128.andnot(i32x4.ge_u(words, limits), none);
  const finite = f32x4.lt(f32x4.abs(v), f32x4.splat(Infinity));
  v128.store(changes, v128.bitselect(v128.and(f32x4.mul(v, scales), kept), v, finite));
}

function drop1<T>(
  change: usize, entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32, threshold: u32, all: i32, scale: f32,
): void {
  const value = load<f32>(change);
  if (isFloat<T>() && !(abs<f32>(value) < Infinity)) return;
  let c0 = <u32>(entry >> 2), c1 = <u32>(entry >> 34), c2 = stream0, c3 = stream1;
  for (let round = 0; round < ROUNDS; round++) {
    const product0 = <u64>c0 * <u64>MULTIPLIER_0;
    const product1 = <u64>c2 * <u64>MULTIPLIER_1;
    c0 = <u32>(product1 >> 32) ^ c1 ^ key0;
    c2 = <u32>(product0 >> 32) ^ c3 ^ key1;
    c1 = <u32>product1;
    c3 = <u32>product0;
    key0 += WEYL_0;
    key1 += WEYL_1;
  }
  const lane = <u32>entry & 3;
  const word = lane < 2 ? (lane == 0 ? c0 : c1) : lane == 2 ? c2 : c3;
  if (isInteger<T>()) store<u32>(change, word);
  else store<f32>(change, !all && word >= threshold ? value * scale : 0);
}
