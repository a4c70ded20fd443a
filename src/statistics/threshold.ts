/**
 * The magnitude of a rank, exactly, without a sort and in bounded memory.
 *
 * A sample brackets the rank; one pass counts, exactly, the magnitudes above, at and around the guess and makes a
 * histogram of those inside the bracket, one bin per f32 value where it is narrow enough. The counters prove the result;
 * if the rank lies outside the bracket, or in a bin of several values, another pass over a new bracket follows.
 * Magnitudes are handled as f32 bit patterns, whose order is that of the values.
 */

import { selectRanks } from "../kernels/select/definition.js";
import type { FindRank, Selected } from "../kernels/select/definition.js";

/** Words of the histogram of one model: 1 MiB of u32. Where bins drop bits, half of them say which values were seen. */
export const MAX_BINS = 262_144;
const MAX_SHARED_BINS = MAX_BINS / 2;
/** Bits a bin may drop and still tell its values apart: one of 32 per bit of a word. */
const SEEN_SHIFT = 5;
/** Magnitudes inside a bracket that the survey of a block lists per model; the same in kernels/survey. */
export const LOG_ENTRIES = 8192;
const LARGEST_BITS = 0x7fff_ffff;
/** Half width of the bracket in standard deviations of the sample's rank. */
const SIGMAS = 4;

/** The open interval (low, high), as bit patterns; low may be −1. The guess may equal `high`. */
export interface Bracket {
  readonly high: number;
  readonly guess: number;
  readonly low: number;
  /** Lower bits that a bin drops. */
  readonly shift: number;
}

export interface SurveyCounts {
  /** Magnitudes at or above `high`, above `guess`, at or above `guess`. */
  readonly atHigh: number;
  readonly above: number;
  readonly atLeast: number;
  /** Magnitudes strictly between low and high other than guess, by (bits − low) >>> shift. */
  readonly bins: Uint32Array;
  /** Where bins drop one to five bits: per bin, bit v is set if an entry with dropped bits v is in it. Else `null`. */
  readonly seen: Uint32Array | null;
}

/** A threshold found, with what surviving means in numbers. */
export interface Found {
  readonly bits: number;
  /** Entries larger than the threshold, and entries at least as large. */
  readonly above: number;
  readonly atLeast: number;
  /** Whether the guess of the bracket was right, so that what was counted along with it holds. */
  readonly guessed: boolean;
}

/** Everything from `first` to `last`, both included. */
function bracketAround(first: number, last: number): Bracket {
  return bracketOf(first - 1, first, last + 1);
}

export function bracketOf(low: number, guess: number, high: number): Bracket {
  let shift = 0;
  while ((high - low) / 2 ** shift >= (shift === 0 ? MAX_BINS : MAX_SHARED_BINS)) shift++;
  return { low, guess, high, shift };
}

/** Whether the survey of a bracket also notes which values its bins met. */
export function notesSeen({ shift }: Bracket): boolean {
  return shift > 0 && shift <= SEEN_SHIFT;
}

/** Index of the word of `seen` that belongs to the first bin, in a histogram's memory. */
export const SEEN_AT = MAX_SHARED_BINS;

export function binCount({ low, high, shift }: Bracket): number {
  return Math.floor((high - low) / 2 ** shift) + 1;
}

/**
 * A bracket that holds the rank unless the sample misleads by more than four standard deviations.
 * @param sample bit patterns of magnitudes drawn evenly; an empty one says nothing.
 * @param rank 1 = the largest of `entries`.
 * @param run entries of the sample that lie beside each other in a tensor, one run after the other.
 * @param largest of all patterns that occur.
 * @param find of the sample.
 */
export function bracketFromSample(
  sample: Uint32Array,
  rank: number,
  entries: number,
  run: number,
  largest: number = LARGEST_BITS,
  find: FindRank = selectRanks(sample),
): Bracket {
  return sample.length === 0 ? bracketAround(0, largest) : lookAround(sample, rank, entries, run, find).bracket;
}

/** The bracket of a sample that is not empty, and how sure its guess is. @param run, find as of `bracketFromSample`. */
export function lookAround(
  sample: Uint32Array,
  rank: number,
  entries: number,
  run: number,
  find: FindRank = selectRanks(sample),
): { readonly bracket: Bracket; readonly standing: Standing } {
  const share = Math.min(1, rank / entries);
  const position = share * sample.length;
  const at = (place: number) => Math.max(1, Math.min(sample.length, Math.round(place)));
  const guess = find(at(position));
  const deviation = deviationAbove(sample, guess.bits, share, run);
  const spread = SIGMAS * deviation + 2;
  const [high, low] = [find(at(position - spread)), find(at(position + spread))];
  return {
    // An open interval holds no end, so where the guess is the lower end the bracket reaches one below it.
    bracket: bracketOf(Math.min(low.bits, guess.bits - 1), guess.bits, high.bits),
    standing: standingOf(guess, position, deviation),
  };
}

/** Fewer runs say too little of how they differ. */
const FEWEST_RUNS = 16;

/**
 * Standard deviation of the number of a sample's entries that reach a value. Entries of a run share the scale of their row,
 * so runs may differ by more than as many independent draws; they are compared each with the next, which leaves out what
 * changes slowly from tensor to tensor, where the sample is even.
 * @param share of the entries, about, that reach the value.
 */
function deviationAbove(sample: Uint32Array, value: number, share: number, run: number): number {
  const independent = Math.sqrt(sample.length * share * (1 - share));
  const runs = Math.floor(sample.length / run);
  if (run === 1 || runs < FEWEST_RUNS) return independent;
  let squares = 0;
  let before = 0;
  for (let index = 0, at = 0; index < runs; index++) {
    let count = 0;
    for (const end = at + run; at < end; at++) if (sample[at]! >= value) count++;
    if (index > 0) squares += (count - before) ** 2;
    before = count;
  }
  return Math.max(independent, Math.sqrt((runs * squares) / (2 * (runs - 1))));
}

/** What a sample says of the entries equal to a guess. */
export interface Standing {
  /**
   * How far the rank lies from the nearer edge of the entries equal to the guess, in standard deviations of the sample:
   * a guess three or more away is right in practice, and the counters prove it.
   */
  readonly confidence: number;
  /** Of the entries equal to the guess, the share that the rank takes in; within [0, 1]. */
  readonly share: number;
}

/**
 * @param counts of the sample's entries: those above the guess, and those at or above it.
 * @param position of the rank in the sample. @param deviation of the sample's counts.
 */
export function standingOf(
  { above, atLeast }: Pick<Selected, "above" | "atLeast">,
  position: number,
  deviation: number,
): Standing {
  return {
    confidence: Math.min(position - above, atLeast - position) / Math.hypot(deviation, 1),
    share: atLeast === above ? 1 : Math.min(1, Math.max(0, (position - above) / (atLeast - above))),
  };
}

/** Of the entries equal to a threshold, the share that a rank takes in. */
export function shareOf({ above, atLeast }: Found, rank: number): number {
  return (rank - above) / (atLeast - above);
}

/** What a survey's counts say: the threshold, or where to look next. */
export function resolve(
  bracket: Bracket,
  rank: number,
  counts: SurveyCounts,
  largest: number = LARGEST_BITS,
): Found | Bracket {
  const { high, guess, low, shift } = bracket;
  const { atHigh, above, atLeast, bins, seen } = counts;
  if (rank > above && rank <= atLeast) return { bits: guess, above, atLeast, guessed: true };
  // The ends of a bracket are often values that many entries share: the likeliest ones, when it is not inside.
  if (rank <= atHigh) return bracketOf(high - 1, high, largest + 1);
  const guessBin = guess > low && guess < high ? Math.floor((guess - low) / 2 ** shift) : -1;
  let larger = atHigh;
  let bin = binCount(bracket) - 1;
  if (guessBin >= 0 && shift === 0) {
    // The rank is near the guess more often than near an end: from there up to the first bin with fewer above it.
    bin = guessBin;
    larger = above;
    while (larger >= rank) larger -= bins[++bin]!;
  }
  for (; bin >= 0; bin--) {
    const inBin = bins[bin]! + (bin === guessBin ? atLeast - above : 0);
    if (inBin === 0 || rank > larger + inBin) {
      larger += inBin;
      continue;
    }
    const start = low + bin * 2 ** shift;
    const first = Math.max(low + 1, start);
    const last = Math.min(high - 1, start + 2 ** shift - 1);
    const only = first === last ? first : onlyValue(start, seen?.[bin] ?? 0);
    if (only === null) return bracketAround(first, last);
    const before = larger + (bin === guessBin && guess > only ? atLeast - above : 0);
    return { bits: only, above: before, atLeast: before + bins[bin]!, guessed: false };
  }
  return bracketOf(-1, low, low + 1);
}

/** The one value that a bin met, or `null`. */
function onlyValue(start: number, seen: number): number | null {
  const isOne = seen !== 0 && (seen & (seen - 1)) === 0;
  return isOne ? start + (31 - Math.clz32(seen)) : null;
}

/** The exact answer where the sample is everything. */
export function exactRank(magnitudes: Uint32Array, rank: number, find: FindRank = selectRanks(magnitudes)): Found {
  return { ...find(rank), guessed: true };
}

export function isFound(result: Found | Bracket): result is Found {
  return "bits" in result;
}

/** Bit patterns from here on are infinity and NaN, which no trim drops. */
export const INFINITY_BITS = 0x7f80_0000;

/** The magnitude as a number. A NaN pattern (more NaN than the rank) becomes infinity: then only those survive. */
export function magnitudeOf(bits: number): number {
  const pattern = new Uint32Array([Math.min(bits, INFINITY_BITS)]);
  return new Float32Array(pattern.buffer)[0]!;
}

/** The bit pattern of a magnitude. */
export function bitsOfMagnitude(magnitude: number): number {
  return new Uint32Array(Float32Array.of(magnitude).buffer)[0]!;
}
