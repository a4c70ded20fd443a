/** Jobs that read changes and count or sum. */
import { L1_LANES } from "../kernels/prune/definition.js";
import { selectRanksKernel } from "../kernels/select/binding.js";
import { momentsOf } from "../numbers/sums.js";
import type { Moments } from "../numbers/sums.js";
import { bracketOf, exactRank, LOG_ENTRIES, lookAround, MAX_BINS, shareOf } from "../statistics/threshold.js";
import type { Bench } from "./bench.js";
import { MASK_BYTES } from "./blocks.js";
import type { Block } from "./blocks.js";
import type {
  CombineBlock,
  EnergyBins,
  L1Norms,
  MomentsArgs,
  NormsBlock,
  OverlapArgs,
  OverlapPart,
  SampleArgs,
  SampleBlock,
  SelectBlock,
  Selection,
  SurveyArgs,
  SurveyBlock,
  SurveyPart,
} from "./job_types.js";
import { SUMS_BYTES } from "./pruning.js";
import { SAMPLE_RUN } from "./sample_runs.js";
import type { Wanted, Workbench } from "./workbench.js";

export async function sample({ work }: Bench, block: SampleBlock, { buffers }: SampleArgs): Promise<null> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const { context } = work;
  context.setRows(inputs.length);
  let taken = 0;
  for (const run of block.runs) {
    await work.forEachTile(run, { changes: true, floats: false }, (tile) => {
      for (const [row, address] of tile.inputs.entries()) {
        const place = block.slots[row]! + taken + tile.start - run.start;
        context.setPointer(row, address);
        context.setColumnBits(row, 0, buffers[inputs[row]!.model]! + place * 4);
      }
      context.setTile(tile.padded, 0, tile.subtract, 0);
      context.setEntries(tile.count);
      work.kernels.get(`magnitudes_${tile.format}`)(context.address);
    });
    taken += run.count;
  }
  return null;
}

/** On a thread because it takes as long as reading the sample did. */
export async function select(
  { work }: Bench,
  { address, count, rank, entries }: SelectBlock,
  { complete }: { readonly complete: boolean },
): Promise<Selection> {
  const magnitudes = new Uint32Array(work.kernels.memory.buffer, address, count);
  const find = selectRanksKernel(work.kernels, work.blockOut, magnitudes);
  if (complete) {
    const found = exactRank(magnitudes, rank, find);
    const bracket = bracketOf(found.bits - 1, found.bits, found.bits);
    return { found, bracket, standing: { confidence: Number.POSITIVE_INFINITY, share: shareOf(found, rank) } };
  }
  return { found: null, ...lookAround(magnitudes, rank, entries, SAMPLE_RUN, find) };
}

export async function survey({ work }: Bench, block: SurveyBlock, { rows }: SurveyArgs): Promise<SurveyPart> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const { context } = work;
  context.setRows(inputs.length);
  context.clearCounters(inputs.length);
  const rowsOf = inputs.map(({ model }) => rows[model]!);
  for (const [index, { high, guess, low, bins, shift, seen }] of rowsOf.entries()) {
    const log = block.log === 0 ? 0 : block.log + index * LOG_ENTRIES * 4;
    for (const [column, bits] of [high, guess, low, bins, shift, seen, log].entries())
      context.setColumnBits(index, column, bits);
  }
  // Brackets of one value need no histogram.
  const isPoint = rowsOf.every(({ high, guess, low }) => high === guess && low === guess - 1);
  const kernel = isPoint ? "count" : "survey";
  let padding = 0;
  await work.forEachTile(block, { changes: true, floats: false }, (tile) => {
    for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address);
    context.setTile(tile.padded, 0, tile.subtract, 0, work.scratch);
    work.kernels.get(`${kernel}_${tile.format}`)(context.address);
    padding += tile.padded - tile.count;
  });
  const counted = (index: number) => inputs.map((_, row) => context.rowCounter(row, index));
  const atLeastOf = (counts: readonly number[]) =>
    counts.map((count, row) => count - (rowsOf[row]!.guess === 0 ? padding : 0));
  if (isPoint) {
    const atLeast = atLeastOf(counted(1));
    return { atHigh: atLeast, above: counted(0), atLeast, logged: inputs.map(() => 0), padding };
  }
  // The padding's magnitudes are zero: they were counted wherever zero is inside.
  for (const { low, guess, bins, shift } of rowsOf) {
    if (padding === 0 || low !== -1 || guess === 0) continue;
    Atomics.sub(new Uint32Array(work.kernels.memory.buffer, bins, MAX_BINS), 1 >>> shift, padding);
  }
  return { atHigh: counted(0), above: counted(1), atLeast: atLeastOf(counted(2)), logged: counted(3), padding };
}

/** Moments of one block, in entry order. */
export async function moments(
  { work }: Bench,
  block: CombineBlock,
  { trim }: MomentsArgs,
): Promise<readonly Moments[]> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const values = inputs.map(() => new Float32Array(block.count));
  await work.forEachTile(block, { changes: true, floats: true }, (tile) => {
    for (const [index, address] of tile.inputs.entries()) {
      values[index]!.set(work.floatsAt(address, tile.count), tile.start - block.start);
    }
  });
  if (trim !== null) {
    for (const [index, { model }] of inputs.entries()) {
      const { centre, threshold } = trim[model]!;
      const entries = values[index]!;
      let left = block.quota?.[index] ?? Infinity;
      for (let p = 0; p < entries.length; p++) {
        const distance = Math.abs(Math.fround(entries[p]! - centre));
        if (distance < threshold || (distance === threshold && left-- <= 0)) entries[p] = 0;
      }
    }
  }
  return values.map((entries) => momentsOf(entries));
}

/** Counts active entries by how many inputs are active there. Thresholds are above 0, so padding is never active. */
export async function overlap({ work }: Bench, block: Block, { thresholds }: OverlapArgs): Promise<OverlapPart> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const { context } = work;
  context.setRows(inputs.length);
  context.clearCounters(inputs.length);
  for (const [row, { model }] of inputs.entries()) context.setColumn(row, 0, thresholds[model]!);
  await work.forEachTile(block, { changes: true, floats: false }, (tile) => {
    for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address);
    // Nothing else needs the buffer of results while statistics are made.
    context.setTile(tile.padded, 0, tile.subtract, 0, work.floatOut);
    work.kernels.get(`overlap_count_${tile.format}`)(context.address);
  });
  const counted = (index: number) => inputs.map((_, row) => context.rowCounter(row, index));
  return { shared: counted(0), unique: counted(1) };
}

/**
 * Per input the norms before and after pruning: eight running sums each, so that tiles do not show. Notes what survives,
 * where there is room for it, so that it need not be drawn or ranked again.
 */
export async function norms({ work }: Bench, block: NormsBlock): Promise<readonly L1Norms[]> {
  const tensor = work.setup.tensors[block.tensor]!;
  const { inputs } = tensor;
  const view = new Float64Array(work.kernels.memory.buffer, work.sums, 2 * L1_LANES * inputs.length).fill(0);
  const prune: Wanted["prune"] = (input, run, { start, count }, left) =>
    work.pruning.note(
      tensor,
      input,
      run,
      { start, count, first: start - block.start },
      {
        gathered: block.cuts?.[input] ?? null,
        left,
        sums: work.sums + SUMS_BYTES * input,
        mask: block.masks === null ? 0 : block.masks + input * MASK_BYTES,
      },
    );
  await work.forEachTile(block, { changes: true, floats: true, prune }, () => {});
  const total = (first: number) => view.subarray(first, first + L1_LANES).reduce((sum, lane) => sum + lane, 0);
  return inputs.map((_, index) => ({
    before: total(2 * L1_LANES * index),
    after: total(2 * L1_LANES * index + L1_LANES),
  }));
}

const BINS = 32_768;
const MANTISSA = 0x80_0000;

export async function energyBins({ work }: Bench, block: Block): Promise<readonly EnergyBins[]> {
  const parts = work.setup.tensors[block.tensor]!.inputs.map(() => ({
    counts: new Float64Array(BINS),
    upper: new Float64Array(BINS),
    lower: new Float64Array(BINS),
  }));
  await forEachMagnitude(work, block, (index, bits) => {
    const bin = bits >>> 16;
    const mantissa = bits < MANTISSA ? bits : (bits & (MANTISSA - 1)) | MANTISSA;
    const square = mantissa * mantissa;
    const upper = Math.floor(square / 0x100_0000);
    const part = parts[index]!;
    part.counts[bin]!++;
    part.upper[bin]! += upper;
    part.lower[bin]! += square - upper * 0x100_0000;
  });
  return parts;
}

/** Of the magnitudes whose upper 16 bits are `bins[model]`: how many have each lower half. */
export async function patterns(
  { work }: Bench,
  block: Block,
  { bins }: { readonly bins: readonly number[] },
): Promise<readonly Float64Array[]> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const parts = inputs.map(() => new Float64Array(65_536));
  await forEachMagnitude(work, block, (index, bits) => {
    if (bits >>> 16 === bins[inputs[index]!.model]) parts[index]![bits & 0xffff]!++;
  });
  return parts;
}

async function forEachMagnitude(
  work: Workbench,
  block: Block,
  use: (index: number, bits: number) => void,
): Promise<void> {
  await work.forEachTile(block, { changes: true, floats: true }, (tile) => {
    for (const [index, address] of tile.inputs.entries()) {
      const bits = new Uint32Array(work.kernels.memory.buffer, address, tile.count);
      for (let p = 0; p < tile.count; p++) use(index, bits[p]! & 0x7fff_ffff);
    }
  });
}

/**
 * Sums of magnitudes: of the sum of all inputs' changes but the last's, and of the last's. Entries at which one of both is
 * not finite are left out.
 */
export async function lineNorms({ work }: Bench, block: Block): Promise<readonly [sum: number, merged: number]> {
  const sums = new Float64Array(2);
  await work.forEachTile(block, { changes: true, floats: true }, ({ inputs, count }) => {
    addLineNorms(
      inputs.map((address) => work.floatsAt(address, count)),
      sums,
    );
  });
  return [sums[0]!, sums[1]!];
}

function addLineNorms(inputs: readonly Float32Array[], sums: Float64Array): void {
  const merged = inputs.at(-1)!;
  const models = inputs.length - 1;
  let all = sums[0]!;
  let one = sums[1]!;
  for (let p = 0; p < merged.length; p++) {
    let sum = 0;
    for (let i = 0; i < models; i++) sum += inputs[i]![p]!;
    const change = merged[p]!;
    if (!Number.isFinite(sum) || !Number.isFinite(change)) continue;
    all += Math.abs(sum);
    one += Math.abs(change);
  }
  sums[0] = all;
  sums[1] = one;
}
