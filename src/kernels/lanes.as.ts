/**
 * Eight entries at a time between a number format and f32.
 *
 * Type parameters stand for formats: u16 = BF16, i16 = F16, f32 = F32. T is the format read, O the format written.
 * A vector of eight BF16 entries holds two per 32-bit lane; when BF16 is both read and written the entries stay in
 * that even / odd order, which needs no shuffle. In every other pairing `first` is entries 0-3 and `second` 4-7.
 */

// @ts-ignore: decorator
@inline export function isBf16<T>(): bool {
  return isInteger<T>() && !isSigned<T>();
}
// @ts-ignore: decorator
@inline export function isF16<T>(): bool {
  return isInteger<T>() && isSigned<T>();
}

/** The first 16 bytes of eight entries: all of them, or the first four of F32. */
// @ts-ignore: decorator
@inline export function load8<T>(p: usize): v128 {
  return v128.load(p);
}

// Exact: (bits << 13) read as f32 has the right mantissa and an exponent 112 too small, subnormals included.
// @ts-ignore: decorator
@inline export function f16ToF32(h: v128): v128 {
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  const scaled = f32x4.mul(i32x4.shl(magnitude, 13), f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = v128.and(f32x4.ge(scaled, f32x4.splat(65536.0)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(scaled, special), i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
}

// @ts-ignore: decorator
@inline export function first<T, O>(v: v128): v128 {
  if (isBf16<T>()) {
    if (isBf16<O>()) return i32x4.shl(v, 16);
    return i32x4.shl(i32x4.extend_low_i16x8_u(v), 16);
  }
  if (isF16<T>()) return f16ToF32(i32x4.extend_low_i16x8_u(v));
  return v;
}

// @ts-ignore: decorator
@inline export function second<T, O>(v: v128, p: usize): v128 {
  if (isBf16<T>()) {
    if (isBf16<O>()) return v128.and(v, i32x4.splat(0xffff0000));
    return i32x4.shl(i32x4.extend_high_i16x8_u(v), 16);
  }
  if (isF16<T>()) return f16ToF32(i32x4.extend_high_i16x8_u(v));
  return v128.load(p, 16);
}

/**
 * Constants that loops need often, read from memory: one in the code is made anew, by way of a number register, wherever
 * it is used.
 */
const CONSTANTS: usize = memory.data<u32>([0x7fffffff, 0xffff0000]);
// @ts-ignore: decorator
@inline export function magnitudeBits(): v128 {
  return v128.load32_splat(CONSTANTS);
}
// @ts-ignore: decorator
@inline export function upperBits(): v128 {
  return v128.load32_splat(CONSTANTS, 4);
}

/** As `second`, given `upperBits`. */
// @ts-ignore: decorator
@inline export function secondBy<T, O>(v: v128, p: usize, upper: v128): v128 {
  return isBf16<T>() && isBf16<O>() ? v128.and(v, upper) : second<T, O>(v, p);
}

const MASK_BITS: usize = memory.data<u32>([1, 4, 16, 64, 2, 8, 32, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
/** Of a byte with a bit per entry, the bits of the entries that `first` gives where a format is read and written alike. */
// @ts-ignore: decorator
@inline export function firstBits<T>(): v128 {
  return v128.load(isBf16<T>() ? MASK_BITS : MASK_BITS + 32);
}
/** Those of `second`. */
// @ts-ignore: decorator
@inline export function secondBits<T>(): v128 {
  return v128.load(isBf16<T>() ? MASK_BITS + 16 : MASK_BITS + 48);
}

/** Magnitudes at and above this become infinite (or are not a number) in format O. */
// @ts-ignore: decorator
@inline export function overflow<O>(): v128 {
  if (isBf16<O>()) return f32x4.splat(reinterpret<f32>(0x7f7f8000));
  if (isF16<O>()) return f32x4.splat(65520.0);
  return f32x4.splat(Infinity);
}

/** Nearest even, for finite results only: the upper half of each lane is the BF16 entry. */
// @ts-ignore: decorator
@inline function roundBf16(v: v128): v128 {
  const odd = v128.and(i32x4.shr_u(v, 16), i32x4.splat(1));
  return i32x4.add(v, i32x4.add(odd, i32x4.splat(0x7fff)));
}

/**
 * Nearest even, for |v| < 65520 only: the F16 entry in the lower half of each lane. Adding a power of two 13 places
 * above the entry's own (or above F16's smallest normal) lets the f32 adder round at F16's last bit.
 */
// @ts-ignore: decorator
@inline function roundF16(v: v128): v128 {
  const magnitude = v128.and(v, i32x4.splat(0x7fffffff));
  const power = i32x4.max_s(v128.and(v, i32x4.splat(0x7f800000)), i32x4.splat(0x38800000));
  const anchor = i32x4.add(power, i32x4.splat(13 << 23));
  const steps = i32x4.sub(f32x4.add(magnitude, anchor), anchor);
  const bits = i32x4.add(steps, i32x4.sub(i32x4.shr_u(power, 13), i32x4.splat(113 << 10)));
  return v128.or(bits, i32x4.shr_u(v128.xor(v, magnitude), 16));
}

/** Writes eight finite results in format O; `a` and `b` in the order that `first` and `second` of T gave. */
// @ts-ignore: decorator
@inline export function store8<T, O>(p: usize, a: v128, b: v128): void {
  if (isBf16<O>()) {
    if (isBf16<T>()) {
      const high = v128.and(roundBf16(b), i32x4.splat(0xffff0000));
      v128.store(p, v128.or(i32x4.shr_u(roundBf16(a), 16), high));
    } else {
      v128.store(p, i16x8.narrow_i32x4_u(i32x4.shr_u(roundBf16(a), 16), i32x4.shr_u(roundBf16(b), 16)));
    }
  } else if (isF16<O>()) {
    v128.store(p, i16x8.narrow_i32x4_u(roundF16(a), roundF16(b)));
  } else {
    v128.store(p, a);
    v128.store(p, b, 16);
  }
}

/** One entry, for the rest of a tile that is no multiple of eight: widened into lane 0. */
// @ts-ignore: decorator
@inline export function widen1<T>(p: usize): f32 {
  if (isBf16<T>()) return reinterpret<f32>(<u32>load<u16>(p) << 16);
  if (isF16<T>()) return f32x4.extract_lane(f16ToF32(i32x4.splat(<i32>load<u16>(p))), 0);
  return load<f32>(p);
}

/** Sum of four i32. */
// @ts-ignore: decorator
@inline export function sumLanes(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

/** Adds four i32 to an i64 in memory. */
// @ts-ignore: decorator
@inline export function addLanes(at: usize, v: v128): void {
  store<i64>(at, load<i64>(at) + <i64>sumLanes(v));
}
