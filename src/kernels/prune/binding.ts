import type { StreamKey } from "../../numbers/random.js";
import type { KernelDtype } from "../convert/binding.js";
import type { Kernels } from "../load.js";
import type { Band, RankLine } from "./definition.js";

/** `keepBand` on changes at an address; `left` is the address of its two counts. */
export type BandKernel = (changes: number, count: number, band: Band, scale: number, left: number) => void;

/** `rowRanks` of `count` changes, written to `ranks`; see `rankScratchBytes`. */
export type RowRanksKernel = (changes: number, count: number, ranks: number, scratch: number) => void;

/** `Drawn`, with its bytes at an address in kernel memory. */
export interface DrawnAt {
  readonly bytes: number;
  readonly key: StreamKey;
  readonly firstEntry: number;
}

/** `dropRanked` on a row of `count`; changes and ranks are addresses. */
export type DropRankedKernel = (
  changes: number,
  drawn: DrawnAt,
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

/** `keepRanked` of rows, with the thresholds at an address; see `rankScratchBytes`. */
export type KeepRankedKernel = (
  changes: number,
  drawn: DrawnAt,
  chosen: number,
  size: { readonly row: number; readonly rows: number },
  thresholds: number,
  scratch: number,
) => void;

/** `noteChosen`; without a mask (0) sums alone. At `sums` lie eight f64 for all changes, then eight for those kept. */
export type NoteChosenKernel = (
  changes: number,
  chosen: number,
  count: number,
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
  readonly noteChosen: NoteChosenKernel;
}

/** Bytes that ranking a row of so many entries takes. */
export function rankScratchBytes(entries: number): number {
  return 32_768 + 24 * entries;
}

export function pruneKernels(kernels: Kernels): PruneKernels {
  const band: (...args: number[]) => void = kernels.get("band");
  const dropRanked: (...args: number[]) => void = kernels.get("drop_ranked");
  const rankThresholds: (...args: number[]) => void = kernels.get("rank_thresholds");
  const keepRanked: (...args: number[]) => void = kernels.get("keep_ranked");
  return {
    band: (changes, count, { low, high }, scale, left) => band(changes, count, low, high, scale, left),
    rowRanks: kernels.get("row_ranks"),
    dropRanked: (changes, { bytes, key, firstEntry }, ranks, count, { first, step }, inverse, scale) => {
      const { key0, key1, stream0, stream1 } = key;
      const by = inverse ? 1 : 0;
      dropRanked(changes, bytes, ranks, count, first, step, by, scale, firstEntry, key0, key1, stream0, stream1);
    },
    l1: kernels.get("l1"),
    noteKept: kernels.get("note_kept"),
    applyKept: kernels.get("apply_kept"),
    keptChange: (dtype) => kernels.get(`kept_change_${dtype}`),
    rankThresholds: (target, count, { first, step }) => rankThresholds(target, count, first, step),
    keepRanked: (changes, { bytes, key, firstEntry }, chosen, { row, rows }, thresholds, scratch) => {
      const { key0, key1, stream0, stream1 } = key;
      keepRanked(changes, bytes, chosen, row, rows, thresholds, scratch, firstEntry, key0, key1, stream0, stream1);
    },
    noteChosen: kernels.get("note_chosen"),
  };
}
