import { checksumKernel } from "../kernels/checksum/binding.js";
import { MAX_COLUMNS } from "../kernels/context.js";
import type { ContextKernel } from "../kernels/load.js";
import type { Relations } from "../kernels/relations/definition.js";
import type { Arguments, Method, Tile } from "../methods/method.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import { nextAbove } from "../numbers/convert.js";
import { MAX_BINS } from "../statistics/threshold.js";
import { momentsOf } from "../numbers/sums.js";
import type { Moments } from "../numbers/sums.js";
import type { ByteSink } from "../sources/sink.js";
import type { ByteSource } from "../sources/source.js";
import { examine, relations, scan } from "./analysis_jobs.js";
import type { RelationsArgs, ScanPart, StoredBlock } from "./analysis_jobs.js";
import type { Block } from "./blocks.js";
import { isKernelDtype } from "./workbench.js";
import type { PreparedTile, Workbench } from "./workbench.js";

/** What a job sees: one thread's buffers, the method, and the output files. */
export interface Bench {
  readonly work: Workbench;
  readonly method: Method;
  sink(file: number): ByteSink | Promise<ByteSink>;
  /** Opens an output file for reading, to check what an interrupted run left. */
  written(file: number): ByteSource | Promise<ByteSource>;
}

export type Quota = readonly (number | null)[] | null;

/** A block that is combined, with what differs between blocks of one tensor. */
export interface CombineBlock extends Block {
  /**
   * Per input, for an exact quota: how many entries equal to the threshold this block keeps, lowest index first;
   * `null`: all of them. Concerns the column named `threshold` of the method's arguments.
   */
  readonly quota: Quota;
}

export interface CombineArgs {
  readonly args: Arguments;
}

/** A combination under assumptions, proved or refuted by what is counted along with it. */
export interface AssumeArgs {
  /** The method's arguments should the majority of signs be positive, and should it not. */
  readonly positive: Arguments;
  readonly negative: Arguments;
  /** Per model of the group: bit pattern of a guessed threshold to prove; `null` where thresholds are known. */
  readonly guesses: readonly number[] | null;
  /** Address of the i64 in which the threads add up positive minus negative columns so far. */
  readonly lead: number;
}

/** Per input: magnitudes above and at or above the guess, if there was one; and which majority was assumed. */
export interface Proof {
  readonly above: readonly number[];
  readonly atLeast: readonly number[];
  readonly positive: boolean;
}

/** What is known of a written block; also the journal's record. */
export interface WrittenBlock {
  /** XXH64 of the block's bytes. */
  readonly digest: string;
  readonly counters: Readonly<Record<string, number>>;
  /** NaN or infinite entries in the output and, where there are any, in each input (base last). */
  readonly nonFinite: number;
  readonly nonFiniteInputs: readonly number[] | null;
  /** Where something was assumed. */
  readonly proof?: Proof;
}

export interface SurveyRow {
  /** Bit patterns of magnitudes. */
  readonly high: number;
  readonly guess: number;
  readonly low: number;
  /** Address of the shared histogram's bins, and how many bits a bin drops. */
  readonly bins: number;
  readonly shift: number;
}

export interface SurveyArgs {
  /** Per model of the group (not per input of a tensor). */
  readonly rows: readonly SurveyRow[];
}

export interface SurveyPart {
  /** Per input of the block's tensor. */
  readonly atHigh: readonly number[];
  readonly above: readonly number[];
  readonly atLeast: readonly number[];
}

export interface SampleArgs {
  /** Per model of the group: address of the first u32 of its samples. */
  readonly buffers: readonly number[];
}

/** A run of entries whose magnitudes go to position `slot` of the sample buffers. */
export interface SampleBlock extends Block {
  /** Per input. */
  readonly slots: readonly number[];
}

export interface MomentsArgs {
  /** Per model; `null`: everything. */
  readonly trim: readonly { readonly centre: number; readonly threshold: number }[] | null;
}

/** Per bin of the upper 16 magnitude bits: how many entries, and the sum of their squared mantissas in two parts. */
export interface EnergyBins {
  readonly counts: Float64Array;
  readonly upper: Float64Array;
  readonly lower: Float64Array;
}

/** Every kind of work on a block: what it is given, what it gives back. Each adds up over blocks in its own way. */
export interface Jobs {
  combine: { block: CombineBlock; args: CombineArgs; part: WrittenBlock };
  assume: { block: CombineBlock; args: AssumeArgs; part: WrittenBlock };
  copy: { block: Block; args: null; part: WrittenBlock };
  reread: { block: Block; args: null; part: string };
  sample: { block: SampleBlock; args: SampleArgs; part: null };
  survey: { block: Block; args: SurveyArgs; part: SurveyPart };
  moments: { block: CombineBlock; args: MomentsArgs; part: readonly Moments[] };
  energyBins: { block: Block; args: null; part: readonly EnergyBins[] };
  patterns: { block: Block; args: { readonly bins: readonly number[] }; part: readonly Float64Array[] };
  scan: { block: Block; args: null; part: ScanPart };
  relations: { block: Block; args: RelationsArgs; part: Relations };
  examine: { block: Block; args: null; part: StoredBlock };
}

export type JobName = keyof Jobs;

type JobTable = {
  readonly [N in JobName]: (bench: Bench, block: Jobs[N]["block"], args: Jobs[N]["args"]) => Promise<Jobs[N]["part"]>;
};

/**
 * Parts whose sums are exact in any order: a thread adds its own up and sends one. All other parts are sent per block
 * and joined in block order.
 */
export const exactSums: { readonly [N in JobName]?: (a: Jobs[N]["part"], b: Jobs[N]["part"]) => Jobs[N]["part"] } = {
  energyBins: (a, b) =>
    a.map((part, i) => ({
      counts: addArrays(part.counts, b[i]!.counts),
      upper: addArrays(part.upper, b[i]!.upper),
      lower: addArrays(part.lower, b[i]!.lower),
    })),
  patterns: (a, b) => a.map((part, i) => addArrays(part, b[i]!)),
};

function addArrays(into: Float64Array, more: Float64Array): Float64Array {
  for (let i = 0; i < into.length; i++) into[i]! += more[i]!;
  return into;
}

const analysisJobs = { scan, relations, examine };
export const jobs: JobTable = { combine, assume, copy, reread, sample, survey, moments, energyBins, patterns, ...analysisJobs };

function combine(bench: Bench, block: CombineBlock, { args }: CombineArgs): Promise<WrittenBlock> {
  return combineBlock(bench, block, args, () => {});
}

async function assume(bench: Bench, block: CombineBlock, args: AssumeArgs): Promise<WrittenBlock> {
  const { work } = bench;
  const { inputs } = work.setup.tensors[block.tensor]!;
  const lead = new BigInt64Array(work.kernels.memory.buffer, args.lead, 1);
  const positive = Atomics.load(lead, 0) > 0n;
  const guesses = args.guesses === null ? [] : inputs.map(({ model }) => args.guesses![model]!);
  const { proof } = work;
  proof.setRows(guesses.length);
  proof.clearCounters(guesses.length);
  for (const [row, bits] of guesses.entries()) proof.setColumnBits(row, 0, bits);
  let padding = 0;
  const count = ({ inputs: addresses, padded, count, subtract, format }: PreparedTile) => {
    if (guesses.length === 0) return;
    for (const [row, address] of addresses.entries()) proof.setPointer(row, address);
    proof.setTile(padded, 0, subtract, 0);
    work.kernels.get(`count_${format}`)(proof.address);
    padding += padded - count;
  };
  const written = await combineBlock(bench, block, positive ? args.positive : args.negative, count);
  Atomics.add(lead, 0, BigInt(written.counters.positive! - written.counters.negative!));
  const above = guesses.map((_, row) => proof.rowCounter(row, 0));
  // The padding's magnitudes are zero.
  const atLeast = guesses.map((bits, row) => proof.rowCounter(row, 1) - (bits === 0 ? padding : 0));
  return { ...written, proof: { above, atLeast, positive } };
}

async function combineBlock(
  bench: Bench,
  block: CombineBlock,
  given: Arguments,
  before: (tile: PreparedTile) => void,
): Promise<WrittenBlock> {
  const { work, method, sink } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  const changes = method.inputs === "changes";
  const { args, remaining } = spendQuota(given, block.quota);
  const kernel = method.kernel(args);
  const outBytes = DTYPE_BYTES[tensor.dtype];
  const fused = kernel !== null && remaining === null && isKernelDtype(tensor.dtype);
  const extras = Object.keys(tensor.extra).length > 0;
  const counters: Record<string, number> = Object.fromEntries(Object.keys(method.counters).map((name) => [name, 0]));
  let nonFinite = 0;
  let nonFiniteInputs: number[] | null = null;
  if (kernel !== null) setArguments(work, args, tensor.inputs.length);

  await work.forEachTile(block, { changes, floats: !fused || extras }, (tile, again) => {
    before(tile);
    const target = work.blockOut + (tile.start - block.start) * outBytes;
    if (fused && runFused(work, method, kernel, tensor.dtype, tile, target, counters)) return;
    const careful = fused && work.nativeFormat(tensor) !== null ? again() : tile;
    if (remaining !== null) applyQuota(work, careful, args.columns.threshold!, remaining);
    if (kernel === null) defineTile(work, method, careful, args, counters);
    else {
      callKernel(work, work.kernels.get(kernel, "_F32_F32"), careful, work.floatOut);
      addCounters(work, method, counters);
    }
    const bad = work.narrow(tensor.dtype, work.floatOut, target, careful.count);
    if (bad > 0) {
      nonFinite += bad;
      // Of the entries, not the changes: a base that is not finite makes every change so.
      nonFiniteInputs = countNonFinite(work, again(false), nonFiniteInputs);
    }
  });
  return { ...(await write(work, sink, block, tensor.dtype)), counters, nonFinite, nonFiniteInputs };
}

/**
 * A quota of zero is the same as a threshold just above; what is left must be counted entry by entry.
 */
function spendQuota(args: Arguments, quota: Quota): { args: Arguments; remaining: (number | null)[] | null } {
  if (quota === null || quota.every((left) => left === null)) return { args, remaining: null };
  const threshold = args.columns.threshold!.map((value, i) => (quota[i] === 0 ? nextAbove(value) : value));
  const remaining = quota.map((left) => (left === 0 ? null : left));
  const partial = remaining.some((left) => left !== null);
  return { args: { ...args, columns: { ...args.columns, threshold } }, remaining: partial ? remaining : null };
}

/** @returns whether every result is finite; only then do its output and its counters stand. */
function runFused(
  work: Workbench,
  method: Method,
  kernel: string,
  dtype: Dtype,
  tile: PreparedTile,
  target: number,
  counters: Record<string, number>,
): boolean {
  const run = work.kernels.get(kernel, `_${tile.format}_${dtype}`, tile.inputs.length);
  const finite = callKernel(work, run, tile, target) === 1;
  if (finite) addCounters(work, method, counters);
  return finite;
}

function callKernel({ context }: Workbench, kernel: ContextKernel, tile: PreparedTile, target: number): number {
  for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address);
  context.setTile(tile.padded, target, tile.subtract, tile.add);
  context.clearCounters(tile.inputs.length);
  return kernel(context.address);
}

function addCounters({ context }: Workbench, method: Method, counters: Record<string, number>): void {
  for (const [index, counter] of Object.keys(method.counters).entries()) counters[counter]! += context.counter(index);
}

function setArguments({ context }: Workbench, { scalars, columns }: Arguments, inputs: number): void {
  context.setRows(inputs);
  for (const [index, value] of Object.values(scalars).entries()) context.setScalar(index, value);
  for (const [column, values] of Object.values(columns).slice(0, MAX_COLUMNS).entries()) {
    for (let row = 0; row < inputs; row++) context.setColumn(row, column, values[row]!);
  }
}

function defineTile(
  work: Workbench,
  method: Method,
  { inputs, count, add, extra }: PreparedTile,
  args: Arguments,
  counters: Record<string, number>,
): void {
  const tile: Tile = {
    count,
    base: work.floatsAt(add, count),
    inputs: inputs.map((address) => work.floatsAt(address, count)),
    extra: Object.fromEntries(Object.entries(extra).map(([role, address]) => [role, work.floatsAt(address, count)])),
    out: work.floatsAt(work.floatOut, count),
    counters,
  };
  method.combine(tile, args);
}

/**
 * Sets entries equal to the threshold to zero once an input's quota of them is used up; lowest index is kept. Infinities
 * are never trimmed away.
 */
function applyQuota(work: Workbench, tile: PreparedTile, thresholds: readonly number[], remaining: (number | null)[]): void {
  for (const [index, address] of tile.inputs.entries()) {
    const threshold = thresholds[index]!;
    if (remaining[index] === null || threshold === Number.POSITIVE_INFINITY) continue;
    const values = work.floatsAt(address, tile.count);
    for (let p = 0; p < tile.count; p++) {
      if (Math.abs(values[p]!) !== threshold) continue;
      if (remaining[index]! > 0) remaining[index]!--;
      else values[p] = 0;
    }
  }
}

function countNonFinite(work: Workbench, tile: PreparedTile, before: number[] | null): number[] {
  const addresses = [...tile.inputs, tile.add];
  const counts = before ?? addresses.map(() => 0);
  for (const [index, address] of addresses.entries()) {
    for (const value of work.floatsAt(address, tile.count)) if (!Number.isFinite(value)) counts[index]!++;
  }
  return counts;
}

async function write(work: Workbench, sink: Bench["sink"], block: Block, dtype: keyof typeof DTYPE_BYTES): Promise<{ digest: string }> {
  const tensor = work.setup.tensors[block.tensor]!;
  const bytes = block.count * DTYPE_BYTES[dtype];
  const digest = checksumKernel(work.kernels)(work.blockOut, bytes);
  const file = await sink(tensor.file);
  await file.write(tensor.offset + block.start * DTYPE_BYTES[dtype], work.bytesAt(work.blockOut, bytes));
  return { digest };
}

async function copy({ work, sink }: Bench, block: Block): Promise<WrittenBlock> {
  const tensor = work.setup.tensors[block.tensor]!;
  const { stream } = tensor.inputs[0]!;
  let nonFinite = 0;
  if (stream.dtype === tensor.dtype) {
    const bytes = DTYPE_BYTES[stream.dtype];
    const source = await work.source(stream.source);
    await source.read(stream.offset + block.start * bytes, work.bytesAt(work.blockOut, block.count * bytes));
  } else {
    await work.forEachTile(block, { changes: false, floats: true }, (tile) => {
      const target = work.blockOut + (tile.start - block.start) * DTYPE_BYTES[tensor.dtype];
      nonFinite += work.narrow(tensor.dtype, tile.inputs[0]!, target, tile.count);
    });
  }
  const nonFiniteInputs = nonFinite > 0 ? [nonFinite, 0] : null;
  return { ...(await write(work, sink, block, tensor.dtype)), counters: {}, nonFinite, nonFiniteInputs };
}

/** @returns the digest of a block as it lies in the output file. */
async function reread({ work, written }: Bench, block: Block): Promise<string> {
  const tensor = work.setup.tensors[block.tensor]!;
  const bytes = block.count * DTYPE_BYTES[tensor.dtype];
  const file = await written(tensor.file);
  await file.read(tensor.offset + block.start * DTYPE_BYTES[tensor.dtype], work.bytesAt(work.blockOut, bytes));
  return checksumKernel(work.kernels)(work.blockOut, bytes);
}

async function sample({ work }: Bench, block: SampleBlock, { buffers }: SampleArgs): Promise<null> {
  const tensor = work.setup.tensors[block.tensor]!;
  await work.forEachTile(block, { changes: true, floats: true }, (tile) => {
    for (const [index, address] of tile.inputs.entries()) {
      const target = buffers[tensor.inputs[index]!.model]! + (block.slots[index]! + tile.start - block.start) * 4;
      const from = new Uint32Array(work.kernels.memory.buffer, address, tile.count);
      const to = new Uint32Array(work.kernels.memory.buffer, target, tile.count);
      for (let p = 0; p < tile.count; p++) to[p] = from[p]! & 0x7fff_ffff;
    }
  });
  return null;
}

async function survey({ work }: Bench, block: Block, { rows }: SurveyArgs): Promise<SurveyPart> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const { context } = work;
  context.setRows(inputs.length);
  context.clearCounters(inputs.length);
  const rowsOf = inputs.map(({ model }) => rows[model]!);
  for (const [index, { high, guess, low, bins, shift }] of rowsOf.entries()) {
    for (const [column, bits] of [high, guess, low, bins, shift].entries()) context.setColumnBits(index, column, bits);
  }
  let padding = 0;
  await work.forEachTile(block, { changes: true, floats: false }, (tile) => {
    for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address);
    context.setTile(tile.padded, 0, tile.subtract, 0);
    work.kernels.get(`survey_${tile.format}`)(context.address);
    padding += tile.padded - tile.count;
  });
  // The padding's magnitudes are zero: they were counted wherever zero is inside.
  for (const { low, guess, bins, shift } of rowsOf) {
    if (padding === 0 || low !== -1 || guess === 0) continue;
    Atomics.sub(new Uint32Array(work.kernels.memory.buffer, bins, MAX_BINS), 1 >>> shift, padding);
  }
  return {
    atHigh: inputs.map((_, index) => context.rowCounter(index, 0)),
    above: inputs.map((_, index) => context.rowCounter(index, 1)),
    atLeast: rowsOf.map(({ guess }, index) => context.rowCounter(index, 2) - (guess === 0 ? padding : 0)),
  };
}

/** Moments of one block, in entry order. */
async function moments({ work }: Bench, block: CombineBlock, { trim }: MomentsArgs): Promise<readonly Moments[]> {
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

const BINS = 32_768;
const MANTISSA = 0x80_0000;

async function energyBins({ work }: Bench, block: Block): Promise<readonly EnergyBins[]> {
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
async function patterns({ work }: Bench, block: Block, { bins }: { readonly bins: readonly number[] }): Promise<readonly Float64Array[]> {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const parts = inputs.map(() => new Float64Array(65_536));
  await forEachMagnitude(work, block, (index, bits) => {
    if (bits >>> 16 === bins[inputs[index]!.model]) parts[index]![bits & 0xffff]!++;
  });
  return parts;
}

async function forEachMagnitude(work: Workbench, block: Block, use: (index: number, bits: number) => void): Promise<void> {
  await work.forEachTile(block, { changes: true, floats: true }, (tile) => {
    for (const [index, address] of tile.inputs.entries()) {
      const bits = new Uint32Array(work.kernels.memory.buffer, address, tile.count);
      for (let p = 0; p < tile.count; p++) use(index, bits[p]! & 0x7fff_ffff);
    }
  });
}
