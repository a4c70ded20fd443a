import type { Kernels } from "../load.js";
import type { Band, RankLine } from "./definition.js";

/** `keepBand` on changes at an address; `left` is the address of its two counts. */
export type BandKernel = (changes: number, count: number, band: Band, scale: number, left: number) => void;

/** `rowRanks` of `count` changes, written to `ranks`; see `rankScratchBytes`. */
export type RowRanksKernel = (changes: number, count: number, ranks: number, scratch: number) => void;

/** `dropRanked` on a row; all but the line are addresses and counts. */
export type DropRankedKernel = (
  changes: number,
  words: number,
  ranks: number,
  count: number,
  line: RankLine,
  inverse: boolean,
  scale: number,
) => void;

/** `addMagnitudes` to eight f64 at `sums`. */
export type L1Kernel = (values: number, count: number, lane: number, sums: number) => void;

/** `noteKept` of values at an address into a mask at another. */
export type NoteKeptKernel = (values: number, count: number, first: number, mask: number) => void;

/** `applyKept` of values at an address with a mask at another. */
export type ApplyKeptKernel = (values: number, count: number, first: number, mask: number, scale: number) => void;

export interface PruneKernels {
  readonly band: BandKernel;
  readonly rowRanks: RowRanksKernel;
  readonly dropRanked: DropRankedKernel;
  readonly l1: L1Kernel;
  readonly noteKept: NoteKeptKernel;
  readonly applyKept: ApplyKeptKernel;
}

/** Bytes that ranking a row of so many entries takes. */
export function rankScratchBytes(entries: number): number {
  return 32_768 + 16 * entries;
}

export function pruneKernels(kernels: Kernels): PruneKernels {
  const band: (...args: number[]) => void = kernels.get("band");
  const dropRanked: (...args: number[]) => void = kernels.get("drop_ranked");
  return {
    band: (changes, count, { low, high }, scale, left) => band(changes, count, low, high, scale, left),
    rowRanks: kernels.get("row_ranks"),
    dropRanked: (changes, words, ranks, count, { first, step }, inverse, scale) =>
      dropRanked(changes, words, ranks, count, first, step, inverse ? 1 : 0, scale),
    l1: kernels.get("l1"),
    noteKept: kernels.get("note_kept"),
    applyKept: kernels.get("apply_kept"),
  };
}
