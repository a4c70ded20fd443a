/** The magnitude of a rank among entries that lie in memory, exactly: two histograms over halves of the bit pattern. */

const HALF = 1 << 16;
const MAGNITUDE = 0x7fff_ffff;

export interface RankedMagnitude {
  /** The magnitude of the rank; NaN counts as larger than every number. */
  readonly threshold: number;
  /** Entries at least as large. */
  readonly kept: number;
}

/** @param rank from 1, the largest, to the number of entries. */
export function magnitudeOfRank(arrays: readonly Float32Array[], rank: number): RankedMagnitude {
  const views = arrays.map((array) => new Int32Array(array.buffer, array.byteOffset, array.length));
  const upper = new Float64Array(HALF);
  for (const bits of views) for (let p = 0; p < bits.length; p++) upper[(bits[p]! & MAGNITUDE) >>> 16]!++;
  const high = descend(upper, 0, rank);
  const lower = new Float64Array(HALF);
  for (const bits of views) {
    for (let p = 0; p < bits.length; p++) {
      const magnitude = bits[p]! & MAGNITUDE;
      if (magnitude >>> 16 === high.bin) lower[magnitude & (HALF - 1)]!++;
    }
  }
  const low = descend(lower, high.above, rank);
  const [threshold] = new Float32Array(Int32Array.of((high.bin << 16) | low.bin).buffer);
  return { threshold: threshold!, kept: low.above + lower[low.bin]! };
}

/** The bin in which the rank lies, from the last one down, and how many entries lie in later ones. */
function descend(bins: Float64Array, before: number, rank: number): { readonly bin: number; readonly above: number } {
  let above = before;
  let bin = bins.length - 1;
  while (bin > 0 && above + bins[bin]! < rank) above += bins[bin--]!;
  return { bin, above };
}
