/** Methods of whole matrices on matrices written out: a base of zeros, so that the result is the merged change. */
import assert from "node:assert/strict";
import { openAlgebra } from "../../../src/algebra/algebra.js";
import type { Matrix64 } from "../../../src/algebra/algebra.js";
import type { MatrixMethod, MatrixTask, ParameterValue } from "../../../src/methods/method.js";
import { normals } from "./random.js";
import { settingsOf } from "./twin.js";

export const algebra = openAlgebra();

/** Entries that f32 holds. */
export function randomChange(rows: number, columns: number, seed: number): Matrix64 {
  return { rows, columns, data: Float64Array.from(normals(rows * columns, seed)) };
}

export const zeros = (rows: number, columns: number): Matrix64 => ({
  rows,
  columns,
  data: new Float64Array(rows * columns),
});

/** B A of rank `rank`, rounded to f32. */
export function lowRankChange(rows: number, columns: number, rank: number, seed: number): Matrix64 {
  const product = algebra.multiply64(randomChange(rows, rank, seed), randomChange(rank, columns, seed + 1));
  return { ...product, data: product.data.map(Math.fround) };
}

/** The merged change, and the figures. */
export async function solve(
  method: MatrixMethod,
  changes: readonly Matrix64[],
  given: Readonly<Record<string, ParameterValue>> = {},
): Promise<{ change: Matrix64; figures: Readonly<Record<string, readonly number[]>> }> {
  const { rows, columns } = changes[0]!;
  const task: MatrixTask = {
    name: "weight",
    shape: [rows, columns],
    models: changes.length,
    transposed: false,
    base: () => Promise.resolve({ rows, columns, data: new Float32Array(rows * columns) }),
    model: (index) => Promise.resolve({ rows, columns, data: new Float32Array(changes[index]!.data) }),
    statistic: () => Promise.resolve(null),
  };
  const settings = settingsOf(
    method,
    given,
    changes.map(() => ({})),
  );
  const { merged, figures } = await method.solve(task, settings, algebra);
  return { change: { ...merged, data: new Float64Array(merged.data) }, figures: figures ?? {} };
}

export function normOf({ data }: Matrix64): number {
  return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0));
}

/** Equal to so much of the expected matrix's norm. */
export function assertNear(found: Matrix64, expected: Matrix64, tolerance = 1e-6): void {
  assert.deepEqual([found.rows, found.columns], [expected.rows, expected.columns]);
  const apart = normOf({ ...found, data: found.data.map((value, at) => value - expected.data[at]!) });
  assert.ok(apart <= tolerance * normOf(expected), `${apart} apart, of ${normOf(expected)}`);
}

export function sumOf(changes: readonly Matrix64[]): Matrix64 {
  return changes.reduce((a, b) => ({ ...a, data: a.data.map((value, at) => value + b.data[at]!) }));
}

export function turned({ rows, columns, data }: Matrix64): Matrix64 {
  const at = (index: number) => data[(index % rows) * columns + Math.floor(index / rows)]!;
  return { rows: columns, columns: rows, data: data.map((_, index) => at(index)) };
}
