import type { Algebra, Matrix, Matrix64 } from "../algebra/algebra.js";
import type { MatrixMethod } from "./method.js";
import {
  applied,
  lambdaParameter,
  meanOfChanges,
  numericalRank,
  polarFactor,
  takesMatrices,
  timesDiagonal,
  wholeParameter,
} from "./whole_matrices.js";

/** Smaller sides up to this are decomposed exactly; beyond, by a sketch that is refined this often. */
const EXACT_SIDE = 512;
const POWER_ITERATIONS = 4;

export const tsvM: MatrixMethod = {
  name: "tsv_m",
  title: "Each task's leading singular vectors, made orthogonal to each other",
  paper: {
    title: "Task Singular Vectors: Reducing Task Interference in Model Merging",
    authors: "Gargiulo et al.",
    where: "CVPR 2025, arXiv 2412.00081",
  },
  description: `theta = theta_0 + lambda polar(U) S polar(V)^T,   U = [U_1 … U_n], S = diag(S_1 … S_n), V = [V_1 … V_n]

Matrices only: U_i S_i V_i^T are the k = smaller side / n (rounded down, at least 1) leading singular triples of tau_i.
polar(X) is the matrix with orthonormal columns next to X: it turns the tasks' singular vectors away from each other as
little as possible, so that no task writes into another's directions. No parameter needs a search; lambda is 1.

Triples of singular values that are nothing but rounding are left out, so a model that is equal to the base takes no part.
Identical tasks count once. Tensors that are not matrices, and matrices with \`whole: false\`, get lambda times the mean of
the changes. Matrices whose smaller side is above ${EXACT_SIDE} are decomposed by a random sketch with ${POWER_ITERATIONS} power iterations (seed 0).`,
  base: "required",
  models: { min: 1 },
  parameters: { lambda: lambdaParameter, whole: wholeParameter },
  dialects: { paper: { meaning: "the paper's rule; lambda 1", values: {} } },
  inputs: "changes",
  grain: "matrix",
  counters: {},
  takes: takesMatrices,
  otherwise: meanOfChanges,

  async solve(task, settings, algebra) {
    const kept: Triples[] = [];
    let shape = { rows: 0, columns: 0 };
    for (let index = 0; index < task.models; index++) {
      const change = await task.model(index);
      shape = { rows: change.rows, columns: change.columns };
      const count = Math.max(1, Math.floor(Math.min(shape.rows, shape.columns) / task.models));
      kept.push(leading(algebra, change, count));
    }
    const figures = { triples: kept.map(({ s }) => s.length), "left out, relative": kept.map(({ error }) => error) };
    const s = kept.flatMap((triples) => [...triples.s]);
    if (s.length === 0) {
      return applied(task, settings, { ...shape, data: new Float64Array(shape.rows * shape.columns) }, figures);
    }
    const left = polarFactor(algebra, beside(kept.map(({ u }) => u)));
    const right = polarFactor(algebra, beside(kept.map(({ v }) => v)));
    const change = algebra.multiply64(timesDiagonal(left.factor, s), right.factor, { transposeB: true });
    return applied(task, settings, change, figures);
  },
};

interface Triples {
  /** [rows, k] */
  readonly u: Matrix64;
  readonly s: Float64Array;
  /** [columns, k] */
  readonly v: Matrix64;
  /** Relative Frobenius error of keeping these. */
  readonly error: number;
}

function leading(algebra: Algebra, change: Matrix, count: number): Triples {
  const found =
    Math.min(change.rows, change.columns) > EXACT_SIDE
      ? algebra.truncatedSvd(change, count, { powerIterations: POWER_ITERATIONS })
      : algebra.svd(change);
  const rank = Math.min(count, numericalRank(found.s, change));
  const u = { rows: change.rows, columns: rank, data: new Float64Array(change.rows * rank) };
  const v = { rows: change.columns, columns: rank, data: new Float64Array(change.columns * rank) };
  for (let k = 0; k < rank; k++) {
    for (let row = 0; row < u.rows; row++) u.data[row * rank + k] = found.u.data[row * found.u.columns + k]!;
    for (let row = 0; row < v.rows; row++) v.data[row * rank + k] = found.vt.data[k * found.vt.columns + row]!;
  }
  const error = "error" in found ? found.error : tail(found.s, rank);
  return { u, s: Float64Array.from(found.s.subarray(0, rank)), v, error };
}

function tail(s: Float64Array, rank: number): number {
  const squares = (values: Float64Array) => values.reduce((sum, value) => sum + value * value, 0);
  const whole = squares(s);
  return whole === 0 ? 0 : Math.sqrt(squares(s.subarray(rank)) / whole);
}

/** Matrices of equally many rows, side by side. */
function beside(parts: readonly Matrix64[]): Matrix64 {
  const { rows } = parts[0]!;
  const columns = parts.reduce((sum, part) => sum + part.columns, 0);
  const data = new Float64Array(rows * columns);
  let first = 0;
  for (const part of parts) {
    for (let row = 0; row < rows; row++) {
      data.set(part.data.subarray(row * part.columns, (row + 1) * part.columns), row * columns + first);
    }
    first += part.columns;
  }
  return { rows, columns, data };
}
