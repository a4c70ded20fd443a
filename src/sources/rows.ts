/**
 * A table whose rows come from elsewhere: a vocabulary tensor seen in another vocabulary. Runs of neighbouring rows are
 * one read each; nothing is ever held but a buffer of a few rows.
 */
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { partitionPoint } from "../numbers/partition.js";
import { memorySource } from "./memory.js";
import { checkRange, closedError } from "./range.js";
import type { ByteSource, SourceAddress, SourceStamp } from "./source.js";

/** Where rows of a table can come from; a run of the table names one by its number. */
export type RowOrigin =
  /** Rows of a stored tensor: those from the run's `row` on. */
  | { readonly kind: "stored"; readonly part: number }
  | { readonly kind: "zero" }
  /** The one row of the run is the average of one row of each of these parts, numbered in `meanRows` from `row` on. */
  | { readonly kind: "mean"; readonly parts: readonly number[] }
  /** Every row of the run is the average of the table's first `averaged` rows, those of such runs left out. */
  | { readonly kind: "mean-of-all" };

/** A stored tensor that rows are taken from. */
export interface RowPart {
  readonly label: string;
  readonly address: SourceAddress | null;
  readonly stamp: SourceStamp;
  /** First byte of the tensor in the source. */
  readonly offset: number;
  readonly dtype: FloatDtype;
  readonly rows: number;
}

/** What a table of rows is made of; plain data that can be posted. */
export interface RowTable {
  /** Entries of a row. */
  readonly width: number;
  readonly rows: number;
  /** Of the table; what is stored otherwise is converted. */
  readonly dtype: FloatDtype;
  readonly parts: readonly RowPart[];
  readonly origins: readonly RowOrigin[];
  /** Three numbers per run: its first row in the table, the origin, the first row there. In shared memory if there is. */
  readonly runs: Int32Array;
  /** Rows that are averaged, one per part. */
  readonly meanRows: Int32Array;
  /** How many rows at the front runs of kind `mean-of-all` are the average of. */
  readonly averaged: number;
}

const INTS_OF_A_RUN = 3;
/** Rows are averaged and converted this many bytes at a time; a part that is no larger is read once, as a whole. */
const PIECE_BYTES = 1 << 20;

export type OpenPart = (part: RowPart) => ByteSource | Promise<ByteSource>;

/** @param open opens a part; a part is opened when it is first needed, and closed with the table. */
export function rowSource(label: string, table: RowTable, stamp: SourceStamp, open: OpenPart): ByteSource {
  return new RowSource(label, table, stamp, open);
}

interface OpenedPart {
  readonly source: Pick<ByteSource, "read" | "close">;
  /** First byte of the tensor in it. */
  readonly offset: number;
}

class RowSource implements ByteSource {
  readonly address: SourceAddress;
  readonly #rowBytes: number;
  readonly #parts: (OpenedPart | undefined)[] = [];
  #meanOfAll: Uint8Array | null = null;
  /** The last average of single rows: a row is often asked for in two pieces. */
  #lastMean: { readonly row: number; readonly bytes: Uint8Array } | null = null;
  #open = true;

  constructor(
    readonly label: string,
    readonly table: RowTable,
    readonly stamp: SourceStamp,
    readonly openPart: OpenPart,
  ) {
    this.address = { kind: "rows", table };
    this.#rowBytes = table.width * DTYPE_BYTES[table.dtype];
  }

  read(offset: number, into: Uint8Array): void | Promise<void> {
    if (!this.#open) throw closedError(this.label);
    checkRange(this.label, this.stamp.size, offset, into.length);
    return this.#readFrom(offset, into, 0, runAt(this.table.runs, Math.floor(offset / this.#rowBytes)));
  }

  /** Fills `into` from byte `done` on, run by run; turns into a promise where a part answers with one. */
  #readFrom(offset: number, into: Uint8Array, done: number, run: number): void | Promise<void> {
    const { runs, rows } = this.table;
    while (done < into.length) {
      const at = run * INTS_OF_A_RUN;
      const end = (at + INTS_OF_A_RUN < runs.length ? runs[at + INTS_OF_A_RUN]! : rows) * this.#rowBytes;
      const length = Math.min(end - offset - done, into.length - done);
      const inRun = offset + done - runs[at]! * this.#rowBytes;
      const part = into.subarray(done, done + length);
      done += length;
      run++;
      const pending = this.#readRun(runs[at + 1]!, runs[at + 2]!, inRun, part);
      if (pending !== undefined) {
        const [next, following] = [done, run];
        return pending.then(() => this.#readFrom(offset, into, next, following));
      }
    }
  }

  /** @param start byte within the run. */
  #readRun(index: number, row: number, start: number, into: Uint8Array): void | Promise<void> {
    const origin = this.table.origins[index]!;
    if (origin.kind === "zero") return void into.fill(0);
    if (origin.kind === "stored") {
      const place = row * this.#rowBytes + start;
      if (this.table.parts[origin.part]!.dtype !== this.table.dtype) {
        return this.#readConverted(origin.part, place, into);
      }
      const opened = this.#parts[origin.part];
      if (opened !== undefined) return opened.source.read(opened.offset + place, into);
      return this.#opened(origin.part).then(({ source, offset }) => source.read(offset + place, into));
    }
    if (origin.kind === "mean") return this.#readMean(origin.parts, row, start, into);
    if (this.#meanOfAll !== null) return repeat(this.#meanOfAll, start, into);
    return this.#average().then((mean) => {
      this.#meanOfAll = mean;
      repeat(mean, start, into);
    });
  }

  async #readMean(parts: readonly number[], row: number, start: number, into: Uint8Array): Promise<void> {
    let bytes = this.#lastMean?.row === row ? this.#lastMean.bytes : null;
    if (bytes === null) {
      const { width, meanRows } = this.table;
      const sums = new Float64Array(width);
      for (const [index, part] of parts.entries()) {
        add(sums, await this.#floats(part, meanRows[row + index]! * width, width));
      }
      bytes = this.#divided(sums, parts.length);
      this.#lastMean = { row, bytes };
    }
    repeat(bytes, start, into);
  }

  async #opened(index: number): Promise<OpenedPart> {
    return (this.#parts[index] ??= await this.#openNow(this.table.parts[index]!));
  }

  async #openNow(part: RowPart): Promise<OpenedPart> {
    const source = await this.openPart(part);
    const size = part.rows * this.table.width * DTYPE_BYTES[part.dtype];
    if (size > PIECE_BYTES) return { source, offset: part.offset };
    const bytes = new Uint8Array(size);
    await source.read(part.offset, bytes);
    await source.close();
    return { source: memorySource(bytes, part.label), offset: 0 };
  }

  /** @param place byte of the table's format within the part, which need not begin an entry. */
  async #readConverted(part: number, place: number, into: Uint8Array): Promise<void> {
    const bytes = DTYPE_BYTES[this.table.dtype];
    const most = Math.floor(PIECE_BYTES / 8);
    for (let done = 0; done < into.length; ) {
      const first = Math.floor((place + done) / bytes);
      const skip = place + done - first * bytes;
      const count = Math.min(Math.ceil((into.length - done + skip) / bytes), most);
      const out = new Uint8Array(count * bytes);
      narrow(this.table.dtype, await this.#floats(part, first, count), out);
      const piece = out.subarray(skip, skip + into.length - done);
      into.set(piece, done);
      done += piece.length;
    }
  }

  /** Entries of a part as f32. */
  async #floats(part: number, first: number, count: number): Promise<Float32Array> {
    const { dtype } = this.table.parts[part]!;
    const bytes = new Uint8Array(count * DTYPE_BYTES[dtype]);
    const { source, offset } = await this.#opened(part);
    await source.read(offset + first * DTYPE_BYTES[dtype], bytes);
    const floats = new Float32Array(count);
    widen(dtype, bytes, floats);
    return floats;
  }

  async #average(): Promise<Uint8Array> {
    const { width, runs, rows, averaged, origins, dtype } = this.table;
    const sums = new Float64Array(width);
    const atOnce = Math.max(1, Math.floor(PIECE_BYTES / 4 / width));
    let count = 0;
    for (let at = 0; at < runs.length; at += INTS_OF_A_RUN) {
      if (origins[runs[at + 1]!]!.kind === "mean-of-all") continue;
      const end = Math.min(averaged, at + INTS_OF_A_RUN < runs.length ? runs[at + INTS_OF_A_RUN]! : rows);
      for (let row = runs[at]!; row < end; row += atOnce) {
        const piece = Math.min(atOnce, end - row);
        const bytes = new Uint8Array(piece * this.#rowBytes);
        await this.read(row * this.#rowBytes, bytes);
        const floats = new Float32Array(piece * width);
        widen(dtype, bytes, floats);
        add(sums, floats);
        count += piece;
      }
    }
    return this.#divided(sums, Math.max(count, 1));
  }

  /** Sums in f64 and in order are divided once and rounded to f32, then to the table's format. */
  #divided(sums: Float64Array, count: number): Uint8Array {
    const { width, dtype } = this.table;
    const out = new Uint8Array(width * DTYPE_BYTES[dtype]);
    narrow(
      dtype,
      Float32Array.from(sums, (sum) => sum / count),
      out,
    );
    return out;
  }

  async close(): Promise<void> {
    this.#open = false;
    for (const part of this.#parts) await part?.source.close();
    this.#parts.length = 0;
  }
}

/** Adds rows to a row of sums. */
function add(sums: Float64Array, rows: Float32Array): void {
  const width = sums.length;
  for (let start = 0; start < rows.length; start += width) {
    for (let i = 0; i < width; i++) sums[i]! += rows[start + i]!;
  }
}

/** Fills `into` with a row again and again. @param start byte in a run of such rows. */
function repeat(row: Uint8Array, start: number, into: Uint8Array): void {
  let at = start % row.length;
  for (let done = 0; done < into.length; at = 0) {
    const piece = row.subarray(at, at + into.length - done);
    into.set(piece, done);
    done += piece.length;
  }
}

/** The run that holds a row. */
function runAt(runs: Int32Array, row: number): number {
  return Math.max(0, partitionPoint(runs.length / INTS_OF_A_RUN, (run) => runs[run * INTS_OF_A_RUN]! <= row) - 1);
}

/**
 * Packs rows into runs.
 * @param origin of each row of the table.
 * @param row there; of an average its place in `meanRows`; else 0.
 */
export function packRuns(origins: readonly RowOrigin[], origin: Int32Array, row: Int32Array): Int32Array {
  const packed: number[] = [];
  for (let at = 0; at < origin.length; at++) {
    const { kind } = origins[origin[at]!]!;
    const same = at > 0 && kind !== "mean" && origin[at] === origin[at - 1];
    if (!same || (kind === "stored" && row[at] !== row[at - 1]! + 1)) packed.push(at, origin[at]!, row[at]!);
  }
  return sharedInts(packed);
}

/** In memory that threads share, where there is such memory. */
export function sharedInts(values: readonly number[]): Int32Array {
  const bytes = values.length * Int32Array.BYTES_PER_ELEMENT;
  const memory = typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes);
  const ints = new Int32Array(memory);
  ints.set(values);
  return ints;
}
