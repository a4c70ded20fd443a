/**
 * Random numbers that are a function of (seed, model, tensor, entry), so that tiles, threads and restarts cannot change
 * them. Generator: Philox4x32-10, from J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC 2011.
 *
 * Entry e (0-based, in row-major order) of a tensor owns word e mod 4 of the block whose key is the seed and whose
 * counter is (⌊e / 4⌋, stream): two 64-bit numbers, low half first. The stream is XXH64 of the model's name, U+0000 and
 * the tensor's name, in UTF-8.
 *
 * What is drawn for every entry of a model, whether it is dropped, is drawn from the entry's chance word, 32 random bits
 * too, of which the upper eight nearly always decide:
 *
 *     upper 8 bits    byte e mod 16, counted from the lowest byte of the first word, of the block (2^63 + ⌊e / 16⌋, stream)
 *     lower 24 bits   the upper 24 of the entry's own word
 *
 * So a block decides about sixteen entries, and only one entry of 256, whose byte is that of the threshold, needs another.
 * No block serves for both: e is below 2^53.
 *
 * These functions are the definition; `kernels/random` holds the twins of `dropChanges`, `chanceBytes` and `chanceKept`.
 */

import { xxh64 } from "./checksum.js";
import { multiplyHigh } from "./multiply.js";

/** Four 32-bit words. */
export type Words = readonly [number, number, number, number];

/** What is the same for all entries of a tensor: the key, and the upper half of the counter; u32 each. */
export interface StreamKey {
  readonly key0: number;
  readonly key1: number;
  readonly stream0: number;
  readonly stream1: number;
}

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
/** The golden ratio and √3 − 1, as fractions of 2^32. */
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;
/** The highest bit of a block's number, in its upper word. */
const CHANCE_BLOCKS = 2 ** 31;
/** How many words begin with the same eight bits. */
const LOW_WORDS = 2 ** 24;

/** @throws RangeError unless the seed is a whole number between −2^53 and 2^53, both excluded. */
export function streamKey(seed: number, model: string, tensor: string): StreamKey {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`a seed is a whole number below 2^53, not ${seed}`);
  const stream = xxh64(new TextEncoder().encode(`${model}\u0000${tensor}`));
  return {
    key0: seed >>> 0,
    key1: Math.floor(seed / 2 ** 32) >>> 0,
    stream0: Number.parseInt(stream.slice(8), 16),
    stream1: Number.parseInt(stream.slice(0, 8), 16),
  };
}

/** The 32 random bits of an entry, as an unsigned number. */
export function randomWord(key: StreamKey, entry: number): number {
  const block = new Uint32Array(4);
  entryBlock(key, Math.floor(entry / 4), block);
  return block[entry % 4]!;
}

/**
 * A chance word below this drops its entry: drop × 2^32 rounded to the nearest whole number, halves up. So 0 drops nothing
 * (no word is below 0), 1 drops everything (every word is below 2^32).
 */
export function dropThreshold(drop: number): number {
  return Math.round(drop * 2 ** 32);
}

/** The random words of `out.length` entries from `firstEntry` on. */
export function randomWords(key: StreamKey, firstEntry: number, out: Uint32Array): void {
  const block = new Uint32Array(4);
  for (let i = 0; i < out.length; i++) {
    const entry = firstEntry + i;
    if (i === 0 || entry % 4 === 0) entryBlock(key, Math.floor(entry / 4), block);
    out[i] = block[entry % 4]!;
  }
}

/** The 32 random bits that decide whether an entry is dropped, as an unsigned number. */
export function chanceWord(key: StreamKey, entry: number): number {
  const byte = new Uint8Array(1);
  chanceBytes(key, entry, byte);
  return byte[0]! * LOW_WORDS + lowBits(key, entry);
}

/** The chance words of `out.length` entries from `firstEntry` on. */
export function chanceWords(key: StreamKey, firstEntry: number, out: Uint32Array): void {
  const bytes = new Uint8Array(out.length);
  const low = new Uint32Array(out.length);
  chanceBytes(key, firstEntry, bytes);
  randomWords(key, firstEntry, low);
  for (let i = 0; i < out.length; i++) out[i] = bytes[i]! * LOW_WORDS + (low[i]! >>> 8);
}

/** The upper eight bits of the chance words of `out.length` entries from `firstEntry` on. */
export function chanceBytes(key: StreamKey, firstEntry: number, out: Uint8Array): void {
  const block = new Uint32Array(4);
  for (let i = 0; i < out.length; i++) {
    const entry = firstEntry + i;
    if (i === 0 || entry % 16 === 0) chanceBlock(key, Math.floor(entry / 16), block);
    out[i] = block[(entry % 16) >> 2]! >>> (8 * (entry % 4));
  }
}

/** Whether an entry's chance word, of which `byte` is the upper eight bits, is below a threshold between 0 and 2^32. */
export function isBelow(byte: number, threshold: number, key: StreamKey, entry: number): boolean {
  const top = Math.floor(threshold / LOW_WORDS);
  return byte === top ? lowBits(key, entry) < threshold % LOW_WORDS : byte < top;
}

/** Of `out.length` entries from `firstEntry` on: 255 for those whose chance word is at least `threshold`, else 0. */
export function chanceKept(key: StreamKey, firstEntry: number, threshold: number, out: Uint8Array): void {
  chanceBytes(key, firstEntry, out);
  for (let i = 0; i < out.length; i++) out[i] = isBelow(out[i]!, threshold, key, firstEntry + i) ? 0 : 255;
}

/**
 * DARE's first step on a run of a tensor's changes, in place: an entry is dropped, that is becomes +0, if its chance
 * word is below `dropThreshold(drop)`; the others are multiplied by `scale`, an f32, and rounded. NaN and infinite entries
 * are neither dropped nor scaled, so that no mask hides a damaged input.
 *
 * @param firstEntry index in the tensor of `changes[0]`.
 */
export function dropChanges(
  changes: Float32Array,
  firstEntry: number,
  key: StreamKey,
  drop: number,
  scale: number,
): void {
  const kept = new Uint8Array(changes.length);
  chanceKept(key, firstEntry, dropThreshold(drop), kept);
  for (let i = 0; i < changes.length; i++) {
    const value = changes[i]!;
    if (Number.isFinite(value)) changes[i] = kept[i] === 0 ? 0 : value * scale;
  }
}

/** The lower 24 bits of an entry's chance word. */
function lowBits(key: StreamKey, entry: number): number {
  return randomWord(key, entry) >>> 8;
}

function entryBlock({ key0, key1, stream0, stream1 }: StreamKey, block: number, out: Uint32Array): void {
  philox4x32([block >>> 0, Math.floor(block / 2 ** 32), stream0, stream1], key0, key1, out);
}

function chanceBlock(key: StreamKey, block: number, out: Uint32Array): void {
  const { key0, key1, stream0, stream1 } = key;
  philox4x32([block >>> 0, CHANCE_BLOCKS + Math.floor(block / 2 ** 32), stream0, stream1], key0, key1, out);
}

/** One block of Philox4x32-10, written to the four words of `out`. */
export function philox4x32(counter: Words, key0: number, key1: number, out: Uint32Array): void {
  let [c0, c1, c2, c3] = counter;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(c0, MULTIPLIER_0 >>> 16, MULTIPLIER_0 & 0xffff);
    const high1 = multiplyHigh(c2, MULTIPLIER_1 >>> 16, MULTIPLIER_1 & 0xffff);
    const low0 = Math.imul(c0, MULTIPLIER_0);
    const low1 = Math.imul(c2, MULTIPLIER_1);
    c0 = high1 ^ c1 ^ (key0 + Math.imul(round, WEYL_0));
    c2 = high0 ^ c3 ^ (key1 + Math.imul(round, WEYL_1));
    c1 = low1;
    c3 = low0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}
