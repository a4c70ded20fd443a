/**
 * The magnitude down to which the largest entries hold a share of the squared norm, exactly: squared mantissas are
 * summed as integers per exponent-and-leading-bits bin, so the sums do not depend on any order.
 */
const MANTISSA = 0x80_0000;
const SHARE_BITS = 53;

/** Σ m² of a bin in units of its own exponent; the entry's magnitude is m · 2^(exponent − 150). */
interface BinEnergy {
  readonly count: number;
  readonly squares: bigint;
}

export interface EnergyBinsLike {
  readonly counts: Float64Array;
  readonly upper: Float64Array;
  readonly lower: Float64Array;
}

/** Squares in units of 2^-300: comparable between bins, exact. */
function scaled(bits: number, squares: bigint): bigint {
  const exponent = Math.max(1, bits >>> 23);
  return squares << BigInt(2 * (exponent - 1));
}

function energyOfBin(bin: number, { counts, upper, lower }: EnergyBinsLike): BinEnergy {
  const squares = (BigInt(upper[bin]!) << 24n) + BigInt(lower[bin]!);
  return { count: counts[bin]!, squares: scaled(bin * 65_536, squares) };
}

/** Where the crossing lies: the bin, what is above it, and the energy still wanted from it. */
export interface Crossing {
  readonly bin: number;
  readonly above: number;
  readonly wanted: bigint;
}

/** @returns `null` where the share needs nothing (share 0, or a zero task vector). */
export function crossingBin(bins: EnergyBinsLike, share: number): Crossing | null {
  let total = 0n;
  const size = bins.counts.length;
  // Bins from 0x7f80 on hold infinities and NaN, which have no energy and always survive.
  const last = Math.min(size, 0x7f80);
  for (let bin = 0; bin < last; bin++) total += energyOfBin(bin, bins).squares;
  const target = total * BigInt(Math.round(share * 2 ** SHARE_BITS));
  let wanted = target === 0n ? 0n : (target - 1n) / (1n << BigInt(SHARE_BITS)) + 1n;
  if (wanted === 0n) return null;
  let above = 0;
  for (let bin = size - 1; bin >= last; bin--) above += bins.counts[bin]!;
  for (let bin = last - 1; bin >= 0; bin--) {
    const { count, squares } = energyOfBin(bin, bins);
    if (squares >= wanted) return { bin, above, wanted };
    wanted -= squares;
    above += count;
  }
  return null;
}

/** @param patterns entries per lower 16 bits inside the crossing bin. */
export function crossingValue(
  { bin, above, wanted }: Crossing,
  patterns: Float64Array,
): { bits: number; kept: number } {
  let rest = wanted;
  let kept = above;
  for (let low = patterns.length - 1; low >= 0; low--) {
    const count = patterns[low]!;
    if (count === 0) continue;
    const bits = bin * 65_536 + low;
    const mantissa = BigInt(bits < MANTISSA ? bits : (bits & (MANTISSA - 1)) | MANTISSA);
    kept += count;
    rest -= scaled(bits, mantissa * mantissa * BigInt(count));
    if (rest <= 0n) return { bits, kept };
  }
  throw new RangeError("the bin does not hold the energy it was said to hold");
}
