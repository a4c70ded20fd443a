/** Matrices on their way into solvers and back. */
import type { Matrix, Matrix64 } from "../algebra/algebra.js";

/** scale (alpha M + (1 - alpha) diag M), as a new matrix. */
export function damped({ rows, columns, data }: Matrix64, alpha: number, scale: number): Matrix64 {
  const out = data.map((value) => value * alpha * scale);
  for (let index = 0; index < rows; index++) out[index * columns + index] = data[index * columns + index]! * scale;
  return { rows, columns, data: out };
}

/** A linear layer's weight as `[inputs, outputs]` in f64. @param isTurned it lies that way already. */
export function turned({ rows, columns, data }: Matrix, isTurned: boolean): Matrix64 {
  if (isTurned) return { rows, columns, data: Float64Array.from(data) };
  const out = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column]!;
  }
  return { rows: columns, columns: rows, data: out };
}

/** The way back, rounded to f32. */
export function rounded({ rows, columns, data }: Matrix64, isTurned: boolean): Matrix {
  if (isTurned) return { rows, columns, data: Float32Array.from(data) };
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column]!;
  }
  return { rows: columns, columns: rows, data: out };
}
