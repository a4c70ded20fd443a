/**
 * The weights of an artifact's task as bytes that nobody stored: theta_0 + scale * mask * vector, or theta_0 + scale *
 * left diag(values) right, in f32, computed where they are read. The parts are read from their own files. docs/artifacts.md describes them.
 */
import { MergewrightError } from "../errors.js";
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { checkRange, closedError, tensorAt } from "./range.js";
import type { ByteSource, SourceAddress, SourceStamp } from "./source.js";

/** Where the parts of one task lie; plain data, so that another thread can read the same weights. */
export interface TaskLayout {
  readonly files: readonly TaskFile[];
  /** By first byte, without gaps. */
  readonly tensors: readonly TaskTensor[];
}

export interface TaskFile {
  readonly label: string;
  readonly address: SourceAddress | null;
  readonly stamp: SourceStamp;
}

export interface TaskTensor {
  /** First byte among the task's weights. */
  readonly offset: number;
  readonly entries: number;
  readonly base: FloatPart;
  /** What is added to the base, one after the other. */
  readonly terms: readonly TaskTerm[];
}

export type TaskTerm = VectorTerm | FactorTerm;

/** scale * mask * vector. */
export interface VectorTerm {
  readonly kind: "vector";
  readonly scale: number;
  readonly vector: FloatPart;
  /** One bit per entry, lowest first; `null`: all ones. */
  readonly mask: Part | null;
  /**
   * Where the vector holds nothing but the entries under the mask: per block of 262,144 entries of the tensor, as U64,
   * how many of the vector's come before it. `null`: the vector is whole.
   */
  readonly starts: Part | null;
  /** Entries that the vector holds. */
  readonly stored: number;
}

/** scale * left diag(values) right, for a matrix. */
export interface FactorTerm {
  readonly kind: "factors";
  readonly scale: number;
  readonly rank: number;
  readonly columns: number;
  /** `[rows, rank]`. */
  readonly left: FloatPart;
  /** `[rank]`. */
  readonly values: FloatPart;
  /** `[rank or more, columns]`; rows behind the first `rank` take no part. */
  readonly right: FloatPart;
}

export type FloatPart = Part & { readonly dtype: FloatDtype };

/** A tensor's bytes in one of the files. */
export interface Part {
  /** Index into `files`. */
  readonly file: number;
  /** First byte in the file. */
  readonly offset: number;
}

/** Of an f32, in which the weights are read. */
const WIDTH = 4;
/** Entries that are computed together: those of a block, so that a packed vector's place follows from `starts`. */
const BLOCK = 262_144;

/** @param files the layout's, opened in its order; closed with the source. */
export function taskSource(
  layout: TaskLayout,
  files: readonly ByteSource[],
  { label, stamp }: { readonly label: string; readonly stamp: SourceStamp },
): ByteSource {
  const { tensors } = layout;
  let open = true;
  return {
    label,
    stamp,
    address: { kind: "task", layout },
    read(offset, into) {
      if (!open) throw closedError(label);
      checkRange(label, stamp.size, offset, into.length);
      let pending: Promise<void> | null = null;
      for (let done = 0; done < into.length; ) {
        const tensor = tensors[tensorAt(tensors, offset + done)]!;
        const at = offset + done - tensor.offset;
        const first = Math.floor(at / WIDTH);
        const blockEnd = Math.min((Math.floor(first / BLOCK) + 1) * BLOCK, tensor.entries);
        const bytes = Math.min(into.length - done, blockEnd * WIDTH - at);
        const count = Math.ceil((at + bytes) / WIDTH) - first;
        const target = into.subarray(done, done + bytes);
        const skip = at - first * WIDTH;
        done += bytes;
        // One after the other: a source over a network must not be asked for everything at once.
        if (pending !== null) {
          pending = pending.then(() => readRun(files, tensor, first, count, target, skip));
        } else {
          const read = readRun(files, tensor, first, count, target, skip);
          if (read !== undefined) pending = read;
        }
      }
      return pending ?? undefined;
    },
    async close() {
      open = false;
      for (const file of files) await file.close();
    },
  };
}

/** Reads some bytes of a part. */
type ReadPart = (part: Part, at: number, into: Uint8Array) => void | Promise<void>;

/** What one term adds to a run of entries: what it reads, step by step, and then what it adds. */
interface TermRun {
  readonly steps: readonly (() => void | Promise<void>)[];
  add(weights: Float32Array): void;
}

/** Some entries of one block; `skip` bytes of the first are not wanted. */
function readRun(
  files: readonly ByteSource[],
  tensor: TaskTensor,
  first: number,
  count: number,
  target: Uint8Array,
  skip: number,
): void | Promise<void> {
  const { base, terms } = tensor;
  const bytes = new Uint8Array(count * DTYPE_BYTES[base.dtype]);
  const read: ReadPart = ({ file, offset }, at, into) => files[file]!.read(offset + at, into);
  const runs = terms.map((term): TermRun => {
    if (term.kind === "factors") return factorRun(term, first, count, read);
    return vectorRun(term, first, count, read, () => brokenStarts(files[term.vector.file]!.label, term));
  });
  const steps = [
    () => read(base, first * DTYPE_BYTES[base.dtype], bytes),
    ...runs.flatMap((run) => run.steps),
    () => {
      const weights = floats(base.dtype, bytes);
      for (const run of runs) run.add(weights);
      writeRun(weights, target, skip);
    },
  ];
  return inOrder(steps, 0);
}

/** Without waiting where nothing has to be waited for. */
function inOrder(steps: readonly (() => void | Promise<void>)[], from: number): void | Promise<void> {
  for (let at = from; at < steps.length; at++) {
    const pending = steps[at]!();
    if (pending !== undefined) return pending.then(() => inOrder(steps, at + 1));
  }
}

function writeRun(weights: Float32Array, target: Uint8Array, skip: number): void {
  if (skip === 0 && target.length === weights.length * WIDTH) {
    narrow("F32", weights, target);
    return;
  }
  const bytes = new Uint8Array(weights.length * WIDTH);
  narrow("F32", weights, bytes);
  target.set(bytes.subarray(skip, skip + target.length));
}

function vectorRun(
  term: VectorTerm,
  first: number,
  count: number,
  read: ReadPart,
  broken: () => MergewrightError,
): TermRun {
  const { vector, mask, starts } = term;
  const run = new Run(term, first, count);
  const width = DTYPE_BYTES[vector.dtype];
  const reading =
    starts === null
      ? [() => read(vector, first * width, run.vector)]
      : [
          () => read(starts, 8 * Math.floor(first / BLOCK), run.start),
          () => {
            // Of a packed vector, where to read follows from the mask.
            const begin = run.packedBegin();
            const packed = run.packedBytes();
            if (begin + packed.length / width > term.stored) throw broken();
            return read(vector, begin * width, packed);
          },
        ];
  const masked = mask === null ? [] : [() => read(mask, run.maskFirst, run.mask)];
  return { steps: [...masked, ...reading], add: (weights) => run.add(weights) };
}

/** The rows that a run touches are multiplied out; sums over the rank in f64, rounded once to f32. */
function factorRun(term: FactorTerm, first: number, count: number, read: ReadPart): TermRun {
  const { rank, columns, left, values, right } = term;
  const firstRow = Math.floor(first / columns);
  const rows = Math.floor((first + count - 1) / columns) - firstRow + 1;
  const buffer = (part: FloatPart, entries: number) => new Uint8Array(entries * DTYPE_BYTES[part.dtype]);
  const [leftBytes, valueBytes, rightBytes] = [
    buffer(left, rows * rank),
    buffer(values, rank),
    buffer(right, rank * columns),
  ];
  return {
    steps: [
      () => read(left, firstRow * rank * DTYPE_BYTES[left.dtype], leftBytes),
      () => read(values, 0, valueBytes),
      () => read(right, 0, rightBytes),
    ],
    add(weights) {
      const [u, s, v] = [
        floats(left.dtype, leftBytes),
        floats(values.dtype, valueBytes),
        floats(right.dtype, rightBytes),
      ];
      const scale = Math.fround(term.scale);
      const sums = new Float64Array(columns);
      for (let row = 0; row < rows; row++) {
        const begin = Math.max(first, (firstRow + row) * columns);
        const end = Math.min(first + count, (firstRow + row + 1) * columns);
        const shift = begin - (firstRow + row) * columns;
        sums.fill(0);
        for (let k = 0; k < rank; k++) {
          const factor = u[row * rank + k]! * s[k]!;
          const at = k * columns + shift;
          for (let c = 0; c < end - begin; c++) sums[c] = sums[c]! + factor * v[at + c]!;
        }
        for (let c = 0; c < end - begin; c++) {
          const p = begin - first + c;
          weights[p] = weights[p]! + Math.fround(scale * Math.fround(sums[c]!));
        }
      }
    },
  };
}

function brokenStarts(file: string, { stored }: VectorTerm): MergewrightError {
  return new MergewrightError("the parts of the artifact do not fit together", {
    kind: "request",
    code: "artifact/damaged",
    where: { file },
    expected: "as many entries in a packed vector as its mask keeps",
    found: `${stored} entries, fewer than the mask and the starts ask for`,
    advice: "make the artifact again, or copy it again from where it came",
  });
}

/** What a vector has under a run of entries. */
class Run {
  /** From the block's first entry on where the vector is packed, since what comes before must be counted. */
  readonly mask: Uint8Array;
  readonly maskFirst: number;
  readonly start = new Uint8Array(8);
  vector: Uint8Array;
  /** Which bit of `mask` is the first entry's. */
  readonly #bit: number;

  constructor(
    readonly term: VectorTerm,
    first: number,
    readonly count: number,
  ) {
    const { vector, mask, starts } = term;
    this.vector = new Uint8Array(starts === null ? count * DTYPE_BYTES[vector.dtype] : 0);
    const from = starts === null ? first : first - (first % BLOCK);
    this.maskFirst = Math.floor(from / 8);
    this.#bit = first - this.maskFirst * 8;
    this.mask = new Uint8Array(mask === null ? 0 : Math.ceil((this.#bit + count) / 8));
  }

  /** Which of the packed entries is the first under the mask from the first entry on. */
  packedBegin(): number {
    return Number(new DataView(this.start.buffer).getBigUint64(0, true)) + this.#keptIn(0, this.#bit);
  }

  /** Room for the packed entries of the run. */
  packedBytes(): Uint8Array {
    const kept = this.#keptIn(this.#bit, this.#bit + this.count);
    return (this.vector = new Uint8Array(kept * DTYPE_BYTES[this.term.vector.dtype]));
  }

  #keptIn(from: number, to: number): number {
    let kept = 0;
    for (let bit = from; bit < to; bit++) kept += (this.mask[bit >>> 3]! >>> (bit & 7)) & 1;
    return kept;
  }

  /** Every operation is rounded to f32. */
  add(weights: Float32Array): void {
    const { vector, mask, starts } = this.term;
    const changes = floats(vector.dtype, this.vector);
    const scale = Math.fround(this.term.scale);
    if (mask === null) {
      for (let p = 0; p < this.count; p++) weights[p] = weights[p]! + Math.fround(scale * changes[p]!);
    } else this.#addKept(weights, changes, scale, starts !== null);
  }

  #addKept(weights: Float32Array, changes: Float32Array, scale: number, isPacked: boolean): void {
    const { mask, count } = this;
    const bit = this.#bit;
    let next = 0;
    for (let p = 0; p < count; p++) {
      const at = p + bit;
      if (((mask[at >>> 3]! >>> (at & 7)) & 1) === 0) continue;
      weights[p] = weights[p]! + Math.fround(scale * changes[isPacked ? next++ : p]!);
    }
  }
}

function floats(dtype: FloatDtype, bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length / DTYPE_BYTES[dtype]);
  widen(dtype, bytes, values);
  return values;
}
