/**
 * The orthogonal polar factor by Newton–Schulz iterations of fifth order, x (15 − 10 x² + 3 x⁴) / 8 on every singular value
 * (Z. Kovarik, "Some Iterative Methods for Improving Orthonormality", 1970; Å. Björck, C. Bowie, "An Iterative Algorithm for
 * Computing the Best Estimate of an Orthogonal Matrix", 1971): it converges from anywhere in (0, 1.52), so the matrix is
 * divided by an estimate of its largest singular value first.
 */
import { checkFinite } from "./matrix.js";
import type { Matrix } from "./matrix.js";
import { multiply } from "./multiply.js";
import type { Space } from "./space.js";

const MOST_ITERATIONS = 60;
const NORM_ITERATIONS = 12;
/** Mean departure from orthonormality, per row, at which the iteration has converged as far as f32 goes. */
const CONVERGED = 2e-6;

/** See `Algebra.polar`. */
export function polar(space: Space, a: Matrix): Matrix {
  const scale = checkFinite("polar", a);
  if (a.rows < a.columns) return transposed(polar(space, transposed(a)));
  const n = a.columns;
  let x: Matrix = { ...a, data: a.data.map((value) => value / scale) };
  const norm = largestSingularValue(space, x);
  if (norm === 0) return x;
  x = { ...x, data: x.data.map((value) => value / norm) };
  let before = Infinity;
  for (let round = 0; round < MOST_ITERATIONS; round++) {
    const gram = multiply(space, x, x, { transposeA: true });
    const departure = departureOf(gram);
    if (departure <= CONVERGED * Math.sqrt(n) || (departure >= before && departure < 1e-3 * Math.sqrt(n))) break;
    before = departure;
    const square = multiply(space, gram, gram);
    // (15 I − 10 G + 3 G²) / 8
    const factor = square.data.map((value, index) => (3 * value - 10 * gram.data[index]!) / 8);
    for (let k = 0; k < n; k++) factor[k * n + k] = factor[k * n + k]! + 15 / 8;
    x = multiply(space, x, { rows: n, columns: n, data: factor });
  }
  return x;
}

function transposed({ rows, columns, data }: Matrix): Matrix {
  const turned = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) turned[column * rows + row] = data[row * columns + column]!;
  }
  return { rows: columns, columns: rows, data: turned };
}

/** ‖G − I‖ (Frobenius). */
function departureOf({ rows, data }: Matrix): number {
  let sum = 0;
  for (let index = 0; index < data.length; index++) {
    const difference = data[index]! - (index % (rows + 1) === 0 ? 1 : 0);
    sum += difference * difference;
  }
  return Math.sqrt(sum);
}

/** From below, to a few per cent, by power iterations on a vector that depends on the matrix alone; 0 only for zeros. */
function largestSingularValue(space: Space, a: Matrix): number {
  // Row norms weight the rows: no start is orthogonal to everything, whatever the signs.
  let left: Matrix = { rows: a.rows, columns: 1, data: new Float32Array(a.rows) };
  for (let row = 0; row < a.rows; row++)
    left.data[row] = normOf(a.data.subarray(row * a.columns, (row + 1) * a.columns));
  let largest = left.data.reduce((most, value) => Math.max(most, value), 0);
  for (let round = 0; round < NORM_ITERATIONS; round++) {
    const length = normOf(left.data);
    if (length === 0) break;
    const right = multiply(space, a, { ...left, data: left.data.map((value) => value / length) }, { transposeA: true });
    largest = Math.max(largest, normOf(right.data));
    left = multiply(space, a, right);
  }
  return largest;
}

function normOf(values: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index]! * values[index]!;
  return Math.sqrt(sum);
}
