/**
 * Updates in factors, ΔW = B·A, and their sums, without ever forming ΔW. Scalings are absorbed: what an adapter calls
 * s·B·A lies here as B·(s·A). All f32 factors row-major; bases and coordinates f64.
 */
import type { Algebra, Matrix, Matrix64 } from "../algebra/algebra.js";

export interface LowRank {
  /** [rank, in] */
  readonly a: Matrix;
  /** [out, rank] */
  readonly b: Matrix;
}

/** One update of a weighted sum. */
export interface Term extends LowRank {
  /** The weight times the adapter's scaling: what A is multiplied by. */
  readonly scale: number;
}

/**
 * The sum of scale_i·B_i·A_i, exactly: A stacked with the scales in it (each entry rounded once), B side by side. The
 * rank is the sum of the ranks.
 */
export function concatenate(terms: readonly Term[]): LowRank {
  const rank = terms.reduce((sum, { a }) => sum + a.rows, 0);
  const { columns } = terms[0]!.a;
  const data = new Float32Array(rank * columns);
  let at = 0;
  for (const { a, scale } of terms) for (const value of a.data) data[at++] = value * scale;
  return {
    a: { rows: rank, columns, data },
    b: beside(
      terms.map(({ b }) => b),
      Float32Array,
    ),
  };
}

/** An orthonormal basis of a matrix' columns, m = q·r; `q` is `null` for the identity (a matrix as wide as high, or wider). */
export interface Basis {
  readonly q: Matrix64 | null;
  readonly r: Matrix64;
}

/** B_1 … B_n side by side as q·r. */
export function columnBasis(algebra: Algebra, terms: readonly LowRank[]): Basis {
  return basisOf(
    algebra,
    beside(
      terms.map(({ b }) => b),
      Float64Array,
    ),
  );
}

/** A_1ᵀ … A_nᵀ side by side as q·r. */
export function rowBasis(algebra: Algebra, terms: readonly LowRank[]): Basis {
  return basisOf(
    algebra,
    beside(
      terms.map(({ a }) => transpose(toF64(a))),
      Float64Array,
    ),
  );
}

function basisOf(algebra: Algebra, m: Matrix64): Basis {
  return m.columns >= m.rows ? { q: null, r: m } : algebra.qr(m);
}

interface AnyMatrix<D> {
  readonly rows: number;
  readonly columns: number;
  readonly data: D;
}

/** Matrices of equally many rows, side by side. */
export function beside<D extends Float32Array | Float64Array>(
  parts: readonly AnyMatrix<Float32Array | Float64Array>[],
  make: new (length: number) => D,
): AnyMatrix<D> {
  const { rows } = parts[0]!;
  const columns = parts.reduce((sum, part) => sum + part.columns, 0);
  const data = new make(rows * columns);
  let first = 0;
  for (const part of parts) {
    for (let row = 0; row < rows; row++) {
      data.set(part.data.subarray(row * part.columns, (row + 1) * part.columns), row * columns + first);
    }
    first += part.columns;
  }
  return { rows, columns, data };
}

/** Columns `first` … `first + count` of a matrix. */
export function columnsOf({ rows, columns, data }: Matrix64, first: number, count: number): Matrix64 {
  const out = new Float64Array(rows * count);
  for (let row = 0; row < rows; row++) {
    out.set(data.subarray(row * columns + first, row * columns + first + count), row * count);
  }
  return { rows, columns: count, data: out };
}

/** Rows `first` … `first + count` of a matrix; a view. */
export function rowsOf({ columns, data }: Matrix64, first: number, count: number): Matrix64 {
  return { rows: count, columns, data: data.subarray(first * columns, (first + count) * columns) };
}

/** Each column times its factor. */
export function scaleColumns({ rows, columns, data }: Matrix64, factors: ArrayLike<number>): Matrix64 {
  return { rows, columns, data: data.map((value, i) => value * factors[i % columns]!) };
}

/** Per column of the terms' bases the scale of its term. */
export function columnScales(terms: readonly Term[]): Float64Array {
  return Float64Array.from(terms.flatMap(({ a, scale }) => Array.from({ length: a.rows }, () => scale)));
}

/** q·m, or m itself where q is the identity. */
export function lift(algebra: Algebra, q: Matrix64 | null, m: Matrix64): Matrix64 {
  return q === null ? m : algebra.multiply64(q, m);
}

export function toF32({ rows, columns, data }: Matrix64): Matrix {
  return { rows, columns, data: Float32Array.from(data) };
}

export function toF64({ rows, columns, data }: Matrix): Matrix64 {
  return { rows, columns, data: Float64Array.from(data) };
}

export function transpose({ rows, columns, data }: Matrix64): Matrix64 {
  const out = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column]!;
  }
  return { rows: columns, columns: rows, data: out };
}

/** Singular values below this share of the largest are rounding: f32 factors give no direction better than that. */
const NEGLIGIBLE = 1e-9;

/** How many singular values carry anything; at least 1. @param s descending. */
export function usefulRank(s: ArrayLike<number>): number {
  let useful = 1;
  while (useful < s.length && s[useful]! > NEGLIGIBLE * s[0]!) useful++;
  return useful;
}
