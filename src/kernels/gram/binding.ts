import type { KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import type { ContextKernel, Kernels } from "../load.js";
import { pairCount } from "./definition.js";

/** The kernels' layout: four f64 sums of a pair; scratch of a vector and of what is subtracted. */
const PAIR_BYTES = 32;
const VECTOR_SCRATCH = 2048;
const BASE_SCRATCH = 1024;
const LANES = 4;

/** Kernel memory for the inner products of so many vectors. */
export function gramBytes(vectors: number): number {
  return pairCount(vectors) * PAIR_BYTES + vectors * VECTOR_SCRATCH + BASE_SCRATCH;
}

/** A run of entries of every vector, in a format that kernels read. */
export interface GramTile {
  readonly format: KernelDtype;
  /** Any number; up to seven more are read. */
  readonly count: number;
  /** Addresses: what is subtracted from every vector, and the vectors. */
  readonly subtract: number;
  readonly inputs: readonly number[];
}

/** Adds up the inner products of consecutive runs of some vectors: what `gramOf` of definition.ts gives for all of them. */
export class GramSum {
  readonly #kernels: Kernels;
  readonly #context: KernelContext;
  readonly #address: number;
  readonly #sums: Float64Array;

  /** @param address of `gramBytes` bytes, a multiple of 16, used by nothing else. */
  constructor(kernels: Kernels, context: KernelContext, address: number, vectors: number) {
    this.#kernels = kernels;
    this.#context = context;
    this.#address = address;
    this.#sums = new Float64Array(kernels.memory.buffer, address, pairCount(vectors) * LANES);
    context.setRows(vectors);
    this.clear();
  }

  clear(): void {
    this.#sums.fill(0);
  }

  /** Every run but the last has a multiple of four entries. */
  add({ format, count, subtract, inputs }: GramTile): void {
    for (const [row, address] of inputs.entries()) this.#context.setPointer(row, address);
    this.#context.setTile(count, this.#address, subtract, 0, this.#address + this.#sums.byteLength);
    this.#kernels.get("gram", `_${format}`, inputs.length)(this.#context.address);
  }

  /** Of every pair i ≤ j, row by row. */
  result(): number[] {
    const sums = this.#sums;
    return Array.from({ length: sums.length / LANES }, (_, pair) => {
      const at = pair * LANES;
      return sums[at]! + sums[at + 1]! + (sums[at + 2]! + sums[at + 3]!);
    });
  }
}

/** Kernel memory for the inner products of so many vectors in each of some columns. */
export function columnGramBytes(vectors: number, columns: number): number {
  return Math.ceil(columns / LANES) * pairCount(vectors) * PAIR_BYTES;
}

/** Adds up the inner products of columns, row after row: what `columnGram` of definition.ts gives. */
export class ColumnGramSum {
  readonly #kernel: ContextKernel;
  readonly #context: KernelContext;
  readonly #address: number;
  readonly #pairs: number;
  readonly #sums: Float64Array;

  /** @param address of `columnGramBytes` bytes, a multiple of 16, used by nothing else. */
  constructor(kernels: Kernels, context: KernelContext, address: number, vectors: number, columns: number) {
    this.#kernel = kernels.get("gram_columns_F32");
    this.#context = context;
    this.#address = address;
    this.#pairs = pairCount(vectors);
    this.#sums = new Float64Array(kernels.memory.buffer, address, columnGramBytes(vectors, columns) / 8);
    this.#sums.fill(0);
    context.setRows(vectors);
  }

  /**
   * Adds entries of one row.
   * @param column of the first entry; a multiple of four.
   * @param inputs addresses of f32 entries of every vector; up to three behind the last are read.
   */
  add(column: number, count: number, inputs: readonly number[]): void {
    for (const [row, address] of inputs.entries()) this.#context.setPointer(row, address);
    this.#context.setTile(count, this.#address + (column / LANES) * this.#pairs * PAIR_BYTES, 0, 0);
    this.#kernel(this.#context.address);
  }

  /** Of one column: every pair i ≤ j, row by row. */
  result(column: number): number[] {
    const at = Math.floor(column / LANES) * this.#pairs * LANES + (column % LANES);
    return Array.from({ length: this.#pairs }, (_, pair) => this.#sums[at + pair * LANES]!);
  }
}
