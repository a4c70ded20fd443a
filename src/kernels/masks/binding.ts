import { MAX_COLUMNS } from "../context.js";
import type { KernelContext } from "../context.js";
import type { KernelDtype } from "../convert/binding.js";
import type { Kernels } from "../load.js";
import type { MaskRun } from "./definition.js";

/** The kernel's layout: sums of a model. */
const SUM_BYTES = 64;
/** The column that holds the address of a row's mask. */
const MASK_COLUMN = MAX_COLUMNS - 1;

/** Kernel memory for the masks of a block of this many entries. */
export function masksBytes(models: number, entries: number): number {
  return models * (SUM_BYTES + maskStride(entries));
}

/** Bytes between the masks of two models; a multiple of 16. */
function maskStride(entries: number): number {
  return Math.ceil(entries / 128) * 16;
}

/** A run of entries of every model, in a format that kernels read, and the shared change as it is stored. */
export interface MaskedTile {
  readonly format: KernelDtype;
  /** Entries, and the same rounded up to a multiple of eight; the added ones have a change of zero. */
  readonly count: number;
  readonly padded: number;
  /** Addresses: what is subtracted from every model, and the models. */
  readonly subtract: number;
  readonly inputs: readonly number[];
  readonly sharedFormat: KernelDtype;
  readonly shared: number;
}

/** Makes the masks of consecutive tiles of one block: what `makeMask` of definition.ts gives for the whole block. */
export class MaskMaker {
  readonly #kernels: Kernels;
  readonly #context: KernelContext;
  readonly #address: number;
  readonly #models: number;
  readonly #stride: number;
  #entries = 0;

  /**
   * @param address of `masksBytes` bytes, a multiple of 16, used by nothing else until `result`.
   * @param columns what the kernel's rule takes: at most one number per model.
   */
  constructor(
    kernels: Kernels,
    context: KernelContext,
    address: number,
    { models, entries, column }: { models: number; entries: number; column: readonly number[] | undefined },
  ) {
    this.#kernels = kernels;
    this.#context = context;
    this.#address = address;
    this.#models = models;
    this.#stride = maskStride(entries);
    new Uint8Array(kernels.memory.buffer, address, masksBytes(models, entries)).fill(0);
    context.setRows(models);
    context.clearCounters(models);
    for (const [row, value] of (column ?? []).entries()) context.setColumn(row, 0, value);
  }

  /** Every tile but the last of a block has a multiple of eight entries. */
  add(kernel: string, { format, count, padded, subtract, inputs, sharedFormat, shared }: MaskedTile): void {
    for (const [row, address] of inputs.entries()) {
      this.#context.setPointer(row, address);
      this.#context.setColumnBits(row, MASK_COLUMN, this.#bits(row) + this.#entries / 8);
    }
    this.#context.setTile(padded, 0, subtract, shared, this.#address);
    this.#kernels.get(`${kernel}_${format}_${sharedFormat}`)(this.#context.address);
    this.#entries += count;
  }

  /** Per model. The bits lie in kernel memory, where the next block's will be. */
  result(): MaskRun[] {
    const { buffer } = this.#kernels.memory;
    const view = new DataView(buffer, this.#address, this.#models * SUM_BYTES);
    return Array.from({ length: this.#models }, (_, model) => {
      return {
        bits: new Uint8Array(buffer, this.#bits(model), Math.ceil(this.#entries / 8)),
        kept: this.#context.rowCounter(model, 0),
        change: sumAt(view, model * SUM_BYTES),
        shared: sumAt(view, model * SUM_BYTES + SUM_BYTES / 2),
      };
    });
  }

  #bits(model: number): number {
    return this.#address + this.#models * SUM_BYTES + model * this.#stride;
  }
}

function sumAt(view: DataView, at: number): number {
  const [s0, s1, s2, s3] = [0, 8, 16, 24].map((lane) => view.getFloat64(at + lane, true));
  return s0! + s1! + (s2! + s3!);
}
