/** An entry of a sample by its rank, and how many are above it and at or above it. */
export interface Selected {
  readonly bits: number;
  readonly above: number;
  readonly atLeast: number;
}

/** Bits of a pattern that are told apart at a time, from the upper ones; tables of the first level fit into cache. */
const DIGITS = [
  { shift: 19, bins: 8192 },
  { shift: 8, bins: 2048 },
  { shift: 0, bins: 256 },
] as const;

/** Finds a rank of a sample. @param rank 1 = the largest. */
export type FindRank = (rank: number) => Selected;

/** The definition; the kernel is its twin for samples in kernel memory. */
export function selectRanks(sample: Uint32Array): FindRank {
  const first: Bin = { values: sample, counts: digitCounts(sample, 0), within: new Map() };
  return (rank) => {
    let at = first;
    let above = 0;
    let bits = 0;
    for (let level = 0; ; level++) {
      const { shift, bins } = DIGITS[level]!;
      const { counts } = at;
      let bin = bins - 1;
      while (above + counts[bin]! < rank) above += counts[bin--]!;
      bits += bin * 2 ** shift;
      if (shift === 0) return { bits, above, atLeast: above + counts[bin]! };
      at = binWithin(at, bin, bits >>> shift, level);
    }
  };
}

/** Entries of a sample with the same upper digits, and how many have which next one. */
interface Bin {
  readonly values: Uint32Array;
  readonly counts: Uint32Array;
  /** By their next digit: ranks near each other look into the same ones. */
  readonly within: Map<number, Bin>;
}

/** @param digits all upper ones of the entries wanted, down to `level`. */
function binWithin({ values, counts, within }: Bin, bin: number, digits: number, level: number): Bin {
  const known = within.get(bin);
  if (known !== undefined) return known;
  const { shift } = DIGITS[level]!;
  // A plain loop: several times as fast as filter.
  const inside = new Uint32Array(counts[bin]!);
  let filled = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! >>> shift === digits) inside[filled++] = values[i]!;
  const found: Bin = { values: inside, counts: digitCounts(inside, level + 1), within: new Map() };
  within.set(bin, found);
  return found;
}

function digitCounts(values: Uint32Array, level: number): Uint32Array {
  const { shift, bins } = DIGITS[level]!;
  const counts = new Uint32Array(bins);
  const mask = bins - 1;
  for (let i = 0; i < values.length; i++) counts[(values[i]! >>> shift) & mask]!++;
  return counts;
}
