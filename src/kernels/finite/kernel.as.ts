/** Twin of `countNonFinite` in definition.ts for 16-bit formats: entries whose exponent bits are all ones. Any count. */
// @ts-ignore: decorator
@inline function count16(address: usize, count: i32, exponent: i16): i32 {
  const ones = i16x8.splat(exponent);
  let total = 0;
  let i = 0;
  while (i + 8 <= count) {
    // lanes hold at most 2^15 - 1
    const end = min(i + 8 * 0x7fff, count - 7);
    let lanes = i16x8.splat(0);
    for (; i < end; i += 8) {
      lanes = i16x8.sub(lanes, i16x8.eq(v128.and(v128.load(address), ones), ones));
      address += 16;
    }
    const pairs = i32x4.extadd_pairwise_i16x8_s(lanes);
    total += i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1);
    total += i32x4.extract_lane(pairs, 2) + i32x4.extract_lane(pairs, 3);
  }
  for (; i < count; i++) {
    total += i32((load<u16>(address) & <u16>exponent) == <u16>exponent);
    address += 2;
  }
  return total;
}

export function non_finite_BF16(address: usize, count: i32): i32 { return count16(address, count, 0x7f80); }
export function non_finite_F16(address: usize, count: i32): i32 { return count16(address, count, 0x7c00); }

export function non_finite_F32(address: usize, count: i32): i32 {
  const ones = i32x4.splat(0x7f800000);
  let lanes = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    lanes = i32x4.sub(lanes, i32x4.eq(v128.and(v128.load(address), ones), ones));
    address += 16;
  }
  let total = i32x4.extract_lane(lanes, 0) + i32x4.extract_lane(lanes, 1);
  total += i32x4.extract_lane(lanes, 2) + i32x4.extract_lane(lanes, 3);
  for (; i < count; i++) {
    total += i32((load<u32>(address) & 0x7f800000) == 0x7f800000);
    address += 4;
  }
  return total;
}
