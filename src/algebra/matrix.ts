import { MergewrightError } from "../errors.js";

/** f32 entries, row after row. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

/** f64 entries, row after row. */
export interface Matrix64 {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** A defect of shape: `expected` and `found` in words. */
export function shapeError(operation: string, expected: string, found: string): MergewrightError {
  return new MergewrightError(`${operation}: the shapes do not fit`, {
    kind: "request",
    code: "algebra/shape",
    expected,
    found,
    advice: "check the shapes of the tensors that these matrices come from",
  });
}

export const shapeOf = ({ rows, columns }: { rows: number; columns: number }) => `${rows} x ${columns}`;

/** @throws MergewrightError unless there are rows times columns entries. */
export function checkShape(operation: string, matrix: Matrix | Matrix64): void {
  const { rows, columns, data } = matrix;
  if (!Number.isSafeInteger(rows) || !Number.isSafeInteger(columns) || rows < 0 || columns < 0)
    throw shapeError(operation, "whole numbers of rows and columns", shapeOf(matrix));
  if (data.length !== rows * columns)
    throw shapeError(operation, `${rows * columns} entries for ${shapeOf(matrix)}`, `${data.length} entries`);
}

/**
 * Of a matrix that is to be factored.
 * @returns the power of two next to its largest magnitude; 1 for zeros. Dividing by it is exact and keeps squares finite.
 * @throws MergewrightError for a NaN or an infinity: no factorisation means anything then.
 */
export function checkFinite(operation: string, matrix: Matrix | Matrix64): number {
  checkShape(operation, matrix);
  const { columns, data } = matrix;
  let largest = 0;
  for (let index = 0; index < data.length; index++) {
    const magnitude = Math.abs(data[index]!);
    if (magnitude > largest) largest = magnitude;
    else if (!(magnitude <= largest)) throw nonFinite(operation, data[index]!, index, columns);
  }
  if (largest === Infinity) {
    const index = data.findIndex((value) => !Number.isFinite(value));
    throw nonFinite(operation, data[index]!, index, columns);
  }
  return largest === 0 ? 1 : 2 ** Math.min(1000, Math.max(-1000, Math.floor(Math.log2(largest))));
}

function nonFinite(operation: string, value: number, index: number, columns: number): MergewrightError {
  const row = Math.floor(index / columns);
  return new MergewrightError(`${operation}: the matrix has an entry that is not a finite number`, {
    kind: "request",
    code: "values/non-finite",
    expected: "finite entries",
    found: `${value} in row ${row}, column ${index - row * columns}, counted from 0`,
    advice: "find the tensor with `mergewright inspect`; a model that holds NaN or infinity cannot be factored",
  });
}

/** √(a² + b²) without overflow, from operations that every engine rounds alike. */
export function lengthOf(a: number, b: number): number {
  const [x, y] = [Math.abs(a), Math.abs(b)];
  const [large, small] = x > y ? [x, y] : [y, x];
  if (small === 0) return large;
  const ratio = small / large;
  return large * Math.sqrt(1 + ratio * ratio);
}

/** Not seen on finite matrices; an iteration without end would be worse. */
export function noConvergence(operation: string): MergewrightError {
  return new MergewrightError(`${operation}: the iteration did not converge`, {
    kind: "request",
    code: "algebra/no-convergence",
    advice: "report this with the tensor that it happened on",
  });
}
