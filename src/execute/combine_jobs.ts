/** Jobs that write: combine inputs into a block of the output, copy one, and read back what was written. */
import { checksumKernel } from "../kernels/checksum/binding.js";
import { finiteKernel } from "../kernels/finite/binding.js";
import { keepFirstKernel } from "../kernels/quota/binding.js";
import { MAX_COLUMNS } from "../kernels/context.js";
import type { ContextKernel } from "../kernels/load.js";
import type { Arguments, Combination, Method, Tile } from "../methods/method.js";
import { weightedSum } from "../methods/mixture.js";
import { nextAbove } from "../numbers/convert.js";
import { DTYPE_BYTES, isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { Bench } from "./bench.js";
import type { Block } from "./blocks.js";
import type {
  AssumeArgs,
  CombineArgs,
  CombineBlock,
  Quota,
  RehearseArgs,
  Rehearsal,
  WrittenBlock,
} from "./job_types.js";
import type { WorkTensor } from "./setup.js";
import { measureRows, spreadRows } from "./measure_rows.js";
import { isKernelDtype } from "./workbench.js";
import type { PreparedTile, Workbench } from "./workbench.js";

export function combine(bench: Bench, block: CombineBlock, { args }: CombineArgs): Promise<WrittenBlock> {
  return combineBlock(bench, block, args, () => {});
}

export async function assume(bench: Bench, block: CombineBlock, args: AssumeArgs): Promise<WrittenBlock> {
  const lead = new BigInt64Array(bench.work.kernels.memory.buffer, args.lead, 1);
  const positive = Atomics.load(lead, 0) > 0n;
  const prover = guessProver(bench.work, block, args.guesses);
  const written = await combineBlock(bench, block, positive ? args.positive : args.negative, prover.count);
  // A method without votes has neither.
  Atomics.add(lead, 0, BigInt((written.counters.positive ?? 0) - (written.counters.negative ?? 0)));
  return { ...written, proof: { ...prover.result, positive } };
}

/** Combines a block only to count. */
export async function rehearse(bench: Bench, block: CombineBlock, args: RehearseArgs): Promise<Rehearsal> {
  const { work } = bench;
  const prover = guessProver(work, block, args.guesses);
  const { counters } = await combineInto(bench, block, args.args, work.blockOut, prover.count);
  return { counters, ...prover.result };
}

/** Counts the magnitudes of a block's inputs above and at or above guessed thresholds, tile by tile. */
function guessProver(work: Workbench, block: Block, guessed: AssumeArgs["guesses"]) {
  const { inputs } = work.setup.tensors[block.tensor]!;
  const guesses = guessed === null ? [] : inputs.map(({ model }) => guessed[model]!);
  const above = guesses.map(() => 0);
  const atLeast = guesses.map(() => 0);
  const count = ({ inputs: addresses, padded, count, subtract, format }: PreparedTile) => {
    if (guesses.length === 0) return;
    const { proof } = work;
    proof.setRows(guesses.length);
    proof.clearCounters(guesses.length);
    for (const [row, address] of addresses.entries()) {
      proof.setPointer(row, address);
      proof.setColumnBits(row, 0, guesses[row]!);
    }
    proof.setTile(padded, 0, subtract, 0, work.scratch);
    work.kernels.get(`count_${format}`)(proof.address);
    for (const [row, bits] of guesses.entries()) {
      above[row]! += proof.rowCounter(row, 0);
      // The padding's magnitudes are zero.
      atLeast[row]! += proof.rowCounter(row, 1) - (bits === 0 ? padded - count : 0);
    }
  };
  return { count, result: { above, atLeast } };
}

/**
 * @param before told of each tile as it was read.
 * @param after told of each tile when its result lies at `target` in the output's format.
 */
export async function combineBlock(
  bench: Bench,
  block: CombineBlock,
  args: Arguments,
  before: (tile: PreparedTile) => void,
  after: (tile: PreparedTile, target: number) => void = () => {},
): Promise<WrittenBlock> {
  const { work } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  const { position, bytes } = placeOf(tensor, block);
  const out = work.blockFor(position);
  const { counters, nonFinite, nonFiniteInputs } = await combineInto(bench, block, args, out, before, after);
  const digest = await write(bench, tensor.file, position, out, bytes);
  return { digest, counters, nonFinite, nonFiniteInputs };
}

/** A block or a part of one, combined in kernel memory. */
export interface Combined extends Omit<WrittenBlock, "digest" | "proof"> {
  /** What is left of the block's quota behind these entries. */
  readonly quota: Quota;
}

/**
 * Combines a run of entries of one block.
 * @param out where the results go: an address of kernel memory, in the tensor's format.
 */
export async function combineInto(
  { work, method }: Pick<Bench, "work" | "method">,
  block: CombineBlock,
  given: Arguments,
  out: number,
  before: (tile: PreparedTile) => void,
  after: (tile: PreparedTile, target: number) => void = () => {},
): Promise<Combined> {
  const tensor = work.setup.tensors[block.tensor]!;
  const combination = combinationOf(method);
  const changes = method.inputs === "changes";
  const { args, remaining } = spendQuota(given, block.quota);
  const kernel = combination.kernel(args);
  const outBytes = DTYPE_BYTES[tensor.dtype];
  const fused = kernel !== null && isKernelDtype(tensor.dtype);
  const extras = Object.keys(tensor.extra).length > 0;
  const counters: Record<string, number> = Object.fromEntries(Object.keys(method.counters).map((name) => [name, 0]));
  let nonFinite = 0;
  let nonFiniteInputs: number[] | null = null;
  if (kernel !== null) setArguments(work, args, tensor.inputs.length);
  const measure = method.grain === "tile" ? (method.rows?.(args) ?? null) : null;
  const measures = measure === null ? null : await measureRows(work, block, measure);
  const isPlain = fused && !extras && remaining === null && measure === null;
  const masked = isPlain ? maskedKernelOf(work, method, block.tensor, args) : null;

  await work.forEachTile(block, { changes, floats: !fused || extras, masked: masked !== null }, (tile, again) => {
    before(tile);
    if (measures !== null) spreadRows(work, measures, tile);
    const target = out + (tile.start - block.start) * outBytes;
    // Only the tile in which a quota ends is counted entry by entry.
    const ends = remaining !== null && (!fused || !spendInTile(work, tile, args, remaining));
    const isMasked = tile.masks !== undefined;
    const fusedKernel = isMasked ? masked! : kernel!;
    if (fused && !ends && runFused(work, method, fusedKernel, tensor.dtype, tile, target, counters))
      return after(tile, target);
    const careful = fused && (isMasked || work.nativeFormat(block.tensor) !== null) ? again() : tile;
    if (ends) applyQuota(work, careful, args.columns.threshold!, remaining);
    if (kernel === null) defineTile(work, combination, careful, args, counters);
    else {
      callKernel(work, work.kernels.get(kernel, "_F32_F32"), careful, work.floatOut);
      addCounters(work, method, counters);
    }
    const bad = work.narrow(tensor.dtype, work.floatOut, target, careful.count);
    if (bad > 0) {
      nonFinite += bad;
      // Of the entries, not the changes: a base that is not finite makes every change so.
      const { inputs, add, count } = again(false);
      nonFiniteInputs = countNonFinite(work, [...inputs, add], count, nonFiniteInputs);
    }
    after(bad > 0 ? again() : careful, target);
  });
  // Only what is counted entry by entry can have become less.
  const quota = remaining === null ? block.quota : block.quota!.map((left, i) => remaining[i] ?? left);
  return { counters, nonFinite, nonFiniteInputs, quota };
}

/** A kernel that prunes a tensor's entries by masks, as they are stored, while it combines them. */
function maskedKernelOf(work: Workbench, method: Method, tensor: number, args: Arguments): string | null {
  const { dtype, inputs } = work.setup.tensors[tensor]!;
  const kernel = method.grain === "tile" ? (method.maskedKernel?.(args) ?? null) : null;
  if (kernel === null || work.storedFormat(tensor) !== dtype) return null;
  return work.kernels.has(kernel, `_${dtype}_${dtype}`, inputs.length) ? kernel : null;
}

/** What makes a tile: of a method of matrices, the rule for everything that is none. */
function combinationOf(method: Method): Combination {
  if (method.grain === "tile") return method;
  return method.grain === "matrix" ? method.otherwise : weightedSum;
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

/**
 * Spends quotas on a whole tile: sets, for the kernel, the threshold of each input with a quota to what keeps all entries
 * equal to it, or none. @returns false, with nothing spent, where some input keeps only the first of them.
 */
function spendInTile(work: Workbench, tile: PreparedTile, args: Arguments, remaining: (number | null)[]): boolean {
  const { proof, context, kernels, scratch } = work;
  const thresholds = args.columns.threshold!;
  const column = Object.keys(args.columns).indexOf("threshold");
  proof.setRows(remaining.length);
  proof.clearCounters(remaining.length);
  for (const [row, address] of tile.inputs.entries()) {
    proof.setPointer(row, address);
    proof.setColumn(row, 0, thresholds[row]!);
  }
  proof.setTile(tile.padded, 0, tile.subtract, 0, scratch);
  kernels.get(`count_${tile.format}`)(proof.address);
  const padding = tile.padded - tile.count;
  const equal = thresholds.map(
    (threshold, row) => proof.rowCounter(row, 1) - proof.rowCounter(row, 0) - (threshold === 0 ? padding : 0),
  );
  const isWhole = remaining.every((left, row) => left === null || left === 0 || equal[row]! <= left);
  for (const [row, left] of remaining.entries()) {
    if (left === null) continue;
    context.setColumn(row, column, left === 0 ? nextAbove(thresholds[row]!) : thresholds[row]!);
    if (isWhole && left > 0) remaining[row] = left - equal[row]!;
  }
  return isWhole;
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

function callKernel(
  { context, scratch, rowStream }: Workbench,
  kernel: ContextKernel,
  tile: PreparedTile,
  target: number,
): number {
  for (const [row, address] of tile.inputs.entries()) {
    context.setPointer(row, address);
    const sums = tile.extra[`statistics.${row}`];
    if (sums !== undefined) context.setSums(row, sums);
    const mask = tile.masks?.[row];
    if (mask === undefined) continue;
    context.setColumnBits(row, 1, mask.address);
    context.setColumn(row, 2, mask.scale);
  }
  context.setTile(tile.padded, target, tile.subtract, tile.add, scratch);
  context.setEntries(tile.count);
  context.setStream(rowStream);
  context.clearCounters(tile.inputs.length);
  return kernel(context.address);
}

function addCounters({ context }: Workbench, method: Method, counters: Record<string, number>): void {
  for (const [index, counter] of Object.keys(method.counters).entries()) counters[counter]! += context.counter(index);
}

/** Puts a method's numbers where kernels find them. */
export function setArguments(
  { context, kernels, scratch }: Workbench,
  { scalars, columns, table }: Arguments,
  inputs: number,
): void {
  context.setRows(inputs);
  if (table !== undefined) context.setTable(kernels.memory, scratch, inputs, table);
  for (const [index, value] of Object.values(scalars).entries()) context.setScalar(index, value);
  for (const [column, values] of Object.values(columns).slice(0, MAX_COLUMNS).entries()) {
    for (let row = 0; row < inputs; row++) context.setColumn(row, column, values[row]!);
  }
}

function defineTile(
  work: Workbench,
  combination: Combination,
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
    ...(work.setup.measured && { rows: work.floatsAt(work.rowStream, count) }),
    counters,
  };
  combination.combine(tile, args);
}

/** Sets entries equal to the threshold to zero once an input's quota of them is used up; lowest index is kept. */
function applyQuota(
  work: Workbench,
  tile: PreparedTile,
  thresholds: readonly number[],
  remaining: (number | null)[],
): void {
  const keep = keepFirstKernel(work.kernels);
  for (const [index, address] of tile.inputs.entries()) {
    const left = remaining[index]!;
    if (left !== null) remaining[index] = keep(address, tile.count, thresholds[index]!, left);
  }
}

/** Adds, per stream of f32 entries, how many are NaN or infinite. */
export function countNonFinite(
  work: Workbench,
  addresses: readonly number[],
  count: number,
  before: number[] | null,
): number[] {
  const counts = before ?? addresses.map(() => 0);
  for (const [index, address] of addresses.entries()) {
    for (const value of work.floatsAt(address, count)) if (!Number.isFinite(value)) counts[index]!++;
  }
  return counts;
}

/** @returns the digest of what is written. */
export async function write(
  { work, sink }: Bench,
  file: number,
  position: number,
  address: number,
  bytes: number,
): Promise<string> {
  const digest = checksumKernel(work.kernels)(address, bytes);
  const target = await sink(file);
  await target.write(position, work.bytesAt(address, bytes));
  return digest;
}

/** Where a block lies in its output file, and how many bytes it has. */
export function placeOf({ offset, dtype }: WorkTensor, { start, count }: Block): { position: number; bytes: number } {
  return { position: offset + start * DTYPE_BYTES[dtype], bytes: count * DTYPE_BYTES[dtype] };
}

export async function copy(bench: Bench, block: Block): Promise<WrittenBlock> {
  const { work } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  const { position, bytes } = placeOf(tensor, block);
  const out = work.blockFor(position);
  const nonFinite = await copyInto(work, block, out);
  const digest = await write(bench, tensor.file, position, out, bytes);
  return { digest, counters: {}, nonFinite, nonFiniteInputs: nonFinite > 0 ? [nonFinite, 0] : null };
}

/** Copies a run of entries to an address of kernel memory. @returns how many are NaN or infinite. */
export async function copyInto(work: Workbench, block: Block, out: number): Promise<number> {
  const tensor = work.setup.tensors[block.tensor]!;
  const { stream } = tensor.inputs[0]!;
  const { bytes } = placeOf(tensor, block);
  let nonFinite = 0;
  if (stream.dtype === tensor.dtype && stream.round === undefined) {
    const source = await work.source(stream.source);
    await source.read(stream.offset + block.start * DTYPE_BYTES[stream.dtype], work.bytesAt(out, bytes));
    if (isFloat(stream.dtype)) nonFinite = finiteKernel(work.kernels)(stream.dtype, out, block.count);
  } else {
    await work.forEachTile(block, { changes: false, floats: true }, (tile) => {
      const target = out + (tile.start - block.start) * DTYPE_BYTES[tensor.dtype];
      nonFinite += work.narrow(tensor.dtype, tile.inputs[0]!, target, tile.count);
    });
  }
  return nonFinite;
}

/** @returns the digests of a block, and of the masks over it, as they lie in the output files; see `digestsOf`. */
export async function reread({ work, written }: Bench, block: Block): Promise<string> {
  const tensor = work.setup.tensors[block.tensor]!;
  const { position, bytes } = placeOf(tensor, block);
  const digests: string[] = [];
  const masks = tensor.masks.map(({ file, offset }) => ({ file, ...maskPlace(offset, block) }));
  for (const place of [{ file: tensor.file, position, bytes }, ...masks]) {
    const file = await written(place.file);
    await file.read(place.position, work.bytesAt(work.blockOut, place.bytes));
    digests.push(checksumKernel(work.kernels)(work.blockOut, place.bytes));
  }
  return digests.join(" ");
}

/** What `reread` gives for a block that is as it was written. */
export function digestsOf({ digest, masks = [] }: WrittenBlock): string {
  return [digest, ...masks.map((mask) => mask.digest)].join(" ");
}

/** Where the bits of a block lie in a file of masks; a block begins on a whole byte. */
export function maskPlace(offset: number, { start, count }: Block): { position: number; bytes: number } {
  return { position: offset + start / 8, bytes: Math.ceil(count / 8) };
}
