/** Writes the block of memory through which a kernel is called; the layout is that of context.as.ts. */

const FIXED_BYTES = 192;
const ROW_BYTES = 64;
const SCALARS = 24;
const COUNTERS = 64;
const ENTRIES = 184;
const ROW_COLUMNS = 4;
const ROW_COUNTERS = 32;
export const MAX_SCALARS = 8;
const STREAM = 56;
const STRIDE = 60;
/** Bytes of a kernel's own memory that it may use per row. */
const SCRATCH_ROW_BYTES = 128;
export const MAX_COLUMNS = 7;
/** Holds an address instead, where rows have collected sums beside them. */
const SUMS_COLUMN = MAX_COLUMNS - 1;

/** Bytes of scratch memory: what a kernel may use per row, then the method's table. */
export function scratchBytes(rows: number): number {
  return rows * SCRATCH_ROW_BYTES + 3 * 4 * ((rows * (rows + 1)) / 2);
}

export function contextBytes(rows: number): number {
  return FIXED_BYTES + ROW_BYTES * rows;
}

/** A view of one context in kernel memory. */
export class KernelContext {
  readonly address: number;
  readonly #view: DataView;

  /** @param address of `contextBytes(rows)` bytes, a multiple of 16. */
  constructor(memory: WebAssembly.Memory, address: number, rows: number) {
    this.address = address;
    this.#view = new DataView(memory.buffer, address, contextBytes(rows));
  }

  setRows(rows: number): void {
    this.#view.setInt32(0, rows, true);
  }

  /**
   * @param count entries, a multiple of eight.
   * @param scratch memory of the kernel's own, where it needs some.
   * @param stride bytes between rows of the output, where it has several.
   */
  setTile(count: number, out: number, subtract: number, add: number, scratch = 0, stride = 0): void {
    this.#view.setInt32(4, count, true);
    this.#view.setUint32(8, out, true);
    this.#view.setUint32(12, subtract, true);
    this.#view.setUint32(16, add, true);
    this.#view.setUint32(20, scratch, true);
    this.#view.setUint32(STRIDE, stride, true);
  }

  /** @param address of an f32 per entry: the measure of its row. */
  setStream(address: number): void {
    this.#view.setUint32(STREAM, address, true);
  }

  /** @param count entries of the tile that are no padding. */
  setEntries(count: number): void {
    this.#view.setInt32(ENTRIES, count, true);
  }

  /** @param address of a row's collected sums, an f32 per entry. */
  setSums(row: number, address: number): void {
    this.setColumnBits(row, SUMS_COLUMN, address);
  }

  setPointer(row: number, address: number): void {
    this.#view.setUint32(FIXED_BYTES + ROW_BYTES * row, address, true);
  }

  setScalar(index: number, value: number): void {
    if (index >= MAX_SCALARS) throw new RangeError(`a kernel takes ${MAX_SCALARS} scalars at most`);
    this.#view.setFloat32(SCALARS + 4 * index, value, true);
  }

  /** Writes the method's table behind the rows of scratch memory at `scratch`. */
  setTable(memory: WebAssembly.Memory, scratch: number, rows: number, table: readonly number[]): void {
    new Float32Array(memory.buffer, scratch + rows * SCRATCH_ROW_BYTES, table.length).set(table);
  }

  setColumn(row: number, column: number, value: number): void {
    this.#view.setFloat32(FIXED_BYTES + ROW_BYTES * row + ROW_COLUMNS + 4 * column, value, true);
  }

  setColumnBits(row: number, column: number, bits: number): void {
    this.#view.setUint32(FIXED_BYTES + ROW_BYTES * row + ROW_COLUMNS + 4 * column, bits, true);
  }

  clearCounters(rows: number): void {
    for (let at = COUNTERS; at < ENTRIES; at += 8) this.#view.setFloat64(at, 0, true);
    for (let row = 0; row < rows; row++) {
      // Eight zero bytes, without a BigInt for each.
      for (let index = 0; index < 4; index++) this.#view.setFloat64(this.#rowCounter(row, index), 0, true);
    }
  }

  counter(index: number): number {
    return this.#view.getFloat64(COUNTERS + 8 * index, true);
  }

  /** Row counters are 64-bit integers far below 2^53. */
  rowCounter(row: number, index: number): number {
    const at = this.#rowCounter(row, index);
    return this.#view.getInt32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  #rowCounter(row: number, index: number): number {
    return FIXED_BYTES + ROW_BYTES * row + ROW_COUNTERS + 8 * index;
  }
}
