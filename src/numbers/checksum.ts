/**
 * XXH64, the checksum of headers, blocks and tensors. It finds damage and changes; it is no protection against an
 * adversary. Specification: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, section XXH64.
 *
 * These functions are the definition; `kernels/checksum` holds the twin of `xxh64`.
 */

import { multiplyHigh } from "./multiply.js";

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

/** Bytes taken in one step: 8 for each of four accumulators. */
const STRIPE = 32;
/** By how much each accumulator is turned before they are added. */
const ROTATIONS = [1n, 7n, 12n, 18n];

/** Entries of a tensor that are hashed together; any thread may hash any block. */
export const CHECKSUM_BLOCK_ENTRIES = 262_144;

/**
 * XXH64 of `bytes` as 16 lowercase hexadecimal digits, most significant first.
 *
 * @param seed a whole number, 0 … 2^53 − 1.
 */
export function xxh64(bytes: Uint8Array, seed = 0): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = BigInt(seed);
  const striped = bytes.length - (bytes.length % STRIPE);
  let hash: bigint;
  if (striped === 0) {
    hash = start + P5;
  } else {
    const accumulators = [start + P1 + P2, start + P2, start, start - P1].map((from, lane) =>
      accumulate(u64(from), view, 8 * lane, striped),
    );
    hash = u64(accumulators.reduce((sum, accumulator, lane) => sum + rotated(accumulator, ROTATIONS[lane]!), 0n));
    for (const accumulator of accumulators) hash = u64((hash ^ round(0n, accumulator)) * P1 + P4);
  }
  hash = u64(hash + BigInt(bytes.length));
  let at = striped;
  for (; at + 8 <= bytes.length; at += 8) {
    hash = u64(rotated(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
  }
  if (at + 4 <= bytes.length) {
    hash = u64(rotated(hash ^ u64(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
    at += 4;
  }
  for (; at < bytes.length; at++) hash = u64(rotated(hash ^ u64(BigInt(bytes[at]!) * P5), 11n) * P1);
  hash = u64((hash ^ (hash >> 33n)) * P2);
  hash = u64((hash ^ (hash >> 29n)) * P3);
  return digestText(hash ^ (hash >> 32n));
}

/**
 * The checksum of a tensor from those of its consecutive blocks of `CHECKSUM_BLOCK_ENTRIES` entries (the last one may
 * be shorter; a tensor without entries has no block): XXH64 over the 8-byte little-endian block checksums.
 *
 * @param digests 16 hexadecimal digits each, or 64-bit integers, whose sign does not matter (a kernel's result is an i64).
 */
export function blockTreeChecksum(digests: readonly string[] | readonly bigint[]): string {
  const view = new DataView(new ArrayBuffer(8 * digests.length));
  digests.forEach((digest: string | bigint, block: number) => {
    view.setBigUint64(8 * block, typeof digest === "string" ? BigInt(`0x${digest}`) : digest, true);
  });
  return xxh64(new Uint8Array(view.buffer));
}

/** A 64-bit checksum, of either sign, as `xxh64` writes it. */
export function digestText(digest: bigint): string {
  return u64(digest).toString(16).padStart(16, "0");
}

function u64(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

function rotated(value: bigint, by: bigint): bigint {
  return u64(value << by) | (value >> (64n - by));
}

function round(accumulator: bigint, input: bigint): bigint {
  return u64(rotated(u64(accumulator + input * P2), 31n) * P1);
}

/**
 * `round` over the 8-byte words at `first`, `first` + 32, … below `end`. The four accumulators never meet before the
 * end of the input, so each runs through it alone. In 32-bit halves, because BigInt reaches only some 10 MB/s.
 */
function accumulate(from: bigint, view: DataView, first: number, end: number): bigint {
  let low = Number(from & 0xffffffffn) | 0;
  let high = Number(from >> 32n) | 0;
  for (let at = first; at < end; at += STRIPE) {
    // accumulator += word * P2
    let a = view.getInt32(at, true);
    let b = view.getInt32(at + 4, true);
    let productLow = Math.imul(a, 0x27d4eb4f);
    let productHigh = (multiplyHigh(a, 0x27d4, 0xeb4f) + Math.imul(a, 0xc2b2ae3d) + Math.imul(b, 0x27d4eb4f)) | 0;
    const sum = (low + productLow) | 0;
    high = (high + productHigh + (sum >>> 0 < low >>> 0 ? 1 : 0)) | 0;
    // rotate left by 31
    a = (high >>> 1) | (sum << 31);
    b = (sum >>> 1) | (high << 31);
    // accumulator *= P1
    productLow = Math.imul(a, 0x85ebca87);
    productHigh = (multiplyHigh(a, 0x85eb, 0xca87) + Math.imul(a, 0x9e3779b1) + Math.imul(b, 0x85ebca87)) | 0;
    low = productLow;
    high = productHigh;
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
