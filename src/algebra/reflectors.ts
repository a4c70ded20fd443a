/**
 * Householder reflectors H = I − tau v vᵀ, gathered in blocks Q = I − V T Vᵀ so that all but a narrow panel is products of
 * matrices (R. Schreiber, C. Van Loan, "A Storage-Efficient WY Representation for Products of Householder
 * Transformations", 1989). Vectors are rows here: matrices are kept transposed so that a column lies in one piece.
 */
import type { Placed, Space } from "./space.js";

const BLOCK = 32;
/** A sum of squares that a matrix of entries near 1 takes for zero: smaller ones have lost bits to underflow. */
const NOTHING = 2 ** -900;

/** Reflector k has its vector in row k: zeros, a 1 at entry k + `shift`, the rest behind it. */
export interface Reflectors {
  readonly vectors: Placed;
  readonly tau: Float64Array;
  readonly shift: number;
}

/**
 * Makes the reflector that turns a vector of `n` entries into (beta, 0, …, 0); the vector's memory gets v, whose first
 * entry is 1. A vector that is (alpha, 0, …) already, to rounding of a matrix near 1, is left as it is: tau 0, beta = alpha.
 */
export function reflect(space: Space, n: number, at: number): { readonly beta: number; readonly tau: number } {
  const f = space.f64;
  const first = at / 8;
  const alpha = f[first]!;
  const rest = space.kernels.dot(n - 1, at + 8, at + 8);
  f[first] = 1;
  if (rest < NOTHING) {
    f.fill(0, first + 1, first + n);
    return { beta: alpha, tau: 0 };
  }
  const norm = Math.sqrt(alpha * alpha + rest);
  const beta = alpha >= 0 ? -norm : norm;
  const scale = 1 / (alpha - beta);
  for (let index = first + 1; index < first + n; index++) f[index] = f[index]! * scale;
  return { beta, tau: (beta - alpha) / beta };
}

/**
 * X ← X Qᵀ where Q = H_0 H_1 … : what has rows zᵀ gets rows (Q z)ᵀ.
 * @param identity whether the X that comes in is the identity in its first rows, which spares work.
 */
export function applyReflectors(space: Space, reflectors: Reflectors, x: Placed, identity: boolean): void {
  const count = reflectors.tau.length;
  for (let first = Math.floor((count - 1) / BLOCK) * BLOCK; first >= 0; first -= BLOCK) {
    const skipped = identity ? first : 0;
    const rows = { ...x, at: x.at + 8 * skipped * x.stride, rows: x.rows - skipped };
    applyBlock(space, reflectors, first, Math.min(BLOCK, count - first), rows, true);
  }
}

/** X ← X Qᵀ, or X Q, for the block of `count` reflectors from `first` on. */
function applyBlock(
  space: Space,
  { vectors, tau, shift }: Reflectors,
  first: number,
  count: number,
  x: Placed,
  transposed: boolean,
): void {
  const from = first + shift;
  const length = x.columns - from;
  if (length <= 0 || x.rows === 0) return;
  const { kernels } = space;
  space.scope(() => {
    const v = vectors.at + 8 * (first * vectors.stride + from);
    const t = blockFactor(space, v, vectors.stride, count, length, tau.subarray(first, first + count));
    const w = space.matrix(x.rows, count);
    const wt = space.matrix(x.rows, count);
    const target = x.at + 8 * from;
    kernels.gemm64(x.rows, count, length, target, x.stride, 0, v, vectors.stride, 1, w.at, w.stride, 1, 0);
    const flag = transposed ? 1 : 0;
    kernels.gemm64(x.rows, count, count, w.at, w.stride, 0, t.at, t.stride, flag, wt.at, wt.stride, 1, 0);
    kernels.gemm64(x.rows, length, count, wt.at, wt.stride, 0, v, vectors.stride, 0, target, x.stride, -1, 1);
  });
}

/** T of I − V T Vᵀ, upper triangular. */
function blockFactor(
  space: Space,
  v: number,
  stride: number,
  count: number,
  length: number,
  tau: Float64Array,
): Placed {
  const t = space.matrix(count, count);
  const products = space.matrix(count, count);
  space.kernels.gemm64(count, count, length, v, stride, 0, v, stride, 1, products.at, products.stride, 1, 0);
  const f = space.f64;
  const [to, from] = [t.at / 8, products.at / 8];
  for (let j = 0; j < count; j++) {
    f[to + j * t.stride + j] = tau[j]!;
    for (let i = 0; i < j; i++) {
      let sum = 0;
      for (let l = i; l < j; l++) sum += f[to + i * t.stride + l]! * f[from + l * products.stride + j]!;
      f[to + i * t.stride + j] = -tau[j]! * sum;
    }
  }
  return t;
}

/**
 * The columns of a tall matrix, given as the rows of `x`, become reflectors; R is returned, square and upper triangular.
 */
export function reduceToTriangle(space: Space, x: Placed): { readonly reflectors: Reflectors; readonly r: Placed } {
  const [count, length] = [x.rows, x.columns];
  const reflectors: Reflectors = { vectors: x, tau: new Float64Array(count), shift: 0 };
  const r = space.matrix(count, count);
  for (let first = 0; first < count; first += BLOCK) {
    const end = Math.min(count, first + BLOCK);
    for (let k = first; k < end; k++) {
      const row = x.at + 8 * (k * x.stride + k);
      const { beta, tau } = reflect(space, length - k, row);
      reflectors.tau[k] = tau;
      takeColumn(space, x, r, k, beta);
      if (tau === 0) continue;
      for (let later = k + 1; later < end; later++) {
        const target = x.at + 8 * (later * x.stride + k);
        space.kernels.axpy(length - k, -tau * space.kernels.dot(length - k, row, target), row, target);
      }
    }
    const rest = { ...x, at: x.at + 8 * end * x.stride, rows: count - end };
    applyBlock(space, reflectors, first, end - first, rest, false);
  }
  return { reflectors, r };
}

/** Column k of R is complete: its entries above the diagonal make room for the zeros before reflector k. */
function takeColumn(space: Space, x: Placed, r: Placed, k: number, beta: number): void {
  const f = space.f64;
  const row = x.at / 8 + k * x.stride;
  for (let i = 0; i < k; i++) f[r.at / 8 + i * r.stride + k] = f[row + i]!;
  f[r.at / 8 + k * r.stride + k] = beta;
  f.fill(0, row, row + k);
}
