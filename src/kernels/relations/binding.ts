import type { KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import type { Kernels } from "../load.js";
import type { ModelRelations, Relations } from "./definition.js";

/** The kernel's layout: results of a model and of a pair, scratch of a model and of the base. */
const MODEL_BYTES = 144;
const PAIR_BYTES = 32;
const MODEL_SCRATCH = 3072;
const BASE_SCRATCH = 1024;
const ZEROS = 0;
const NON_FINITE = 16;
const LARGEST = 32;
const CONFLICTS = 48;
const SHARED = 80;
/** From the counts of all entries to those of the kept ones. */
const KEPT = 16;
const KEPT_ENERGY = 112;

/** Kernel memory for the relations of this many models. */
export function relationsBytes(models: number): number {
  return resultBytes(models) + models * MODEL_SCRATCH + BASE_SCRATCH;
}

function resultBytes(models: number): number {
  return models * MODEL_BYTES + ((models * (models + 1)) / 2) * PAIR_BYTES;
}

/** A run of entries of every model, in a format that kernels read. */
export interface RelatedTile {
  readonly format: KernelDtype;
  /** Entries, and the same rounded up to a multiple of eight; the added ones are zero. */
  readonly count: number;
  readonly padded: number;
  /** Addresses: what is subtracted from every model, and the models. */
  readonly subtract: number;
  readonly inputs: readonly number[];
}

/** Adds up the relations of consecutive tiles of one block: what `relate` of definition.ts gives for the whole block. */
export class RelationsSum {
  readonly #kernels: Kernels;
  readonly #context: KernelContext;
  readonly #address: number;
  readonly #models: number;
  #padding = 0;

  /** @param address of `relationsBytes` bytes, a multiple of 16, used by nothing else until `result`. */
  constructor(kernels: Kernels, context: KernelContext, address: number, thresholds: readonly number[]) {
    this.#kernels = kernels;
    this.#context = context;
    this.#address = address;
    this.#models = thresholds.length;
    new Uint8Array(kernels.memory.buffer, address, relationsBytes(this.#models)).fill(0);
    context.setRows(this.#models);
    for (const [row, threshold] of thresholds.entries()) context.setColumn(row, 0, threshold);
  }

  /** Every tile but the last of a block has a multiple of eight entries. */
  add({ format, count, padded, subtract, inputs }: RelatedTile): void {
    for (const [row, address] of inputs.entries()) this.#context.setPointer(row, address);
    this.#context.setTile(padded, this.#address, subtract, 0, this.#address + resultBytes(this.#models));
    this.#kernels.get(`relations_${format}`)(this.#context.address);
    this.#padding += padded - count;
  }

  result(): Relations {
    const view = new DataView(this.#kernels.memory.buffer, this.#address, resultBytes(this.#models));
    const pairs = this.#models * MODEL_BYTES;
    const count = (this.#models * (this.#models + 1)) / 2;
    return {
      models: Array.from({ length: this.#models }, (_, model) => this.#model(view, model * MODEL_BYTES)),
      dots: Array.from({ length: count }, (_, pair) => sumAt(view, pairs + pair * PAIR_BYTES)),
    };
  }

  #model(view: DataView, at: number): ModelRelations {
    const counted = (offset: number) => fourAt(view, at + offset).reduce((sum, lane) => sum + lane, 0);
    const largest = new Uint32Array([Math.max(...fourAt(view, at + LARGEST))]);
    return {
      zeros: counted(ZEROS) - this.#padding,
      nonFinite: counted(NON_FINITE),
      largest: new Float32Array(largest.buffer)[0]!,
      keptEnergy: sumAt(view, at + KEPT_ENERGY),
      signs: { conflicts: counted(CONFLICTS), shared: counted(SHARED) },
      keptSigns: { conflicts: counted(CONFLICTS + KEPT), shared: counted(SHARED + KEPT) },
    };
  }
}

function fourAt(view: DataView, at: number): number[] {
  return [0, 4, 8, 12].map((lane) => view.getUint32(at + lane, true));
}

function sumAt(view: DataView, at: number): number {
  const [s0, s1, s2, s3] = [0, 8, 16, 24].map((lane) => view.getFloat64(at + lane, true));
  return s0! + s1! + (s2! + s3!);
}
