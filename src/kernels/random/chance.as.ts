export const MULTIPLIER_0: u32 = 0xd2511f53;
export const MULTIPLIER_1: u32 = 0xcd9e8d57;
export const WEYL_0: u32 = 0x9e3779b9;
export const WEYL_1: u32 = 0xbb67ae85;
export const ROUNDS = 10;
/** Set in the upper word of the numbers of blocks that are cut into bytes. */
export const CHANCE_BLOCKS: u32 = 0x80000000;

/** The lower 24 bits of an entry's chance word: see numbers/random.ts. */
export function lowBits(entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32): u32 {
  const half = halfBlock(<u32>(entry >> 2), <u32>(entry >> 34), stream0, stream1, key0, key1, (entry & 2) != 0);
  return <u32>(half >> ((entry & 1) << 5)) >>> 8;
}

/** One block of Philox4x32-10: its first two words, or its last two. */
export function halfBlock(c0: u32, c1: u32, c2: u32, c3: u32, key0: u32, key1: u32, last: bool): u64 {
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
  return last ? <u64>c2 | (<u64>c3 << 32) : <u64>c0 | (<u64>c1 << 32);
}

/** The lower 24 bits of a threshold, by which entries are told apart whose byte is the threshold's. */
// @ts-ignore: decorator
@inline export function lowOf(threshold: u32): u32 {
  return threshold & 0xffffff;
}

/** Whether the chance word of an entry, of which `byte` is the upper eight bits, is at least a threshold. */
export function isAtLeast(
  byte: u32, threshold: u32, entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): bool {
  const top = threshold >>> 24;
  return byte == top ? lowBits(entry, key0, key1, stream0, stream1) >= lowOf(threshold) : byte > top;
}

/** Four random bytes as the largest words that begin with them. */
// @ts-ignore: decorator
@inline export function largestWords(bytes: usize): v128 {
  const ones = i32x4.splat(-1);
  const pairs = v128.shuffle<i8>(
    ones, v128.load32_zero(bytes), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
  );
  return v128.shuffle<i16>(ones, pairs, 0, 8, 1, 9, 2, 10, 3, 11);
}

/** Which of four words begin with the same eight bits as their thresholds. */
// @ts-ignore: decorator
@inline export function tiesOf(words: v128, thresholds: v128): v128 {
  return i32x4.eq(i32x4.shr_u(v128.xor(words, thresholds), 24), i32x4.splat(0));
}

/** Puts 0 in the place of those of four changes in `ties` whose chance words are below their thresholds. */
// @ts-ignore: decorator
@inline export function dropTied(
  changes: usize, ties: v128, thresholds: v128, entry: u64, key0: u32, key1: u32, stream0: u32, stream1: u32,
): void {
  const bits = i32x4.bitmask(ties);
  for (let index = 0; index < 4; index++) {
    if ((bits & (1 << index)) == 0) continue;
    const threshold = index < 2
      ? index == 0 ? i32x4.extract_lane(thresholds, 0) : i32x4.extract_lane(thresholds, 1)
      : index == 2 ? i32x4.extract_lane(thresholds, 2) : i32x4.extract_lane(thresholds, 3);
    if (lowBits(entry + index, key0, key1, stream0, stream1) >= lowOf(threshold)) continue;
    store<f32>(changes + (<usize>index << 2), 0);
  }
}
