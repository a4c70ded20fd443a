/** What data-free methods of whole matrices have in common: which tensors they take, and what happens to the others. */
import type { Algebra, Matrix, Matrix64 } from "../algebra/algebra.js";
import type {
  Arguments,
  MatrixMethod,
  MatrixResult,
  MatrixTask,
  NumberParameter,
  Parameter,
  Settings,
} from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

const { fround } = Math;

export const lambdaParameter: NumberParameter = {
  type: "number",
  default: 1,
  per: "tensor",
  meaning: "scale of the merged change",
};

export const wholeParameter: Parameter = {
  type: "flag",
  default: true,
  per: "tensor",
  meaning: "false makes a matrix as vectors are made, by the mean of the changes: for embeddings, or to save time",
};

/** Tensors of two axes, where `whole` is set. */
export function takesMatrices({ global }: Settings, { shape }: { readonly shape: readonly number[] }): boolean {
  return shape.length === 2 && global.whole === true;
}

/** theta_0 + lambda (tau_1 + … + tau_n) / n, over the models that have the tensor. */
export const meanOfChanges: MatrixMethod["otherwise"] = {
  combine: (tile, args) => taskArithmetic.combine(tile, args),
  kernel: (args) => taskArithmetic.kernel(args),
  bind({ global, models }): Arguments {
    return {
      scalars: { lambda: fround(Number(global.lambda) / models.length) },
      columns: { weight: models.map(() => 1) },
    };
  },
};

export function widen({ rows, columns, data }: Matrix): Matrix64 {
  return { rows, columns, data: new Float64Array(data) };
}

/** tau_1 + … + tau_n in recipe order, in f64. */
export async function sumOfChanges(task: MatrixTask): Promise<Matrix64> {
  const sum = widen(await task.model(0));
  for (let index = 1; index < task.models; index++) {
    const { data } = await task.model(index);
    for (let at = 0; at < data.length; at++) sum.data[at] = sum.data[at]! + data[at]!;
  }
  return sum;
}

/** theta_0 + lambda change. */
export async function applied(
  task: MatrixTask,
  { global }: Settings,
  change: Matrix64,
  figures: MatrixResult["figures"],
): Promise<MatrixResult> {
  const lambda = Number(global.lambda);
  const { rows, columns, data } = (await task.base())!;
  const merged = data.map((value, at) => value + lambda * change.data[at]!);
  return { merged: { rows, columns, data: merged }, ...(figures === undefined ? {} : { figures }) };
}

/** U diag(s) of U's first columns. */
export function timesDiagonal({ rows, columns, data }: Matrix64, s: ArrayLike<number>): Matrix64 {
  return { rows, columns, data: data.map((value, at) => value * s[at % columns]!) };
}

/**
 * How many of the descending singular values of a matrix of f32 numbers are more than rounding of its largest: those above
 * 2^-24 times the larger side times the first.
 */
export function numericalRank(s: ArrayLike<number>, { rows, columns }: { rows: number; columns: number }): number {
  const least = Math.max(rows, columns) * 2 ** -24 * (s[0] ?? 0);
  let rank = 0;
  while (rank < s.length && s[rank]! > least) rank++;
  return rank;
}

/** U V^T of A = U S V^T over the numerical range of A: directions of singular value zero stay zero. */
export function polarFactor(algebra: Algebra, a: Matrix64): { factor: Matrix64; s: Float64Array; rank: number } {
  const { u, s, vt } = algebra.svd(a);
  const rank = numericalRank(s, a);
  const kept = s.map((_, k) => (k < rank ? 1 : 0));
  return { factor: algebra.multiply64(timesDiagonal(u, kept), vt), s, rank };
}
