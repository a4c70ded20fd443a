/** What exact selection must find, by sorting everything. */

import { patterns } from "./random.js";

/** Bit patterns of the magnitudes, largest first; NaN all alike and the largest. */
export function sortedMagnitudes(values: Float32Array): Uint32Array {
  const sorted = patterns(values).map((bits) => bits & 0x7fffffff);
  return sorted.sort().reverse();
}

export interface Selected {
  /** Magnitude of the rank as a bit pattern. */
  readonly bits: number;
  readonly above: number;
  readonly atLeast: number;
}

/** @param rank 1 = the largest. */
export function selectRank(sorted: Uint32Array, rank: number): Selected {
  const bits = sorted[rank - 1]!;
  let above = rank - 1;
  while (above > 0 && sorted[above - 1] === bits) above--;
  let atLeast = rank;
  while (atLeast < sorted.length && sorted[atLeast] === bits) atLeast++;
  return { bits, above, atLeast };
}

/** The smallest numbers of largest entries whose squares reach these rising shares of all squares; exact. `null`: none. */
export function normPrefixes(
  sorted: Uint32Array,
  shares: readonly number[],
): ({ bits: number; kept: number } | null)[] {
  const squares = Array.from(sorted, (bits) => {
    const exponent = bits >>> 23;
    const mantissa = BigInt((bits & 0x7fffff) | (exponent === 0 ? 0 : 0x800000));
    return (mantissa * mantissa) << BigInt(2 * Math.max(0, exponent - 1));
  });
  const total = squares.reduce((sum, square) => sum + square, 0n);
  let kept = 0;
  let sum = 0n;
  return shares.map((share) => {
    // Exact for shares that are whole numbers of 2^-53.
    const target = total * BigInt(share * 2 ** 53);
    while (sum << 53n < target) sum += squares[kept++]!;
    return kept === 0 ? null : { bits: sorted[kept - 1]!, kept };
  });
}
