/**
 * Dense linear algebra of whole matrices: products, orthogonal factorisations, eigenvalues, singular values, Cholesky.
 *
 * An algebra is synchronous and belongs to one thread; it keeps a WebAssembly memory of its own, which grows to what its
 * largest call needed: about the operands and results in f64, three times over for `svd`. Results are new arrays. The same
 * operands give the same bits on every machine. Operands are never changed.
 *
 * Errors of all operations: `algebra/shape` where shapes or lengths do not fit, `algebra/memory` beyond 4 GiB and, but for
 * products, which carry NaN and infinity as arithmetic does, `values/non-finite` for entries that are not finite. None of
 * them knows the tensor's name; callers add it.
 */
import { cholesky, solveCholesky } from "./cholesky.js";
import { eigenSymmetric } from "./eigen.js";
import { definedKernels } from "./kernels/kernels.js";
import { loadAlgebra, SCRATCH_BYTES } from "./kernels/load.js";
import type { Matrix, Matrix64 } from "./matrix.js";
import { multiply, multiply64 } from "./multiply.js";
import type { Transposition } from "./multiply.js";
import { polar } from "./polar.js";
import { qr } from "./qr.js";
import { Space } from "./space.js";
import { svd } from "./svd.js";
import { truncatedSvd } from "./truncated.js";
import type { TruncatedHow } from "./truncated.js";

export type { Matrix, Matrix64 } from "./matrix.js";
export type { Transposition } from "./multiply.js";
export type { TruncatedHow } from "./truncated.js";

export interface Algebra {
  /** op(A) op(B) in f32; sums along k are cut into blocks of 256. */
  multiply(a: Matrix, b: Matrix, how?: Transposition): Matrix;
  /** op(A) op(B) in f64. */
  multiply64(a: Matrix64, b: Matrix64, how?: Transposition): Matrix64;
  /**
   * A = Q R for at least as many rows as columns: Q `[rows, columns]` with orthonormal columns, whatever the rank of A; R
   * square, upper triangular, its diagonal not negative. Householder.
   */
  qr(a: Matrix64): { q: Matrix64; r: Matrix64 };
  /**
   * A = V diag(values) Vᵀ of a symmetric matrix, of which the lower triangle is read. Values descend; column i of `vectors`
   * belongs to value i, and its entry of the largest magnitude (the first of several) is positive.
   */
  eigenSymmetric(a: Matrix64): { values: Float64Array; vectors: Matrix64 };
  /**
   * A = U diag(s) Vt, thin: U `[rows, k]`, Vt `[k, columns]`, k the smaller side; values descend. Of each column of U the
   * entry of the largest magnitude (the first of several) is positive. Vectors of zero singular values are orthonormal too.
   */
  svd(a: Matrix | Matrix64): { u: Matrix64; s: Float64Array; vt: Matrix64 };
  /**
   * The `rank` leading singular triples, 1 to the smaller side. By a random sketch of `rank + oversampling` (16) columns and
   * `powerIterations` (2), which depends on `seed` (0) and the shape alone; exactly where the smaller side is at most 96 or
   * less than twice the sketch. Signs as in `svd`, before rounding to f32.
   * @returns `error`: ‖A − U diag(s) Vt‖ / ‖A‖ (Frobenius), measured on these very factors; 0 for a matrix of zeros.
   */
  truncatedSvd(a: Matrix, rank: number, how?: TruncatedHow): { u: Matrix; s: Float64Array; vt: Matrix; error: number };
  /** Lower L with L Lᵀ = A, of which the lower triangle is read; null where A is not positive definite in f64. */
  cholesky(a: Matrix64): Matrix64 | null;
  /** X with L Lᵀ X = B. */
  solveCholesky(lower: Matrix64, b: Matrix64): Matrix64;
  /**
   * U V ᵀ of A = U S Vᵀ: the nearest matrix with orthonormal columns (rows, for a wide one). Newton–Schulz in f32: singular
   * values below about 1e-7 of the largest are noise in f32, and so is where their directions go; zeros stay zeros.
   */
  polar(a: Matrix): Matrix;
}

/** The operations over a memory with its kernels. */
export function algebraOver(space: Space): Algebra {
  return {
    multiply: (a, b, how) => multiply(space, a, b, how),
    multiply64: (a, b, how) => multiply64(space, a, b, how),
    qr: (a) => qr(space, a),
    eigenSymmetric: (a) => eigenSymmetric(space, a),
    svd: (a) => svd(space, a),
    truncatedSvd: (a, rank, how) => truncatedSvd(space, a, rank, how),
    cholesky: (a) => cholesky(space, a),
    solveCholesky: (lower, b) => solveCholesky(space, lower, b),
    polar: (a) => polar(space, a),
  };
}

/** The algebra with the TypeScript definitions of its kernels: what `openAlgebra` gives, bit for bit, and slowly. */
export function openPlainAlgebra(): Algebra {
  return algebraOver(new Space(definedKernels));
}

/** An algebra for the calling thread. */
export function openAlgebra(): Algebra {
  return algebraOver(new Space(loadAlgebra, SCRATCH_BYTES));
}
