import { reflect } from "./reflectors.js";
import type { Reflectors } from "./reflectors.js";
import type { Placed, Space } from "./space.js";

export interface Bidiagonal {
  readonly diagonal: Float64Array;
  /** Above the diagonal: entry k stands in row k, column k + 1; the last is 0. */
  readonly beside: Float64Array;
  readonly left: Reflectors;
  readonly right: Reflectors;
}

/**
 * A = Q B Pᵀ, B upper bidiagonal, of a matrix with at least as many rows as columns, which is used up. What step k changes,
 * A −= u wᵀ + z vᵀ, is changed in the pass that multiplies by the next left reflector's vector, so that each step reads what
 * is left of A twice (G. Howell, J. Demmel, C. Fulton, S. Hammarling, K. Marmol, "Cache Efficient Bidiagonalization Using
 * BLAS 2.5 Operators", 2008).
 */
export function bidiagonalise(space: Space, a: Placed): Bidiagonal {
  const { rows: m, columns: n } = a;
  const { kernels } = space;
  const us = space.matrix(n, m);
  const vs = space.matrix(n, n);
  // Of the step before: u and z along the rows, w and v along the columns.
  const [u, z, w, v] = [space.vector(m), space.vector(m), space.vector(n), space.vector(n)];
  const y = space.vector(n);
  const f = space.f64;
  const found = { diagonal: new Float64Array(n), beside: new Float64Array(n) };
  const [tauLeft, tauRight] = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++) {
    const [rows, columns] = [m - k, n - k - 1];
    const left = us.at + 8 * (k * us.stride + k);
    const corner = a.at / 8 + k * a.stride + k;
    const [wk, vk] = [f[w / 8 + k]!, f[v / 8 + k]!];
    for (let i = 0; i < rows; i++) {
      f[left / 8 + i] = f[corner + i * a.stride]! - f[u / 8 + k + i]! * wk - f[z / 8 + k + i]! * vk;
    }
    const made = reflect(space, rows, left);
    found.diagonal[k] = made.beta;
    tauLeft[k] = made.tau;
    if (columns === 0) break;
    const next = 8 * (k + 1);
    const block = 8 * corner + 8;
    kernels.update(rows, columns, block, a.stride, u + 8 * k, w + next, z + 8 * k, v + next, left, y + next);
    const right = vs.at + 8 * (k * vs.stride + k + 1);
    for (let j = 0; j < columns; j++) {
      const value = made.tau * f[y / 8 + k + 1 + j]!;
      f[w / 8 + k + 1 + j] = value;
      f[right / 8 + j] = f[block / 8 + j]! - value;
    }
    const turned = reflect(space, columns, right);
    found.beside[k] = turned.beta;
    tauRight[k] = turned.tau;
    for (let j = 0; j < columns; j++) f[v / 8 + k + 1 + j] = f[right / 8 + j]!;
    f.set(f.subarray(left / 8, left / 8 + rows), u / 8 + k);
    // z = tau (A − u wᵀ) v, for the rows below.
    const below = rows - 1;
    kernels.multiply_vector(below, columns, block + 8 * a.stride, a.stride, right, z + next);
    const product = kernels.dot(columns, w + next, right);
    for (let i = k + 1; i < m; i++) {
      f[z / 8 + i] = turned.tau * (f[z / 8 + i]! - f[u / 8 + i]! * product);
    }
  }
  return {
    ...found,
    left: { vectors: us, tau: tauLeft, shift: 0 },
    right: { vectors: vs, tau: tauRight.subarray(0, n - 1), shift: 1 },
  };
}
