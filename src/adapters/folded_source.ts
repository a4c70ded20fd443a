/**
 * The weights of a base with adapters as bytes that nobody stored, in F32, computed where they are read: the definition of
 * every kind of term (sources/folded.ts), over runs of at most 65,536 entries. What is held is one such run and the factors
 * of one tensor, in a WebAssembly memory of the source's own.
 *
 *     W' = W + P                                    where there are products only: in f32
 *     W' = c W + P + Σ (everything else)            else: in f64, rounded once to f32
 *
 * Vectors that divide (unfolding) divide the whole by 1 + Σ w (l - 1). P is the sum of all products in f32. c = 1 + Σ w (l - 1) over the vectors that scale an entry, - w for each value that
 * replaces it and for each decomposed weight.
 */
import { readTensor } from "../formats/safetensors/read.js";
import { convertKernels } from "../kernels/convert/binding.js";
import type { ConvertKernels, KernelDtype } from "../kernels/convert/binding.js";
import { compileKernels, createMemory, loadKernels, PAGE_BYTES } from "../kernels/load.js";
import { lowRankKernel } from "../kernels/low_rank/binding.js";
import type { LowRankKernel } from "../kernels/low_rank/binding.js";
import { widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type {
  Factor,
  FoldedLayout,
  FoldedPart,
  FoldedTensor,
  FoldedTerm,
  FoldedValues,
  Product,
} from "../sources/folded.js";
import { checkRange, closedError, tensorAt } from "../sources/range.js";
import type { ByteSource } from "../sources/source.js";
import { defect } from "./defect.js";

/** Of an f32. */
const WIDTH = 4;
/** Entries that are computed together; buffers for them fit into the second-level cache. */
const RUN = 65_536;
/** A and B of the two parameters of a layer's experts, for two adapters. */
const MOST_SHARED = 8;

/** @param files the layout's, opened in its order; closed with the source. */
export function foldedSource(
  layout: FoldedLayout,
  files: readonly ByteSource[],
  { label, stamp }: Pick<ByteSource, "label" | "stamp">,
): ByteSource {
  let bench: Bench | null = null;
  let open = true;
  // Runs share the buffers, so that one must be copied before the next is computed.
  let last: Promise<void> = Promise.resolve();
  return {
    label,
    stamp,
    address: { kind: "folded", layout },
    read(offset, into) {
      if (!open) throw closedError(label);
      checkRange(label, stamp.size, offset, into.length);
      bench ??= new Bench(layout, files);
      const own = bench;
      const reading = last.then(() => own.read(offset, into));
      last = reading.catch(() => {});
      return reading;
    },
    async close() {
      open = false;
      bench = null;
      for (const file of files) await file.close();
    },
  };
}

/** A product with its factors in kernel memory: left is (batch) rows x rank, right (batch) rank x columns. */
interface Loaded {
  readonly rank: number;
  readonly left: number;
  readonly right: number;
}

/** What is held of the tensor at hand. */
interface Held {
  readonly tensor: FoldedTensor;
  /** All products of kind `product`, joined along the rank; `null` where there is none. */
  readonly sum: Loaded | null;
  /** Of each other term; in the order of `others`. */
  readonly others: readonly OtherTerm[];
}

type OtherTerm =
  | {
      readonly kind: "decomposed";
      readonly weight: number;
      readonly product: Loaded;
      readonly magnitude: Float32Array;
      readonly byRows: boolean;
      /** Per row or column; NaN: not known yet. */
      readonly norms: Float64Array;
    }
  | {
      readonly kind: "scaled";
      readonly weight: number;
      readonly divides: boolean;
      readonly from: FoldedValues;
      readonly vector: Float32Array;
      readonly byRows: boolean;
      readonly repeat: number;
    }
  | { readonly kind: "replaced"; readonly weight: number; readonly values: FoldedValues; run: Float32Array }
  | {
      readonly kind: "rows";
      readonly weight: number;
      /** Row of the values by row of the tensor. */
      readonly places: ReadonlyMap<number, number>;
      readonly values: Float32Array;
    }
  | { readonly kind: "added"; readonly scale: number; readonly values: Float32Array };

/** Compiled once per thread. */
let compiled: WebAssembly.Module | null = null;

class Bench {
  readonly #memory: WebAssembly.Memory;
  readonly #lowRank: LowRankKernel;
  readonly #convert: ConvertKernels;
  /** Addresses: entries as stored; as f32; the sum of products; W + a decomposed product. */
  readonly #raw: number;
  readonly #weights: number;
  readonly #sum: number;
  readonly #directions: number;
  /** The first byte behind the buffers: where factors begin. */
  readonly #heap: number;
  #held: Held | null = null;
  /** Norms of decomposed weights by tensor and term: small, and dear to compute again. */
  readonly #norms = new Map<string, Float64Array>();
  /** Factors of experts that the base stores one by one, the last used at the end. */
  readonly #shared = new Map<string, Float32Array>();

  constructor(
    readonly layout: FoldedLayout,
    readonly files: readonly ByteSource[],
  ) {
    // Behind the kernels' own constants.
    const start = 4096;
    this.#raw = start;
    this.#weights = start + RUN * 8;
    this.#sum = this.#weights + RUN * WIDTH;
    this.#directions = this.#sum + RUN * WIDTH;
    this.#heap = this.#directions + RUN * WIDTH;
    this.#memory = createMemory(this.#heap + PAGE_BYTES, false);
    const kernels = loadKernels(this.#memory, (compiled ??= compileKernels(false)));
    this.#lowRank = lowRankKernel(kernels);
    this.#convert = convertKernels(kernels);
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const { tensors } = this.layout;
    for (let done = 0; done < into.length; ) {
      const index = tensorAt(tensors, offset + done);
      const tensor = tensors[index]!;
      const at = offset + done - tensor.offset;
      const first = Math.floor(at / WIDTH);
      const skip = at - first * WIDTH;
      const entries = Math.min(entriesOf(tensor) - first, RUN);
      const bytes = Math.min(into.length - done, entries * WIDTH - skip);
      const held = await this.#hold(index);
      const address = await this.#compute(held, first, Math.ceil((skip + bytes) / WIDTH));
      into.set(new Uint8Array(this.#memory.buffer, address + skip, bytes), done);
      done += bytes;
    }
  }

  #floats(address: number, count: number): Float32Array {
    return new Float32Array(this.#memory.buffer, address, count);
  }

  /** @returns the address of the run's entries. */
  async #compute(held: Held, first: number, count: number): Promise<number> {
    const { tensor, sum, others } = held;
    await this.#readBase(tensor, first, count);
    if (others.length === 0) {
      if (sum !== null) this.#addProduct(tensor, sum, this.#weights, first, count);
      return this.#weights;
    }
    this.#floats(this.#sum, count).fill(0);
    if (sum !== null) this.#addProduct(tensor, sum, this.#sum, first, count);
    for (const other of others) {
      if (other.kind === "decomposed") await this.#knowNorms(tensor, other, first, count);
      if (other.kind === "replaced") {
        const { file, offset, dtype } = other.values;
        const part = { file, offset: offset + first * DTYPE_BYTES[dtype], dtype, entries: count };
        other.run = await this.#values(part, other.values);
      }
    }
    // Norms are made of other runs, which went through the same buffers.
    if (others.some(({ kind }) => kind === "decomposed")) await this.#readBase(tensor, first, count);
    this.#combine(held, first, count);
    return this.#weights;
  }

  /** The definition of every kind but the product. */
  #combine({ tensor, others }: Held, first: number, count: number): void {
    const { columns } = tensor;
    const weights = this.#floats(this.#weights, count);
    const products = this.#floats(this.#sum, count);
    const own = new Float64Array(count).fill(1);
    const more = Float64Array.from(products);
    const under = others.some((other) => other.kind === "scaled" && other.divides)
      ? new Float64Array(count).fill(1)
      : null;
    for (const other of others) {
      const { kind } = other;
      if (kind === "decomposed") {
        const directions = this.#floats(this.#directions, count);
        directions.set(weights);
        this.#addProduct(tensor, other.product, this.#directions, first, count);
        const { weight, byRows, norms, magnitude } = other;
        for (let p = 0; p < count; p++) {
          const place = byRows ? Math.floor((first + p) / columns) : (first + p) % columns;
          const norm = norms[place]!;
          own[p]! -= weight;
          if (norm > 0) more[p]! += weight * (magnitude[place]! / norm) * directions[p]!;
        }
      } else if (kind === "scaled") {
        const { weight, byRows, vector, repeat } = other;
        for (let p = 0; p < count; p++) {
          const place = byRows ? Math.floor((first + p) / columns) : Math.floor(((first + p) % columns) / repeat);
          (other.divides ? under! : own)[p]! += weight * (vector[place]! - 1);
        }
      } else if (kind === "replaced") {
        const { weight, run } = other;
        for (let p = 0; p < count; p++) {
          own[p]! -= weight;
          more[p]! += weight * run[p]!;
        }
      } else if (kind === "rows") {
        const { weight, places, values } = other;
        for (let p = 0; p < count; p++) {
          const row = places.get(Math.floor((first + p) / columns));
          if (row === undefined) continue;
          own[p]! -= weight;
          more[p]! += weight * values[row * columns + ((first + p) % columns)]!;
        }
      } else {
        for (let p = 0; p < count; p++) more[p]! += other.scale * other.values[first + p]!;
      }
    }
    if (under !== null) divide(own, more, under, others);
    for (let p = 0; p < count; p++) {
      // What nothing touches keeps its bits, -0 too; what is replaced altogether must not come back as 0 * NaN.
      if (own[p] === 1 && more[p] === 0) continue;
      weights[p] = own[p] === 0 ? more[p]! : own[p]! * weights[p]! + more[p]!;
    }
  }

  async #readBase({ base, name }: FoldedTensor, first: number, count: number): Promise<void> {
    if (base === null) {
      this.#floats(this.#weights, count).fill(0);
      return;
    }
    const { dtype, file, offset } = base;
    const bytes = count * DTYPE_BYTES[dtype];
    const target = dtype === "F32" ? this.#weights : this.#raw;
    const source = this.files[file]!;
    if (source === undefined) throw new RangeError(`${name} has no file`);
    // A view of memory that does not grow while it is read: factors are loaded before.
    await source.read(offset + first * DTYPE_BYTES[dtype], new Uint8Array(this.#memory.buffer, target, bytes));
    if (dtype === "F32") return;
    if (dtype === "BF16" || dtype === "F16") {
      this.#convert.widen(dtype satisfies KernelDtype)(this.#raw, this.#weights, count);
    } else {
      widen(dtype, new Uint8Array(this.#memory.buffer, this.#raw, bytes), this.#floats(this.#weights, count));
    }
  }

  /** Adds a product to a run of entries: the rest of a row, whole rows, the beginning of a row. */
  #addProduct({ rows, columns }: FoldedTensor, product: Loaded, target: number, first: number, count: number): void {
    const { rank, left, right } = product;
    for (let at = 0; at < count; ) {
      const row = Math.floor((first + at) / columns);
      const column = first + at - row * columns;
      const matrix = Math.floor(row / rows);
      const inMatrix = (matrix + 1) * rows - row;
      const isWhole = column === 0 && count - at >= columns;
      const many = isWhole ? Math.min(Math.floor((count - at) / columns), inMatrix) : 1;
      const width = isWhole ? columns : Math.min(columns - column, count - at);
      this.#lowRank(
        target + at * WIDTH,
        columns,
        many,
        width,
        left + row * rank * WIDTH,
        right + (matrix * rank * columns + column) * WIDTH,
        columns,
        rank,
      );
      at += many * width;
    }
  }

  /** Makes the norms that a run needs: of its rows, each read whole; of columns all at once. */
  async #knowNorms(
    tensor: FoldedTensor,
    { norms, product, byRows }: OtherTerm & { readonly kind: "decomposed" },
    first: number,
    count: number,
  ): Promise<void> {
    const { rows, columns } = tensor;
    const from = byRows ? Math.floor(first / columns) : 0;
    const to = byRows ? Math.floor((first + count - 1) / columns) + 1 : rows;
    if (!byRows && !Number.isNaN(norms[0])) return;
    const sums = new Float64Array(byRows ? to - from : columns);
    let missing = !byRows;
    for (let row = from; row < to && !missing; row++) missing = Number.isNaN(norms[row]);
    if (!missing) return;
    for (let at = from * columns; at < to * columns; ) {
      const length = Math.min(RUN, to * columns - at);
      await this.#readBase(tensor, at, length);
      this.#addProduct(tensor, product, this.#weights, at, length);
      const values = this.#floats(this.#weights, length);
      for (let p = 0; p < length; p++) {
        const place = byRows ? Math.floor((at + p) / columns) - from : (at + p) % columns;
        sums[place]! += values[p]! * values[p]!;
      }
      at += length;
    }
    for (const [index, sum] of sums.entries()) norms[from * (byRows ? 1 : 0) + index] = Math.sqrt(sum);
  }

  /** Loads the factors of a tensor, in the place of those of the one before. */
  async #hold(index: number): Promise<Held> {
    const tensor = this.layout.tensors[index]!;
    if (this.#held?.tensor === tensor) return this.#held;
    this.#held = null;
    const products = tensor.terms.filter((term) => term.kind === "product");
    let heap = this.#heap;
    const load = async (some: readonly Product[]) => {
      const loaded = await this.#loadProducts(tensor, some, heap);
      heap = loaded.end;
      return loaded;
    };
    const sum = products.length === 0 ? null : await load(products);
    const others: OtherTerm[] = [];
    for (const [number, term] of tensor.terms.entries()) {
      if (term.kind === "product") continue;
      const product = term.kind === "decomposed" ? await load([term.product]) : null;
      others.push(await this.#loadOther(tensor, term, product, `${index} ${number}`));
    }
    return (this.#held = { tensor, sum, others });
  }

  async #loadOther(
    { rows, columns }: FoldedTensor,
    term: Exclude<FoldedTerm, { readonly kind: "product" }>,
    product: Loaded | null,
    key: string,
  ): Promise<OtherTerm> {
    switch (term.kind) {
      case "decomposed": {
        const byRows = term.along === "rows";
        let norms = this.#norms.get(key);
        if (norms === undefined) {
          norms = new Float64Array(byRows ? rows : columns).fill(Number.NaN);
          this.#norms.set(key, norms);
        }
        const magnitude = await this.#values(term.magnitude);
        return { kind: "decomposed", weight: term.weight, product: product!, magnitude, byRows, norms };
      }
      case "scaled": {
        const vector = await this.#values(term.vector);
        const { weight, divides, repeat } = term;
        return { kind: "scaled", weight, divides, from: term.vector, vector, byRows: term.along === "rows", repeat };
      }
      case "replaced":
        return { kind: "replaced", weight: term.weight, values: term.values, run: new Float32Array(0) };
      case "rows": {
        const places = new Map(term.indices.map((row, at) => [row, at]));
        return { kind: "rows", weight: term.weight, places, values: await this.#values(term.values) };
      }
      case "added":
        return { kind: "added", scale: term.scale, values: await this.#values(term.values) };
    }
  }

  /** Products joined along the rank: left to right side by side, right one below the other. */
  async #loadProducts(
    { batch, rows, columns }: FoldedTensor,
    products: readonly Product[],
    heap: number,
  ): Promise<Loaded & { readonly end: number }> {
    const { rank, before } = placesInRank(batch, products);
    const left = heap;
    const right = left + batch * rows * rank * WIDTH;
    const end = Math.ceil((right + batch * rank * columns * WIDTH) / 16) * 16;
    const missing = end - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
    // What no block fills adds nothing.
    if (products.some(({ block }) => block !== undefined)) this.#floats(left, (end - left) / WIDTH).fill(0);
    for (const [index, product] of products.entries()) {
      const lefts = await this.#factor(product.left);
      const rights = await this.#factor(product.right);
      const { block } = product;
      const place = {
        first: block?.matrix ?? 0,
        count: block === undefined ? batch : 1,
        ...{ rank, before: before[index]!, own: product.rank },
      };
      const ofRows = { all: rows, from: block?.row ?? 0, count: block?.rows ?? rows };
      spreadLeft(lefts, product.left, this.#floats(left, batch * rows * rank), ofRows, place);
      spreadRight(rights, product, this.#floats(right, batch * rank * columns), columns, place);
    }
    return { rank, left, right, end };
  }

  /** Values that several tensors have parts of are kept for the next ones. */
  async #factor({ values, start }: Factor): Promise<Float32Array> {
    if (start === undefined) return this.#values(values);
    const key = `${values.file} ${values.offset}`;
    const known = this.#shared.get(key) ?? (await this.#values(values));
    this.#shared.delete(key);
    this.#shared.set(key, known);
    for (const oldest of this.#shared.keys()) {
      if (this.#shared.size <= MOST_SHARED) break;
      this.#shared.delete(oldest);
    }
    return known;
  }

  /** Entries as f32. @throws values/non-finite where an adapter has diverged. */
  async #values(part: FoldedPart, named: FoldedValues = part as FoldedValues): Promise<Float32Array> {
    const { file, offset, dtype, entries } = part;
    const bytes = await readTensor(this.files[file]!, { offset, length: entries * DTYPE_BYTES[dtype] });
    const values = new Float32Array(entries);
    widen(dtype, bytes, values);
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad < 0) return values;
    throw defect("values/non-finite", "an adapter holds a value that is no number", {
      where: { file: named.adapter, tensor: named.key, key: named.module },
      expected: "finite numbers",
      found: `${values[bad]} at entry ${bad}`,
      advice: "take an earlier checkpoint of the training: this one has diverged or was cut short",
    });
  }
}

/**
 * Where products lie along the rank: whole ones behind each other in every matrix, blocks in the one that they belong to, so
 * that those of different matrices share a place.
 */
function placesInRank(batch: number, products: readonly Product[]): { rank: number; before: readonly number[] } {
  const used = Array.from({ length: batch }, () => 0);
  const before = products.map(({ rank, block }) => {
    const place = block === undefined ? Math.max(...used) : used[block.matrix]!;
    if (block === undefined) used.fill(place + rank);
    else used[block.matrix] = place + rank;
    return place;
  });
  return { rank: Math.max(...used), before };
}

/** Where a product stands among those that are joined. */
interface Joined {
  /** The matrices that it is of. */
  readonly first: number;
  readonly count: number;
  /** Of all together. */
  readonly rank: number;
  /** Ranks before this product's. */
  readonly before: number;
  readonly own: number;
}

function spreadLeft(
  values: Float32Array,
  { strides: [ofBatch, ofRow, ofRank], start = 0 }: Factor,
  target: Float32Array,
  rows: { readonly all: number; readonly from: number; readonly count: number },
  { first, count, rank, before, own }: Joined,
): void {
  for (let matrix = 0; matrix < count; matrix++) {
    for (let row = 0; row < rows.count; row++) {
      const to = ((first + matrix) * rows.all + rows.from + row) * rank + before;
      const from = start + matrix * ofBatch + row * ofRow;
      for (let k = 0; k < own; k++) target[to + k] = values[from + k * ofRank]!;
    }
  }
}

/** The scale is multiplied in here. */
function spreadRight(
  values: Float32Array,
  { scale, right: { strides, start = 0 } }: Product,
  target: Float32Array,
  columns: number,
  { first, count, rank, before, own }: Joined,
): void {
  const [ofBatch, ofColumn, ofRank] = strides;
  for (let matrix = 0; matrix < count; matrix++) {
    for (let k = 0; k < own; k++) {
      const to = ((first + matrix) * rank + before + k) * columns;
      const from = start + matrix * ofBatch + k * ofRank;
      for (let column = 0; column < columns; column++) target[to + column] = scale * values[from + column * ofColumn]!;
    }
  }
}

/** @throws values/non-finite where a vector has a zero, which made all that it multiplied zero. */
function divide(own: Float64Array, more: Float64Array, under: Float64Array, others: readonly OtherTerm[]): void {
  for (let p = 0; p < under.length; p++) {
    if (under[p] === 0) {
      const from = others.find((other) => other.kind === "scaled" && other.divides) as OtherTerm & { kind: "scaled" };
      const { adapter, key, module } = from.from;
      throw defect("values/non-finite", "what an adapter multiplied by zero cannot be recovered", {
        where: { file: adapter, tensor: key, key: module },
        expected: "a vector without zeros",
        advice: "keep the base",
      });
    }
    own[p]! /= under[p]!;
    more[p]! /= under[p]!;
  }
}

function entriesOf({ batch, rows, columns }: FoldedTensor): number {
  return batch * rows * columns;
}
