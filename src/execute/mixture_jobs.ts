/** Jobs of methods that mix: inner products of a tensor's, row's or column's vectors, and weighted sums that follow. */
import { ColumnGramSum, GramSum } from "../kernels/gram/binding.js";
import type { ContextKernel } from "../kernels/load.js";
import type { Gram, MixtureMethod, Settings } from "../methods/method.js";
import { argumentsOf, baseOf, mixtureOf } from "../methods/mixture.js";
import type { Bench } from "./bench.js";
import type { Block } from "./blocks.js";
import { BlockEntries } from "./block_entries.js";
import { placeOf, write } from "./combine_jobs.js";
import type { ColumnsArgs, ColumnsBlock, MixArgs, WrittenBlock } from "./job_types.js";
import type { WorkTensor } from "./setup.js";
import type { PreparedTile, Workbench } from "./workbench.js";

/** The parts of a bench that do not write. */
type Place = Pick<Bench, "work" | "method">;

/** What a job of this room needs of its bench: the method, and where the base stands. */
function mixing({ work, method }: Place, block: Block) {
  if (method.grain !== "mixture") throw new RangeError(`${method.name} does not mix`);
  const tensor = work.setup.tensors[block.tensor]!;
  const base = baseOf(method, tensor.base !== null);
  const vectors = tensor.inputs.length + (base === "member" ? 1 : 0);
  const changes = method.inputs === "changes";
  return { method, tensor, base, vectors, changes };
}

/** Addresses of a tile's vectors, `offset` f32 entries further. */
function vectorsIn({ inputs, add }: PreparedTile, base: Gram["base"], offset = 0): number[] {
  const addresses = base === "member" ? [...inputs, add] : inputs;
  return addresses.map((address) => address + offset * 4);
}

/** Inner products over one block; see `Gram.products`. */
export async function gram(bench: Bench, block: Block): Promise<readonly number[]> {
  const { work } = bench;
  const { base, vectors, changes } = mixing(bench, block);
  const sum = new GramSum(work.kernels, work.context, work.gram, vectors);
  await work.forEachTile(block, { changes, floats: false }, (tile) => {
    sum.add({ format: tile.format, count: tile.count, subtract: tile.subtract, inputs: vectorsIn(tile, base) });
  });
  return sum.result();
}

export async function mixRows(bench: Bench, block: Block, args: MixArgs): Promise<WrittenBlock> {
  return writeBlock(bench, block, (out) => mixRowsInto(bench, block, args, out));
}

async function writeBlock(
  bench: Bench,
  block: Block,
  fill: (out: number) => Promise<BlockEntries>,
): Promise<WrittenBlock> {
  const { work } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  const { position, bytes } = placeOf(tensor, block);
  const out = work.blockFor(position);
  const { nonFinite, nonFiniteInputs } = await fill(out);
  const digest = await write(bench, tensor.file, position, out, bytes);
  return { digest, counters: {}, nonFinite, nonFiniteInputs };
}

/**
 * Rows at once: each one's inner products, its coefficients and its sum, without a pass for them. A row that the block
 * cuts is read whole, so that its neighbour finds the same coefficients.
 * @param address where the results go: an address of kernel memory, in the tensor's format.
 */
export async function mixRowsInto(
  bench: Place,
  block: Block,
  { settings }: MixArgs,
  address: number,
): Promise<BlockEntries> {
  const { work } = bench;
  const { method, tensor, base, vectors, changes } = mixing(bench, block);
  const length = tensor.shape.at(-1)!;
  const sum = new GramSum(work.kernels, work.proof, work.gram, vectors);
  const out = new BlockEntries(work, block, address);
  const wanted = { changes, floats: true };
  const blend = new Blend(work, tensor, method, settings);
  const first = Math.floor(block.start / length);
  const end = Math.ceil((block.start + block.count) / length);
  if (length <= work.setup.tileEntries) {
    const rows = { tensor: block.tensor, start: first * length, count: (end - first) * length };
    await work.forEachTile(rows, { ...wanted, runs: length }, (tile, again) => {
      for (let at = 0; at < tile.count; at += length) {
        sum.clear();
        sum.add({ format: "F32", count: length, subtract: tile.subtract, inputs: vectorsIn(tile, base, at) });
        blend.mix({ vectors, base, products: sum.result() });
        blend.add(tile, at, length);
      }
      out.take(tile, again);
    });
    return out;
  }
  for (let row = first; row < end; row++) {
    const start = row * length;
    sum.clear();
    await work.forEachTile({ tensor: block.tensor, start, count: length }, wanted, (tile) => {
      sum.add({ format: "F32", count: tile.count, subtract: tile.subtract, inputs: vectorsIn(tile, base) });
    });
    blend.mix({ vectors, base, products: sum.result() });
    const from = Math.max(start, block.start);
    const to = Math.min(start + length, block.start + block.count);
    await work.forEachTile({ tensor: block.tensor, start: from, count: to - from }, wanted, (tile, again) => {
      blend.add(tile, 0, tile.count);
      out.take(tile, again);
    });
  }
  return out;
}

/** The weighted sum of runs of f32 entries, into the bench's `floatOut`. */
class Blend {
  readonly #work: Workbench;
  readonly #tensor: WorkTensor;
  readonly #method: MixtureMethod;
  readonly #settings: Settings;
  readonly #kernel: ContextKernel;

  constructor(work: Workbench, tensor: WorkTensor, method: MixtureMethod, settings: Settings) {
    this.#work = work;
    this.#tensor = tensor;
    this.#method = method;
    this.#settings = settings;
    this.#kernel = work.kernels.get("mixture", "_F32_F32");
  }

  mix(gram: Gram): void {
    const mixture = mixtureOf(this.#method, gram, this.#settings, this.#tensor.name);
    const { scalars, columns } = argumentsOf(mixture, gram);
    const { context } = this.#work;
    context.setRows(mixture.models.length);
    context.setScalar(0, scalars.share!);
    for (const [row, weight] of columns.weight!.entries()) context.setColumn(row, 0, weight);
  }

  /** Writes up to seven entries more, which the next run writes again. */
  add({ inputs, subtract, add }: PreparedTile, at: number, count: number): void {
    const { context, floatOut } = this.#work;
    for (const [row, address] of inputs.entries()) context.setPointer(row, address + at * 4);
    context.setTile(Math.ceil(count / 8) * 8, floatOut + at * 4, subtract, add + at * 4);
    this.#kernel(context.address);
  }
}

/** The table of coefficients of a tensor's columns: f32, a stretch of columns per model and one for the base. */
export function tableBytes(models: number, columns: number): number {
  return (models + 1) * stretchOf(columns);
}

/** Kernels read up to three entries behind a stretch's last; aligned. */
function stretchOf(columns: number): number {
  return Math.ceil((columns + 3) / 16) * 64;
}

/** Entries of a row of a tensor whose columns run along the first axis. */
export function columnsOf({ shape, entries }: Pick<WorkTensor, "shape" | "entries">): number {
  return entries / shape[0]!;
}

/** Coefficients of a stripe of columns, from all of their entries, into the table. */
export async function mixColumns(bench: Bench, block: ColumnsBlock, { settings, table }: ColumnsArgs): Promise<null> {
  const { work } = bench;
  const { method, tensor, base, vectors, changes } = mixing(bench, block);
  const width = columnsOf(tensor);
  const { first, columns } = block;
  // Nothing is written, so the room for a block's output is free.
  const sum = new ColumnGramSum(work.kernels, work.context, work.blockOut, vectors, columns);
  const wanted = { changes, floats: true };
  if (columns === width && width <= work.setup.tileEntries) {
    await work.forEachTile({ ...block, start: 0, count: tensor.entries }, { ...wanted, runs: width }, (tile) => {
      for (let at = 0; at < tile.count; at += width) sum.add(0, width, vectorsIn(tile, base, at));
    });
  } else {
    for (let row = first; row < tensor.entries; row += width) {
      await work.forEachTile({ ...block, start: row, count: columns }, wanted, (tile) => {
        sum.add(tile.start - row, tile.count, vectorsIn(tile, base));
      });
    }
  }
  const { inputs } = tensor;
  const stretches = Array.from({ length: inputs.length + 1 }, (_, row) =>
    work.floatsAt(table + row * stretchOf(width), width),
  );
  for (let column = 0; column < columns; column++) {
    const products = { vectors, base, products: sum.result(column) };
    const mixture = mixtureOf(method, products, settings, tensor.name);
    const args = argumentsOf(mixture, products);
    for (const [row, weight] of args.columns.weight!.entries()) stretches[row]![first + column] = weight;
    stretches[inputs.length]![first + column] = args.scalars.share!;
  }
  return null;
}

/** Weighted sums with the table's coefficients. */
export async function combineColumns(bench: Bench, block: Block, args: ColumnsArgs): Promise<WrittenBlock> {
  return writeBlock(bench, block, (out) => combineColumnsInto(bench, block, args, out));
}

/** @param address where the results go: an address of kernel memory, in the tensor's format. */
export async function combineColumnsInto(
  bench: Place,
  block: Block,
  { table }: Pick<ColumnsArgs, "table">,
  address: number,
): Promise<BlockEntries> {
  const { work } = bench;
  const { context } = work;
  const { tensor, changes } = mixing(bench, block);
  const width = columnsOf(tensor);
  const stretch = stretchOf(width);
  const kernel = work.kernels.get("mixture_columns", "_F32_F32");
  const out = new BlockEntries(work, block, address);
  context.setRows(tensor.inputs.length);
  await work.forEachTile(block, { changes, floats: true }, (tile, again) => {
    for (let at = 0; at < tile.count; ) {
      const column = (tile.start + at) % width;
      const count = Math.min(width - column, tile.count - at);
      for (const [row, address] of tile.inputs.entries()) {
        context.setPointer(row, address + at * 4);
        context.setColumnBits(row, 0, table + row * stretch + column * 4);
      }
      const shares = table + tensor.inputs.length * stretch + column * 4;
      context.setTile(count, work.floatOut + at * 4, 0, tile.add + at * 4, shares);
      kernel(context.address);
      at += count;
    }
    out.take(tile, again);
  });
  return out;
}
