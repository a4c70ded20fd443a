/** One model's change of one tensor in the form in which its expert keeps it: a definition over whole tensors in memory. */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import { algebraTask } from "../algebra/crew.js";
import type { ExpertForm } from "../methods/method.js";
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { chanceKept, dropThreshold, streamKey } from "../numbers/random.js";
import type { ExpertPart, ExpertSize } from "../plan/artifact.js";
import { EXACT_SIDE, OVERSAMPLING, POWER_ITERATIONS } from "../plan/upscaling.js";

/** What is to be kept. */
export interface ExpertChange {
  readonly tensor: string;
  readonly model: string;
  readonly shape: readonly number[];
  /** Difference to the shared model, row by row. */
  readonly change: Float32Array;
  readonly form: ExpertForm;
  /** In which the parts are stored. */
  readonly dtype: FloatDtype;
  readonly seed: number;
}

/** How it is stored, and how near it comes. */
export interface MadeExpert extends ExpertSize {
  /** ‖change − kept‖ / ‖change‖ (Frobenius) of what is stored; 0 for a change of zeros. */
  readonly error: number;
  /** ‖change‖. */
  readonly norm: number;
}

export interface ExpertBytes {
  readonly made: MadeExpert;
  /** As they are stored. */
  readonly parts: Readonly<Partial<Record<ExpertPart, Uint8Array>>>;
}

/** Entries between two starts of a packed vector. */
const BLOCK = 262_144;

/** For a crew. */
export const expertTask = algebraTask(import.meta.url, "expertTask", (algebra, change: ExpertChange) =>
  expertBytes(algebra, change),
);

export function expertBytes(algebra: Algebra, change: ExpertChange): ExpertBytes {
  const { form } = change;
  switch (form.kind) {
    case "none":
      return { made: { kind: "none", rank: 0, gate: 0, kept: 0, error: 0, norm: normOf(change.change) }, parts: {} };
    case "whole":
      return whole(algebra, change, form.gate ?? 0);
    case "factors":
      return factored(algebra, change, form.rank, form.gate);
    case "largest":
      return packed(change, largest(change.change, form.kept), 1);
    case "chance":
      return packed(change, drawn(change, form.density), form.density === 0 ? 1 : Math.fround(1 / form.density));
  }
}

function whole(algebra: Algebra, { change, shape, dtype }: ExpertChange, gate: number): ExpertBytes {
  const vectors = stored(dtype, change);
  const gates = gate === 0 ? {} : { gates: stored(dtype, gateRows(algebra, matrixOf(change, shape), gate)) };
  const norm = normOf(change);
  const error = relative(distance(change, read(dtype, vectors)), norm);
  return { made: { kind: "whole", rank: 0, gate, kept: 0, error, norm }, parts: { vectors, ...gates } };
}

/** Of an expert that changes nothing here: no direction is its own, so that no token is drawn to it. */
function gateRows(algebra: Algebra, matrix: Matrix, gate: number): Float32Array {
  if (!matrix.data.some((entry) => entry !== 0)) return new Float32Array(gate * matrix.columns);
  return triples(algebra, matrix, gate).vt.data;
}

function factored(
  algebra: Algebra,
  { change, shape, dtype }: ExpertChange,
  asked: number | { readonly energy: number },
  gate: number,
): ExpertBytes {
  const matrix = matrixOf(change, shape);
  const norm = normOf(change);
  const { rows, columns } = matrix;
  const { rank, u, s, vt } =
    norm === 0 ? nothing(matrix, typeof asked === "number" ? asked : 0, gate) : leading(algebra, matrix, asked, gate);
  const left = stored(dtype, columnsOf(u, rank));
  const values = stored("F32", Float32Array.from(s.subarray(0, rank)));
  const right = stored(dtype, vt.data.subarray(0, rank * columns));
  const gates = gate === 0 ? {} : { gates: stored(dtype, vt.data.subarray(0, gate * columns)) };
  const kept = product(algebra, { rows, columns, rank }, read(dtype, left), read("F32", values), read(dtype, right));
  const error = relative(distance(change, kept), norm);
  return {
    made: { kind: "factors", rank, gate, kept: 0, error, norm },
    parts: { left, values, right, ...gates },
  };
}

interface Leading {
  readonly rank: number;
  readonly u: Matrix;
  readonly s: Float64Array;
  readonly vt: Matrix;
}

function nothing({ rows, columns }: Matrix, rank: number, gate: number): Leading {
  const width = Math.max(rank, gate);
  return {
    rank,
    u: { rows, columns: width, data: new Float32Array(rows * width) },
    s: new Float64Array(width),
    vt: { rows: width, columns, data: new Float32Array(width * columns) },
  };
}

function leading(algebra: Algebra, matrix: Matrix, asked: number | { readonly energy: number }, gate: number): Leading {
  if (typeof asked === "number") return { rank: asked, ...triples(algebra, matrix, Math.max(asked, gate)) };
  const all = allTriples(algebra, matrix);
  return { rank: rankOfEnergy(all.s, asked.energy), ...all };
}

function triples(algebra: Algebra, matrix: Matrix, rank: number): Omit<Leading, "rank"> {
  const { rows, columns } = matrix;
  if (Math.min(rows, columns) > EXACT_SIDE) {
    return algebra.truncatedSvd(matrix, rank, { oversampling: OVERSAMPLING, powerIterations: POWER_ITERATIONS });
  }
  const { u, s, vt } = allTriples(algebra, matrix);
  return {
    u: { rows, columns: rank, data: columnsOf(u, rank) },
    s: s.slice(0, rank),
    vt: { rows: rank, columns, data: vt.data.slice(0, rank * columns) },
  };
}

function allTriples(algebra: Algebra, matrix: Matrix): Omit<Leading, "rank"> {
  const { u, s, vt } = algebra.svd(matrix);
  return {
    u: { rows: u.rows, columns: u.columns, data: Float32Array.from(u.data) },
    s,
    vt: { rows: vt.rows, columns: vt.columns, data: Float32Array.from(vt.data) },
  };
}

/** The smallest rank whose squared singular values reach a share of their sum; 0 for a share of 0. */
export function rankOfEnergy(s: Float64Array, share: number): number {
  const total = s.reduce((sum, value) => sum + value * value, 0);
  let rank = 0;
  for (let sum = 0; rank < s.length && sum < share * total; rank++) sum += s[rank]! ** 2;
  return rank;
}

function matrixOf(data: Float32Array, shape: readonly number[]): Matrix {
  const [rows = 0, columns = 0] = shape;
  return { rows, columns, data };
}

function columnsOf({ rows, columns, data }: Matrix, count: number): Float32Array {
  const taken = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) taken.set(data.subarray(row * columns, row * columns + count), row * count);
  return taken;
}

function product(
  algebra: Algebra,
  { rows, columns, rank }: { readonly rows: number; readonly columns: number; readonly rank: number },
  left: Float32Array,
  values: Float32Array,
  right: Float32Array,
): Float32Array {
  if (rank === 0) return new Float32Array(rows * columns);
  const scaled = left.map((entry, index) => entry * values[index % rank]!);
  return algebra.multiply({ rows, columns: rank, data: scaled }, { rows: rank, columns, data: right }).data;
}

/** Which entries are kept: those of the largest magnitude, the first of equals. */
function largest(change: Float32Array, count: number): Uint8Array {
  const keep = new Uint8Array(change.length);
  if (count === 0) return keep;
  // Bit patterns of magnitudes are ordered as the magnitudes are.
  const bits = new Uint32Array(change.length);
  const view = new Uint32Array(change.buffer, change.byteOffset, change.length);
  for (let p = 0; p < bits.length; p++) bits[p] = view[p]! & 0x7fffffff;
  const threshold = bits.slice().sort()[bits.length - count]!;
  let above = 0;
  for (const one of bits) if (one > threshold) above++;
  let equal = count - above;
  for (let p = 0; p < bits.length; p++) {
    if (bits[p]! > threshold || (bits[p] === threshold && equal-- > 0)) keep[p] = 1;
  }
  return keep;
}

function drawn({ seed, model, tensor, change }: ExpertChange, density: number): Uint8Array {
  const keep = new Uint8Array(change.length);
  chanceKept(streamKey(seed, model, tensor), 0, dropThreshold(1 - density), keep);
  return keep.map((one) => one & 1);
}

/** A bit per entry, what is under them, and where each block's begin. */
function packed({ change, dtype }: ExpertChange, keep: Uint8Array, scale: number): ExpertBytes {
  const count = keep.reduce((sum, one) => sum + one, 0);
  const masks = new Uint8Array(Math.ceil(change.length / 8));
  const starts = new BigUint64Array(Math.ceil(change.length / BLOCK));
  const values = new Float32Array(count);
  let next = 0;
  for (let p = 0; p < change.length; p++) {
    if (p % BLOCK === 0) starts[p / BLOCK] = BigInt(next);
    if (keep[p] === 0) continue;
    masks[p >>> 3]! |= 1 << (p & 7);
    values[next++] = change[p]! * scale;
  }
  const vectors = stored(dtype, values);
  const back = read(dtype, vectors);
  next = 0;
  const kept = Float32Array.from(keep, (one) => (one === 0 ? 0 : back[next++]!));
  const norm = normOf(change);
  const error = relative(distance(change, kept), norm);
  return {
    made: { kind: "packed", rank: 0, gate: 0, kept: count, error, norm },
    parts: { vectors, masks, starts: new Uint8Array(starts.buffer) },
  };
}

function stored(dtype: FloatDtype, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values, bytes);
  return bytes;
}

function read(dtype: FloatDtype, bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length / DTYPE_BYTES[dtype]);
  widen(dtype, bytes, values);
  return values;
}

function normOf(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let p = 0; p < a.length; p++) sum += (a[p]! - b[p]!) ** 2;
  return Math.sqrt(sum);
}

function relative(distanceOf: number, norm: number): number {
  return norm === 0 ? 0 : distanceOf / norm;
}
