/** Matrices with known properties for the tests of this room, made by plain arithmetic. */
import assert from "node:assert/strict";
import { openPlainAlgebra } from "./algebra.js";
import type { Matrix, Matrix64 } from "./matrix.js";

export const plain = openPlainAlgebra();

export function randomNumbers(seed: number): () => number {
  let state = (seed ^ 0x2545f491) | 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return ((state >>> 8) / 2 ** 23 - 1) * (1 + ((state >>> 3) & 7) / 8);
  };
}

export function random64(rows: number, columns: number, seed = 1): Matrix64 {
  const next = randomNumbers(seed);
  return { rows, columns, data: Float64Array.from({ length: rows * columns }, next) };
}

export function random32(rows: number, columns: number, seed = 1): Matrix {
  return narrow(random64(rows, columns, seed));
}

export const narrow = ({ rows, columns, data }: Matrix64): Matrix => ({ rows, columns, data: new Float32Array(data) });
export const widen = ({ rows, columns, data }: Matrix): Matrix64 => ({ rows, columns, data: new Float64Array(data) });

/** Three nested loops. */
export function product(a: Matrix64, b: Matrix64): Matrix64 {
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.columns; k++) {
      const entry = a.data[i * a.columns + k]!;
      for (let j = 0; j < b.columns; j++)
        data[i * b.columns + j] = data[i * b.columns + j]! + entry * b.data[k * b.columns + j]!;
    }
  }
  return { rows: a.rows, columns: b.columns, data };
}

export function transpose({ rows, columns, data }: Matrix64): Matrix64 {
  return {
    rows: columns,
    columns: rows,
    data: Float64Array.from({ length: data.length }, (_, at) => data[(at % rows) * columns + Math.floor(at / rows)]!),
  };
}

export function identity(n: number): Matrix64 {
  return diagonal(new Float64Array(n).fill(1));
}

export function diagonal(values: ArrayLike<number>): Matrix64 {
  const n = values.length;
  const data = new Float64Array(n * n);
  for (let k = 0; k < n; k++) data[k * n + k] = values[k]!;
  return { rows: n, columns: n, data };
}

export function norm({ data }: { readonly data: Float64Array | Float32Array }): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

export function apart(a: Matrix64, b: Matrix64): number {
  assert.deepEqual([a.rows, a.columns], [b.rows, b.columns]);
  return norm({ data: a.data.map((value, at) => value - b.data[at]!) });
}

/** Columns orthonormal to so many units of f64's epsilon, per column. */
export function assertOrthonormalColumns(q: Matrix64, tolerance = 1e-14): void {
  const departure = apart(product(transpose(q), q), identity(q.columns));
  assert.ok(departure <= tolerance * Math.max(1, q.columns), `departs from orthonormal by ${departure}`);
}

/** A matrix with these singular values and random singular vectors. */
export function withSingularValues(rows: number, columns: number, values: readonly number[], seed = 1): Matrix64 {
  const u = plain.qr(random64(rows, values.length, seed)).q;
  const v = plain.qr(random64(columns, values.length, seed + 1)).q;
  return product(product(u, diagonal(values)), transpose(v));
}
