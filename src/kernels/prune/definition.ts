/** What the kernels of this folder compute, as functions; NaN and infinite entries are never dropped nor scaled. */

import { isBelow } from "../../numbers/random.js";
import type { StreamKey } from "../../numbers/random.js";

const INFINITY_BITS = 0x7f80_0000;
const WORDS = 2 ** 32;
/** f64 numbers from here to twice it are whole: adding it rounds to nearest, ties to even. */
const WHOLE = 2 ** 52;

/** A run of ranks by magnitude: what is above `low` and not above `high`, as bit patterns. */
export interface Band {
  readonly low: number;
  readonly high: number;
}

/** Of the entries equal to `low` so many are yet to be kept, of those equal to `high` so many yet to be dropped. */
export interface BandLeft {
  low: number;
  high: number;
}

/** Keeps a band of changes, scaled, in place; counts down what is left of both ends, lowest index first. */
export function keepBand(changes: Float32Array, { low, high }: Band, scale: number, left: BandLeft): void {
  const bits = new Uint32Array(changes.buffer, changes.byteOffset, changes.length);
  for (let p = 0; p < changes.length; p++) {
    const magnitude = bits[p]! & 0x7fff_ffff;
    const reachesLow = magnitude > low || (magnitude === low && left.low > 0);
    const reachesHigh = magnitude > high || (magnitude === high && left.high > 0);
    if (magnitude === low && left.low > 0) left.low--;
    if (magnitude === high && left.high > 0) left.high--;
    if (magnitude < INFINITY_BITS) changes[p] = reachesLow && !reachesHigh ? changes[p]! * scale : 0;
  }
}

/** Per entry of a row its rank by ascending magnitude, from 0; equal magnitudes by index. */
export function rowRanks(changes: Float32Array): Uint32Array {
  const bits = Uint32Array.from(
    new Uint32Array(changes.buffer, changes.byteOffset, changes.length),
    (pattern) => pattern & 0x7fff_ffff,
  );
  const order = Array.from(bits.keys()).sort((a, b) => bits[a]! - bits[b]! || a - b);
  const ranks = new Uint32Array(changes.length);
  for (const [rank, entry] of order.entries()) ranks[entry] = rank;
  return ranks;
}

/**
 * Drops all but the `kept` largest entries of a row, in place; the others are multiplied by `scale`. Of equal magnitudes the
 * lower index counts as the larger. NaN and infinite entries are neither dropped nor scaled.
 * @param ranks as of `rowRanks`; not looked at where all or none are kept.
 */
export function keepLargest(changes: Float32Array, kept: number, scale: number, ranks: Uint32Array): void {
  const { length } = changes;
  let least = kept > 0 ? 0 : Infinity;
  let equal = length;
  if (kept > 0 && kept < length) {
    // Ranks count of equal magnitudes the higher index as the larger, so only the magnitude at the border is taken from them.
    least = Math.abs(changes[ranks.indexOf(length - kept)]!);
    equal = kept - changes.reduce((larger, change) => larger + (Math.abs(change) <= least ? 0 : 1), 0);
  }
  for (let p = 0; p < length; p++) {
    const change = changes[p]!;
    if (!Number.isFinite(change)) continue;
    const isKept = Math.abs(change) > least || (Math.abs(change) === least && equal-- > 0);
    changes[p] = isKept ? change * scale : 0;
  }
}

/** The line that probabilities of being dropped follow over the ranks of a row, in units of 2^-32. */
export interface RankLine {
  readonly first: number;
  readonly step: number;
}

/** @param lowest probability of keeping the smallest entry of `length`, @param highest of the largest. */
export function rankLine(lowest: number, highest: number, length: number): RankLine {
  if (length === 1) return { first: (1 - (lowest + highest) / 2) * WORDS, step: 0 };
  return { first: (1 - lowest) * WORDS, step: ((highest - lowest) * WORDS) / (length - 1) };
}

/** Of a run of entries the upper bytes of their chance words, and what the lower bits follow from. */
export interface Drawn {
  readonly bytes: Uint8Array;
  readonly key: StreamKey;
  /** Index in the tensor of the first. */
  readonly firstEntry: number;
}

/**
 * Drops a row's entries whose chance word is below their rank's place on the line, in place; the others are divided by
 * their probability where `inverse`, else multiplied by `scale`.
 */
export function dropRanked(
  changes: Float32Array,
  { bytes, key, firstEntry }: Drawn,
  ranks: Uint32Array,
  { first, step }: RankLine,
  inverse: boolean,
  scale: number,
): void {
  for (let p = 0; p < changes.length; p++) {
    const value = changes[p]!;
    if (!Number.isFinite(value)) continue;
    const dropped = first - step * ranks[p]!;
    const threshold = Math.min(dropped, WORDS - 1) + WHOLE - WHOLE;
    if (isBelow(bytes[p]!, threshold, key, firstEntry + p)) changes[p] = 0;
    else changes[p] = inverse ? value / Math.fround(1 - dropped / WORDS) : value * scale;
  }
}

/** Chance words below these drop the entries of these ranks: `dropped` of `dropRanked`, rounded. */
export function rankThresholds({ first, step }: RankLine, length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, rank) => {
    return Math.max(0, Math.min(first - step * rank, WORDS - 1) + WHOLE - WHOLE);
  });
}

/** What `dropRanked` would keep of rows of `row` entries: a byte in `chosen` for each, 255, or 0 for what it drops. */
export function keepRanked(
  changes: Float32Array,
  row: number,
  { bytes, key, firstEntry }: Drawn,
  line: RankLine,
  chosen: Uint8Array,
): void {
  const thresholds = rankThresholds(line, row);
  for (let start = 0; start < changes.length; start += row) {
    for (const [index, rank] of rowRanks(changes.subarray(start, start + row)).entries()) {
      const p = start + index;
      chosen[p] = isBelow(bytes[p]!, thresholds[rank]!, key, firstEntry + p) ? 0 : 255;
    }
  }
}

/** Running sums of magnitudes per index modulo eight, so that no cut of a run into tiles changes a bit. */
export const L1_LANES = 8;

/** @param lane of the first value. */
export function addMagnitudes(values: Float32Array, lane: number, sums: Float64Array): void {
  for (const [p, value] of values.entries()) sums[(lane + p) % L1_LANES]! += Math.abs(value);
}

/** Sets a bit per value, from bit `first` on: whether it survived, that is, whether it is anything but +0. */
export function noteKept(values: Float32Array, first: number, mask: Uint8Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (const [p, pattern] of bits.entries()) {
    const bit = 1 << ((first + p) & 7);
    const at = (first + p) >>> 3;
    mask[at] = pattern === 0 ? mask[at]! & ~bit : mask[at]! | bit;
  }
}

/**
 * Keeps the changes whose byte in `chosen` is 255 (else it is 0), and those that are not finite: sets a bit per change, from
 * bit `first` on, and adds the magnitudes of all and of those that are kept, per place modulo eight.
 */
export function noteChosen(
  changes: Float32Array,
  chosen: Uint8Array,
  first: number,
  mask: Uint8Array,
  sums: { readonly before: Float64Array; readonly after: Float64Array },
): void {
  for (const [p, change] of changes.entries()) {
    const at = first + p;
    const bit = 1 << (at & 7);
    const kept = chosen[p] !== 0 || !Number.isFinite(change);
    mask[at >>> 3] = kept ? mask[at >>> 3]! | bit : mask[at >>> 3]! & ~bit;
    sums.before[at % L1_LANES]! += Math.abs(change);
    if (kept) sums.after[at % L1_LANES]! += Math.abs(change);
  }
}

/** Keeps what a mask keeps, scaled, in place. */
export function applyKept(values: Float32Array, first: number, mask: Uint8Array, scale: number): void {
  for (const [p, value] of values.entries()) {
    const kept = (mask[(first + p) >>> 3]! >>> ((first + p) & 7)) & 1;
    if (Number.isFinite(value)) values[p] = kept === 1 ? value * scale : 0;
  }
}
