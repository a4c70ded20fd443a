import type { KernelDtype } from "../kernels/convert/binding.js";
import type { Kernels } from "../kernels/load.js";
import { pruneKernels, rankScratchBytes } from "../kernels/prune/binding.js";
import type { PruneKernels } from "../kernels/prune/binding.js";
import { keepLargest, rankLine } from "../kernels/prune/definition.js";
import { chanceBytesKernel, chanceKeptKernel, dropKernel } from "../kernels/random/binding.js";
import type { ChanceBytesKernel, ChanceKeptKernel, DropKernel } from "../kernels/random/binding.js";
import { dropThreshold } from "../numbers/random.js";
import type { StreamKey } from "../numbers/random.js";
import type { ChanceCut, RankCut, RowsCut } from "../methods/method.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Block, BlockCut } from "./blocks.js";
import type { WorkSetup, WorkTensor } from "./setup.js";

/** A run of entries of one tensor as f32 changes in kernel memory. */
export interface Run {
  readonly address: number;
  /** Index of the first entry in the tensor; of a row, where rows matter. */
  readonly start: number;
  readonly count: number;
}

/** Of a run the part that is a block's own. */
interface Own {
  readonly start: number;
  readonly count: number;
  /** Index of its first entry in the block. */
  readonly first: number;
}

interface Noted {
  readonly gathered: BlockCut | null;
  readonly left: BandCounts;
  /** Sixteen f64. */
  readonly sums: number;
  readonly mask: number;
}

/** Sixteen f64: sums of magnitudes before and after pruning. */
export const SUMS_BYTES = 128;

/** Two i32 and what keeps the memory after them aligned. */
const LEFT_BYTES = 64;

/** Cuts changes in place, in one thread. */
export class Pruning {
  readonly #memory: WebAssembly.Memory;
  readonly #kernels: PruneKernels;
  readonly #drop: DropKernel;
  readonly #writeBytes: ChanceBytesKernel;
  readonly #writeKept: ChanceKeptKernel;
  readonly #left: number;
  /** A byte for each entry of a run: of its chance word, and whether it is kept. */
  readonly #bytes: number;
  readonly #chosen: number;
  /** A u32 for each entry of a row: ranks, or the thresholds of ranks. */
  readonly #ranks: number;
  /** What the thresholds are of. */
  #line: { readonly cut: RankCut; readonly row: number } | null = null;
  readonly #scratch: number;

  /** @param take gives addresses of kernel memory that is this thread's own, `pruningBytes` in all and page ends. */
  constructor(kernels: Kernels, { maxRow, tileEntries }: WorkSetup, take: (bytes: number) => number) {
    this.#memory = kernels.memory;
    this.#kernels = pruneKernels(kernels);
    this.#drop = dropKernel(kernels);
    this.#writeBytes = chanceBytesKernel(kernels);
    this.#writeKept = chanceKeptKernel(kernels);
    this.#left = take(LEFT_BYTES);
    this.#bytes = take(Math.max(tileEntries, maxRow));
    this.#chosen = take(Math.max(tileEntries, maxRow));
    this.#ranks = maxRow === 0 ? 0 : take(4 * maxRow);
    this.#scratch = maxRow === 0 ? 0 : take(rankScratchBytes(maxRow));
  }

  /**
   * Writes what a mask keeps of a run's changes, scaled, from entries as they are stored.
   * @returns whether it did: not where nothing is noted, or the run begins within a byte of the mask.
   */
  keptChange(
    dtype: KernelDtype,
    { model, base, target }: { readonly model: number; readonly base: number; readonly target: number },
    { start, count }: Omit<Run, "address">,
    gathered: BlockCut | null,
  ): boolean {
    const first = start % BLOCK_ENTRIES;
    if (gathered?.mask == null || first % 8 !== 0) return false;
    const kernel = this.#kernels.keptChange(dtype);
    kernel(model, base, target, Math.ceil(count / 8) * 8, first, gathered.mask, gathered.scale ?? 1);
    return true;
  }

  /**
   * What a cut that is scaled to the old norm does to a run: adds magnitudes before and after it, of the entries `own` that
   * are the block's, to the sums at `sums`, and notes in `mask`, unless that is 0, which of them it keeps. Leaves the
   * changes in any state.
   */
  note(tensor: WorkTensor, input: number, run: Run, own: Own, { gathered, left, sums, mask }: Noted): void {
    const work = tensor.prune?.[input] ?? null;
    if (work === null || work.cut.rescale !== "norm") return;
    const { cut, key } = work;
    const before = own.start - run.start;
    const offset = 4 * before;
    const note = (chosen: number) =>
      this.#kernels.noteChosen(run.address + offset, chosen, own.count, own.first, mask, sums);
    if (cut.kind === "chance") {
      this.#writeKept(this.#chosen, own.count, own.start, key, dropThreshold(1 - cut.density));
      return note(this.#chosen);
    }
    if (cut.kind === "rank") {
      this.#keepRanked(run, tensor.row, cut, key);
      return note(this.#chosen + before);
    }
    this.#kernels.l1(run.address + offset, own.count, own.first, sums);
    this.cut(tensor, input, run, gathered, left);
    this.#kernels.l1(run.address + offset, own.count, own.first, sums + SUMS_BYTES / 2);
    if (mask !== 0) this.#kernels.noteKept(run.address + offset, own.count, own.first, mask);
  }

  /** Writes which entries are kept, a byte each. @param row of which `run` is a number. */
  #keepRanked({ address, start, count }: Run, row: number, cut: RankCut, key: StreamKey): void {
    const isKnown = this.#line !== null && this.#line.row === row && sameLine(this.#line.cut, cut);
    if (!isKnown) this.#kernels.rankThresholds(this.#ranks, row, rankLine(cut.lowest, cut.highest, row));
    this.#line = { cut, row };
    this.#writeBytes(this.#bytes, count, start, key);
    const drawn = { bytes: this.#bytes, key, firstEntry: start };
    this.#kernels.keepRanked(address, drawn, this.#chosen, { row, rows: count / row }, this.#ranks, this.#scratch);
  }

  /** @param left of this input, as at the run's first entry; becomes what it is behind the last. */
  cut({ prune, row, shape }: WorkTensor, input: number, run: Run, gathered: BlockCut | null, left: BandCounts): void {
    const work = prune?.[input] ?? null;
    if (work === null) return;
    const { cut, key } = work;
    if (gathered?.mask != null) {
      const { address, start, count } = run;
      this.#kernels.applyKept(address, count, start % BLOCK_ENTRIES, gathered.mask, gathered.scale ?? 1);
      return;
    }
    switch (cut.kind) {
      case "chance":
        return this.#chance(run, cut, key, gathered);
      case "band":
        return this.#band(run, gathered, left);
      case "rank":
        return this.#rank(run, row, cut, key, gathered);
      case "rows":
        return this.#rows(run, shape.length < 2 ? 1 : row, cut, key);
    }
  }

  #chance({ address, start, count }: Run, cut: ChanceCut, key: StreamKey, gathered: BlockCut | null): void {
    const inverse = cut.rescale === "inverse" ? Math.fround(1 / cut.density) : 1;
    this.#drop(address, count, start, key, 1 - cut.density, gathered?.scale ?? inverse);
  }

  #band({ address, count }: Run, gathered: BlockCut | null, left: BandCounts): void {
    if (gathered?.band == null) throw new RangeError("a band is cut before its ends are known");
    const counts = new Int32Array(this.#memory.buffer, this.#left, 2);
    counts[0] = left.low;
    counts[1] = left.high;
    this.#kernels.band(address, count, gathered.band, gathered.scale ?? 1, this.#left);
    left.low = counts[0]!;
    left.high = counts[1]!;
  }

  /** @param row entries that have a density of their own; where magnitudes decide the run is a whole number of rows. */
  #rows({ address, start, count }: Run, row: number, cut: RowsCut, key: StreamKey): void {
    for (let at = 0; at < count; ) {
      const index = Math.floor((start + at) / row);
      const end = Math.min(count, (index + 1) * row - start);
      const [density, scale] = [cut.densities[index]!, cut.scales[index]!];
      if (cut.drop === "chance") this.#drop(address + 4 * at, end - at, start + at, key, 1 - density, scale);
      else {
        const changes = new Float32Array(this.#memory.buffer, address + 4 * at, end - at);
        const kept = keptOf(density, row);
        this.#line = null;
        if (kept < row && kept > 0) this.#kernels.rowRanks(address + 4 * at, row, this.#ranks, this.#scratch);
        keepLargest(
          changes,
          kept,
          scale,
          new Uint32Array(this.#memory.buffer, this.#ranks, kept < row && kept > 0 ? row : 0),
        );
      }
      at = end;
    }
  }

  #rank({ address, start, count }: Run, row: number, cut: RankCut, key: StreamKey, gathered: BlockCut | null): void {
    const inverse = cut.rescale === "inverse";
    const line = rankLine(cut.lowest, cut.highest, row);
    this.#writeBytes(this.#bytes, count, start, key);
    this.#line = null;
    for (let at = 0; at < count; at += row) {
      const changes = address + 4 * at;
      this.#kernels.rowRanks(changes, row, this.#ranks, this.#scratch);
      const drawn = { bytes: this.#bytes + at, key, firstEntry: start + at };
      this.#kernels.dropRanked(changes, drawn, this.#ranks, row, line, inverse, gathered?.scale ?? 1);
    }
  }
}

function sameLine(a: RankCut, b: RankCut): boolean {
  return a.lowest === b.lowest && a.highest === b.highest;
}

/** Of a row: at least one, unless nothing is to be kept. */
function keptOf(density: number, row: number): number {
  return density <= 0 ? 0 : Math.min(row, Math.max(1, Math.trunc(density * row)));
}

/** Entries equal to a band's ends that are still inside it. */
export interface BandCounts {
  low: number;
  high: number;
}

/** Per input, at the first entry of a block. */
export function bandCounts({ cuts }: Block, inputs: number): BandCounts[] {
  return Array.from({ length: inputs }, (_, input) => {
    const band = cuts?.[input]?.band;
    return { low: band?.lowLeft ?? 0, high: band?.highLeft ?? 0 };
  });
}

export function pruningBytes({ maxRow, tileEntries }: WorkSetup): number {
  const bytes = 2 * Math.max(tileEntries, maxRow);
  return LEFT_BYTES + bytes + (maxRow === 0 ? 0 : 4 * maxRow + rankScratchBytes(maxRow));
}
