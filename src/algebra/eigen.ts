/**
 * Eigenvalues and eigenvectors of a symmetric matrix: Householder reflectors to tridiagonal form, then the QL iteration with
 * implicit shifts (H. Bowdler, R. Martin, C. Reinsch, J. Wilkinson, "The QR and QL Algorithms for Symmetric Matrices",
 * 1968). Rotations of one iteration are applied to the vectors together.
 */
import { checkFinite, lengthOf, noConvergence, shapeError, shapeOf } from "./matrix.js";
import type { Matrix64 } from "./matrix.js";
import { applyReflectors, reflect } from "./reflectors.js";
import type { Reflectors } from "./reflectors.js";
import { descending, signOf } from "./signs.js";
import type { Placed, Space } from "./space.js";

const EPSILON = 2 ** -52;
/** Below this an off-diagonal entry of a scaled matrix is nothing. */
const TINY = 2 ** -960;
const MOST_ITERATIONS = 80;

/** See `Algebra.eigenSymmetric`. */
export function eigenSymmetric(space: Space, a: Matrix64): { values: Float64Array; vectors: Matrix64 } {
  const scale = checkFinite("eigenSymmetric", a);
  const n = a.rows;
  if (n !== a.columns) throw shapeError("eigenSymmetric", "a square matrix", shapeOf(a));
  return space.scope(() => {
    const placed = space.place(a, 1 / scale);
    mirrorLower(space, placed);
    const { diagonal, beside, reflectors } = tridiagonalise(space, placed);
    const rows = space.matrix(n, n);
    for (let k = 0; k < n; k++) space.f64[rows.at / 8 + k * rows.stride + k] = 1;
    iterate(space, diagonal, beside, rows);
    applyReflectors(space, reflectors, rows, false);
    return sorted(space.take(rows), diagonal, scale);
  });
}

/** Only the lower triangle is read. */
function mirrorLower({ f64 }: Space, { at, rows, stride }: Placed): void {
  const first = at / 8;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < i; j++) f64[first + j * stride + i] = f64[first + i * stride + j]!;
  }
}

function sorted(rows: Matrix64, diagonal: Float64Array, scale: number): { values: Float64Array; vectors: Matrix64 } {
  const n = rows.rows;
  const order = descending(diagonal);
  const vectors = new Float64Array(n * n);
  for (const [column, from] of order.entries()) {
    const sign = signOf(rows.data, from * n, 1, n);
    for (let i = 0; i < n; i++) vectors[i * n + column] = sign * rows.data[from * n + i]!;
  }
  const values = Float64Array.from(order, (from) => diagonal[from]! * scale);
  return { values, vectors: { rows: n, columns: n, data: vectors } };
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Entry k stands beside diagonal entries k and k + 1; the last is 0. */
  readonly beside: Float64Array;
  /** In the rows of the matrix. */
  readonly reflectors: Reflectors;
}

/**
 * A = Q T Qᵀ in place. The change of rank two that reflector k makes of what is left, A −= v wᵀ + w vᵀ, is made in the pass
 * that multiplies what is left by the next reflector's vector.
 */
function tridiagonalise(space: Space, a: Placed): Tridiagonal {
  const n = a.rows;
  const { kernels } = space;
  const v = space.vector(n);
  const w = space.vector(n);
  const p = space.vector(n);
  const f = space.f64;
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  const tau = new Float64Array(Math.max(0, n - 1));
  for (let k = 0; k < n; k++) {
    const row = a.at / 8 + k * a.stride;
    const [vk, wk] = [f[v / 8 + k]!, f[w / 8 + k]!];
    for (let j = k; j < n; j++) f[row + j] = f[row + j]! - vk * f[w / 8 + j]! - wk * f[v / 8 + j]!;
    diagonal[k] = f[row + k]!;
    if (k === n - 1) break;
    const left = n - k - 1;
    const next = 8 * (k + 1);
    const x = 8 * row + next;
    const made = reflect(space, left, x);
    beside[k] = made.beta;
    tau[k] = made.tau;
    kernels.update(
      left,
      left,
      a.at + 8 * (k + 1) * a.stride + next,
      a.stride,
      v + next,
      w + next,
      w + next,
      v + next,
      x,
      p + next,
    );
    nextUpdate(space, made.tau, left, x, p + next, v + next, w + next);
  }
  for (let k = 0; k < n; k++) f.fill(0, a.at / 8 + k * a.stride, a.at / 8 + k * a.stride + k + 1);
  return { diagonal, beside, reflectors: { vectors: a, tau, shift: 1 } };
}

/** From p = A x: v = x and w = tau p − (tau² / 2)(pᵀ x) x. */
function nextUpdate(space: Space, tau: number, n: number, x: number, p: number, v: number, w: number): void {
  const f = space.f64;
  const half = (-tau / 2) * (tau * space.kernels.dot(n, p, x));
  for (let i = 0; i < n; i++) {
    const xi = f[x / 8 + i]!;
    f[v / 8 + i] = xi;
    f[w / 8 + i] = tau * f[p / 8 + i]! + half * xi;
  }
}

/** Makes `d` the eigenvalues; row i of `rows`, which come in as the identity, becomes the vector of d_i. */
function iterate(space: Space, d: Float64Array, e: Float64Array, rows: Placed): void {
  const n = d.length;
  const angles = space.vector(2 * n);
  for (let l = 0; l < n; l++) {
    for (let round = 0; ; round++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]!) > EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!)) + TINY) m++;
      if (m === l) break;
      if (round === MOST_ITERATIONS) throw noConvergence("eigenSymmetric");
      const count = sweep(d, e, l, m, space.f64.subarray(angles / 8, angles / 8 + 2 * n));
      space.kernels.rotate(count, n, rows.at + 8 * m * rows.stride, -rows.stride, angles);
    }
  }
}

/** One iteration on entries l to m. @returns the number of rotations, of rows m and m − 1 first. */
function sweep(d: Float64Array, e: Float64Array, l: number, m: number, angles: Float64Array): number {
  let g = (d[l + 1]! - d[l]!) / (2 * e[l]!);
  const length = lengthOf(g, 1);
  g = d[m]! - d[l]! + e[l]! / (g + (g < 0 ? -length : length));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]!;
    const b = c * e[i]!;
    const r = lengthOf(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = d[i + 1]! - p;
      e[m] = 0;
      return m - 1 - i;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1]! - p;
    const next = (d[i]! - g) * s + 2 * c * b;
    p = s * next;
    d[i + 1] = g + p;
    g = c * next - b;
    angles[2 * (m - 1 - i)] = c;
    angles[2 * (m - 1 - i) + 1] = s;
  }
  d[l] = d[l]! - p;
  e[l] = g;
  e[m] = 0;
  return m - l;
}
