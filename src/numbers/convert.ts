/**
 * Conversions between the float formats of safetensors and f32, the format all arithmetic is done in.
 *
 * Widening to f32 is exact for every format but F64, which is rounded to nearest even (the caller says so in its
 * report). Narrowing rounds to nearest even, once. Subnormals, signed zeros and infinities are kept; a value beyond the
 * largest finite one becomes infinite. F8_E4M3 is the "fn" variant, which has no infinity: as in PyTorch's
 * `.to(torch.float8_e4m3fn)`, what does not round to at most 448 (values above 464) becomes NaN.
 *
 * Every NaN is written as one pattern, positive and quiet, so that no output byte depends on a payload; the payload of a
 * NaN between widening and narrowing means nothing.
 *
 * These functions are the definition; `kernels/convert` holds their SIMD twins.
 */

import type { FloatDtype } from "./dtypes.js";
import { DTYPE_BYTES } from "./dtypes.js";

/** Formats narrower than f32. */
export type SmallDtype = "BF16" | "F16" | "F8_E4M3" | "F8_E5M2";

interface SmallFormat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /** Magnitude bits of what stands for "too large": infinity, or NaN where the format has none. */
  readonly overflow: number;
  /** The one NaN that is written. Magnitudes above `overflow` (and equal to it, where that is a NaN) are NaN. */
  readonly nan: number;
}

const FORMATS: Readonly<Record<SmallDtype, SmallFormat>> = {
  BF16: { exponentBits: 8, mantissaBits: 7, overflow: 0x7f80, nan: 0x7fc0 },
  F16: { exponentBits: 5, mantissaBits: 10, overflow: 0x7c00, nan: 0x7e00 },
  F8_E4M3: { exponentBits: 4, mantissaBits: 3, overflow: 0x7f, nan: 0x7f },
  F8_E5M2: { exponentBits: 5, mantissaBits: 2, overflow: 0x7c, nan: 0x7f },
};

const F32_INFINITY = 0x7f800000;
const F32_NAN = 0x7fc00000;
const MAGNITUDE = 0x7fffffff;

/** The value of an entry with these bits; always one that f32 has. */
export function widenEntry(dtype: SmallDtype, bits: number): number {
  const { exponentBits, mantissaBits, overflow, nan } = FORMATS[dtype];
  const signBit = 1 << (exponentBits + mantissaBits);
  const sign = (bits & signBit) === 0 ? 1 : -1;
  const magnitude = bits & (signBit - 1);
  if (magnitude >= overflow) return magnitude === overflow && overflow !== nan ? sign * Infinity : NaN;
  const exponent = magnitude >>> mantissaBits;
  const mantissa = magnitude & ((1 << mantissaBits) - 1);
  const significand = exponent === 0 ? mantissa : mantissa + (1 << mantissaBits);
  const bias = (1 << (exponentBits - 1)) - 1;
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias - mantissaBits);
}

const scratch = new DataView(new ArrayBuffer(4));

/** The bits of the entry nearest to an f32 value, ties to even. A value that f32 does not have is rounded to f32 first. */
export function narrowEntry(dtype: SmallDtype, value: number): number {
  scratch.setFloat32(0, value);
  return narrowBits(FORMATS[dtype], scratch.getUint32(0));
}

/** @param from the bits of an f32, unsigned. */
function narrowBits({ exponentBits, mantissaBits, overflow, nan }: SmallFormat, from: number): number {
  const magnitude = from & MAGNITUDE;
  if (magnitude > F32_INFINITY) return nan;
  const bias = (1 << (exponentBits - 1)) - 1;
  // f32's exponent field is 127 - bias higher than the target's for the same power of two
  const rebias = (127 - bias) << 23;
  const shift = 23 - mantissaBits;
  let rounded: number;
  if (magnitude >= rebias + 0x800000) {
    rounded = roundedShift(magnitude - rebias, shift);
  } else {
    // a subnormal of the target: a multiple of its smallest one, with the leading 1 written out
    const exponent = magnitude >>> 23;
    const significand = exponent === 0 ? magnitude : (magnitude & 0x7fffff) | 0x800000;
    rounded = roundedShift(significand, shift + 1 + (rebias >>> 23) - Math.max(exponent, 1));
  }
  if (rounded >= overflow) {
    if (overflow === nan) return nan;
    rounded = overflow;
  }
  return from > MAGNITUDE ? rounded | (1 << (exponentBits + mantissaBits)) : rounded;
}

/** `bits` / 2^shift rounded to the nearest integer, ties to even. `bits` < 2^31, `shift` ≥ 1. */
function roundedShift(bits: number, shift: number): number {
  if (shift > 31) return 0;
  return (bits + (1 << (shift - 1)) - 1 + ((bits >>> shift) & 1)) >>> shift;
}

/**
 * Fills `out` from `bytes`, little-endian, at any alignment.
 *
 * @throws RangeError unless `bytes` holds exactly `out.length` entries.
 */
export function widen(dtype: FloatDtype, bytes: Uint8Array, out: Float32Array): void {
  checkLengths(dtype, bytes, out);
  const count = out.length;
  const bits = bitsOf(out);
  switch (dtype) {
    case "BF16":
      for (let i = 0; i < count; i++) bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
      return;
    case "F16": {
      const values = valuesOf(dtype);
      for (let i = 0; i < count; i++) out[i] = values[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!;
      return;
    }
    case "F8_E4M3":
    case "F8_E5M2": {
      const values = valuesOf(dtype);
      for (let i = 0; i < count; i++) out[i] = values[bytes[i]!]!;
      return;
    }
    case "F32": {
      const view = viewOf(bytes);
      for (let i = 0; i < count; i++) bits[i] = view.getUint32(4 * i, true);
      return;
    }
    case "F64": {
      const view = viewOf(bytes);
      for (let i = 0; i < count; i++) out[i] = view.getFloat64(8 * i, true);
    }
  }
}

/**
 * Writes `values` to `out`, little-endian, at any alignment. Exact for F32 and F64.
 *
 * @returns how many entries were written as NaN or infinite, whether they were so before or became so by rounding.
 * @throws RangeError unless `out` has room for exactly `values.length` entries.
 */
export function narrow(dtype: FloatDtype, values: Float32Array, out: Uint8Array): number {
  checkLengths(dtype, out, values);
  const bits = bitsOf(values);
  const view = viewOf(out);
  let nonFinite = 0;
  if (dtype === "F32" || dtype === "F64") {
    for (let i = 0; i < bits.length; i++) {
      const magnitude = bits[i]! & MAGNITUDE;
      const isNaN = magnitude > F32_INFINITY;
      if (magnitude >= F32_INFINITY) nonFinite++;
      if (dtype === "F32") view.setUint32(4 * i, isNaN ? F32_NAN : bits[i]!, true);
      else if (isNaN) view.setBigUint64(8 * i, 0x7ff8000000000000n, true);
      else view.setFloat64(8 * i, values[i]!, true);
    }
    return nonFinite;
  }
  const format = FORMATS[dtype];
  const wide = DTYPE_BYTES[dtype] === 2;
  const magnitudeBits = wide ? 0x7fff : 0x7f;
  for (let i = 0; i < bits.length; i++) {
    const narrowed = narrowBits(format, bits[i]!);
    if ((narrowed & magnitudeBits) >= format.overflow) nonFinite++;
    if (wide) view.setUint16(2 * i, narrowed, true);
    else out[i] = narrowed;
  }
  return nonFinite;
}

/** The task vector's entries: model − base, rounded to f32. `out` may be either input. */
export function change(model: Float32Array, base: Float32Array, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) out[i] = model[i]! - base[i]!;
}

const tables = new Map<SmallDtype, Float32Array>();

/** The value of every bit pattern, made on first use. */
function valuesOf(dtype: SmallDtype): Float32Array {
  let table = tables.get(dtype);
  if (table === undefined) {
    table = Float32Array.from({ length: 256 ** DTYPE_BYTES[dtype] }, (_, bits) => widenEntry(dtype, bits));
    tables.set(dtype, table);
  }
  return table;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function checkLengths(dtype: FloatDtype, bytes: Uint8Array, values: Float32Array): void {
  if (bytes.length !== values.length * DTYPE_BYTES[dtype]) {
    throw new RangeError(`${bytes.length} bytes are not ${values.length} entries of ${dtype}`);
  }
}

/** The smallest f32 above an f32 ≥ 0; infinity, above which nothing is, for infinity. */
export function nextAbove(value: number): number {
  if (value === Number.POSITIVE_INFINITY) return value;
  const bits = new Int32Array(new Float32Array([value]).buffer);
  bits[0] = bits[0]! + 1;
  return new Float32Array(bits.buffer)[0]!;
}
