import { MergewrightError } from "../errors.js";
import { createMemory, PAGE_BYTES } from "../kernels/load.js";
import type { AlgebraKernels } from "./kernels/kernels.js";
import type { Matrix, Matrix64 } from "./matrix.js";

const LIMIT = 2 ** 32 - PAGE_BYTES;
const ALIGNMENT = 64;

/** A matrix of f64 in kernel memory: address in bytes, rows `stride` entries apart. */
export interface Placed {
  readonly at: number;
  readonly rows: number;
  readonly columns: number;
  readonly stride: number;
}

/**
 * The memory that kernels work in, as a stack: what a `scope` allocates is free again when it ends. Allocating may replace
 * `f64` and `f32`, so they are read anew after it.
 */
export class Space {
  readonly kernels: AlgebraKernels;
  readonly #memory: WebAssembly.Memory;
  #top: number;
  #f64: Float64Array;
  #f32: Float32Array;

  /** @param scratch bytes that the kernels keep for themselves: they are told where. */
  constructor(kernelsOf: (memory: WebAssembly.Memory, scratch: number) => AlgebraKernels, scratch = 0) {
    // The first page is the kernels' own data.
    this.#top = PAGE_BYTES + scratch;
    this.#memory = createMemory(this.#top, false);
    this.#f64 = new Float64Array(this.#memory.buffer);
    this.#f32 = new Float32Array(this.#memory.buffer);
    this.kernels = kernelsOf(this.#memory, PAGE_BYTES);
  }

  /** The whole memory; entry i lies at byte 8 i. */
  get f64(): Float64Array {
    return this.#f64;
  }

  /** The whole memory; entry i lies at byte 4 i. */
  get f32(): Float32Array {
    return this.#f32;
  }

  scope<T>(work: () => T): T {
    const top = this.#top;
    try {
      return work();
    } finally {
      this.#top = top;
    }
  }

  /** @returns the address of so many bytes, whose content is arbitrary. */
  allocate(bytes: number): number {
    const at = this.#top;
    const end = at + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (end > this.#memory.buffer.byteLength) this.#grow(end);
    this.#top = end;
    return at;
  }

  #grow(end: number): void {
    try {
      if (end > LIMIT) throw new RangeError("beyond 4 GiB");
      this.#memory.grow(Math.ceil((end - this.#memory.buffer.byteLength) / PAGE_BYTES));
    } catch (cause) {
      throw new MergewrightError("these matrices do not fit into the memory of the kernels", {
        kind: "environment",
        code: "algebra/memory",
        expected: "at most 4 GiB, and memory that is free",
        found: `a need of ${(end / 2 ** 30).toFixed(1)} GiB`,
        advice: "ask for a lower rank, or leave this tensor out",
        cause,
      });
    }
    this.#f64 = new Float64Array(this.#memory.buffer);
    this.#f32 = new Float32Array(this.#memory.buffer);
  }

  /** A vector of f64, zeros. */
  vector(entries: number): number {
    const at = this.allocate(8 * entries);
    this.#f64.fill(0, at / 8, at / 8 + entries);
    return at;
  }

  /** An f64 matrix, zeros. Rows never lie a multiple of 512 bytes apart, which would crowd them into few cache lines. */
  matrix(rows: number, columns: number): Placed {
    const even = columns + (columns % 2);
    const stride = even % 64 === 0 ? even + 8 : even;
    return { at: this.vector(rows * stride), rows, columns, stride };
  }

  /** A copy, times `scale`. */
  place({ rows, columns, data }: Matrix | Matrix64, scale = 1): Placed {
    const placed = this.matrix(rows, columns);
    const f = this.#f64;
    for (let row = 0; row < rows; row++) {
      const to = placed.at / 8 + row * placed.stride;
      if (scale === 1) f.set(data.subarray(row * columns, (row + 1) * columns), to);
      else for (let column = 0; column < columns; column++) f[to + column] = data[row * columns + column]! * scale;
    }
    return placed;
  }

  take({ at, rows, columns, stride }: Placed): Matrix64 {
    const data = new Float64Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const from = at / 8 + row * stride;
      data.set(this.#f64.subarray(from, from + columns), row * columns);
    }
    return { rows, columns, data };
  }

  /** The transpose of a placed matrix, as a new one. */
  transposed({ at, rows, columns, stride }: Placed): Placed {
    const result = this.matrix(columns, rows);
    this.kernels.transpose(rows, columns, at, stride, result.at, result.stride);
    return result;
  }
}
