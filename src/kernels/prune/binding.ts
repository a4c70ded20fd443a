import type { KernelDtype } from "../convert/binding.js";
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

/** `widen`, `change` and `applyKept`: base and target are f32; `count` and `first` multiples of eight. */
export type KeptChangeKernel = (
  model: number,
  base: number,
  target: number,
  count: number,
  first: number,
  mask: number,
  scale: number,
) => void;

/** `rankThresholds` of ranks below `count`, as u32. */
export type RankThresholdsKernel = (target: number, count: number, line: RankLine) => void;

/** `keepRanked` of a row, with the thresholds at an address; see `rankScratchBytes`. */
export type KeepRankedKernel = (
  changes: number,
  words: number,
  count: number,
  thresholds: number,
  scratch: number,
) => void;

/** `noteWords`; without a mask (0) sums alone. At `sums` lie eight f64 for all changes, then eight for those kept. */
export type NoteWordsKernel = (
  changes: number,
  words: number,
  count: number,
  threshold: number,
  first: number,
  mask: number,
  sums: number,
) => void;

export interface PruneKernels {
  readonly band: BandKernel;
  readonly rowRanks: RowRanksKernel;
  readonly dropRanked: DropRankedKernel;
  readonly l1: L1Kernel;
  readonly noteKept: NoteKeptKernel;
  readonly applyKept: ApplyKeptKernel;
  keptChange(dtype: KernelDtype): KeptChangeKernel;
  readonly rankThresholds: RankThresholdsKernel;
  readonly keepRanked: KeepRankedKernel;
  readonly noteWords: NoteWordsKernel;
}

/** Bytes that ranking a row of so many entries takes. */
export function rankScratchBytes(entries: number): number {
  return 32_768 + 16 * entries;
}

export function pruneKernels(kernels: Kernels): PruneKernels {
  const band: (...args: number[]) => void = kernels.get("band");
  const dropRanked: (...args: number[]) => void = kernels.get("drop_ranked");
  const rankThresholds: (...args: number[]) => void = kernels.get("rank_thresholds");
  const noteWords: (...args: number[]) => void = kernels.get("note_words");
  return {
    band: (changes, count, { low, high }, scale, left) => band(changes, count, low, high, scale, left),
    rowRanks: kernels.get("row_ranks"),
    dropRanked: (changes, words, ranks, count, { first, step }, inverse, scale) =>
      dropRanked(changes, words, ranks, count, first, step, inverse ? 1 : 0, scale),
    l1: kernels.get("l1"),
    noteKept: kernels.get("note_kept"),
    applyKept: kernels.get("apply_kept"),
    keptChange: (dtype) => kernels.get(`kept_change_${dtype}`),
    rankThresholds: (target, count, { first, step }) => rankThresholds(target, count, first, step),
    keepRanked: kernels.get("keep_ranked"),
    noteWords: (changes, words, count, threshold, first, mask, sums) => {
      // 2^32 does not fit into the kernel's u32.
      const none = threshold === 2 ** 32;
      noteWords(changes, words, count, none ? 0 : threshold, none ? 1 : 0, first, mask, sums);
    },
  };
}
