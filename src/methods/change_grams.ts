/**
 * The least-squares family that needs no data: with G_t = tau_t^T tau_t / |tau_t|² in the place of the Gram of a layer's inputs,
 * minimise sum_t |(D - tau_t) tau_t^T|² / |tau_t|² over D. With C = sum_t G_t = V diag(l) V^T, R = sum_t tau_t G_t and the start
 * M_0 = sum_t tau_t, every rule to stop early is a filter of the eigenvalues,
 *
 *     D = M_0 V diag(keep) V^T + R V diag(gain) V^T.
 */
import type { Algebra, Matrix64 } from "../algebra/algebra.js";
import type { MatrixResult, MatrixTask, Settings } from "./method.js";
import { applied, timesDiagonal, widen } from "./whole_matrices.js";

export interface Filter {
  /** What stays of the start, per eigenvalue. */
  readonly keep: Float64Array;
  /** What the least-squares term is multiplied by. */
  readonly gain: Float64Array;
}

/** Eigenvalues of C below this share of the largest are rounding. */
const NOTHING = 2 ** -44;

export const isNothing = (value: number, largest: number): boolean => !(value > NOTHING * largest);

/** @param filterOf from the eigenvalues of C, descending; their sum is the number of tasks that changed the matrix. */
export async function filtered(
  task: MatrixTask,
  settings: Settings,
  algebra: Algebra,
  filterOf: (eigenvalues: Float64Array) => Filter,
): Promise<MatrixResult> {
  const transposed = settings.global.transposed === true;
  const { c, r, start } = await sums(task, algebra, transposed);
  const { values, vectors } = algebra.eigenSymmetric(c);
  const { keep, gain } = filterOf(values);
  const fromR = timesDiagonal(algebra.multiply64(r, vectors), gain);
  const fromStart = timesDiagonal(
    algebra.multiply64(start, vectors),
    keep.map((value) => 1 - value),
  );
  const step = { ...fromR, data: fromR.data.map((value, at) => value - fromStart.data[at]!) };
  const moved = algebra.multiply64(step, vectors, { transposeB: true });
  const change = { ...start, data: start.data.map((value, at) => value + moved.data[at]!) };
  const left = keep.reduce((sum, value) => sum + value, 0) / keep.length;
  return applied(task, settings, transposed ? turned(change) : change, { "share of the start kept": [left] });
}

interface Sums {
  readonly c: Matrix64;
  readonly r: Matrix64;
  readonly start: Matrix64;
}

async function sums(task: MatrixTask, algebra: Algebra, transposed: boolean): Promise<Sums> {
  let found: Sums | null = null;
  for (let index = 0; index < task.models; index++) {
    const stored = widen(await task.model(index));
    const change = transposed ? turned(stored) : stored;
    const { rows, columns } = change;
    const made = (found ??= {
      c: { rows: columns, columns, data: new Float64Array(columns ** 2) },
      r: { rows, columns, data: new Float64Array(rows * columns) },
      start: { rows, columns, data: new Float64Array(rows * columns) },
    });
    let squares = 0;
    for (const value of change.data) squares += value * value;
    // A model that leaves the matrix as it is has no inputs to be right on.
    if (squares === 0) continue;
    const gram = algebra.multiply64(change, change, { transposeA: true });
    for (let at = 0; at < gram.data.length; at++) gram.data[at] = gram.data[at]! / squares;
    add(made.c, gram);
    add(made.r, algebra.multiply64(change, gram));
    add(made.start, change);
  }
  return found!;
}

function add({ data }: Matrix64, term: Matrix64): void {
  for (let at = 0; at < data.length; at++) data[at] = data[at]! + term.data[at]!;
}

function turned({ rows, columns, data }: Matrix64): Matrix64 {
  const result = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = data[row * columns + column]!;
  }
  return { rows: columns, columns: rows, data: result };
}
