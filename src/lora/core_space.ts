/**
 * Core Space (Panariello et al., NeurIPS 2025, arXiv 2509.17786): updates in coordinates of the subspace they span
 * together, where any method may merge them as small matrices.
 *
 * U holds orthonormal columns that span the columns of all B_t, V those that span the rows of all A_t; then
 * M_t = Uᵀ (s_t B_t A_t) V and s_t B_t A_t = U M_t Vᵀ without loss, whatever the ranks.
 *
 * An elementwise method depends on the basis. Here U are the left singular vectors of [ΔW_1 … ΔW_T] side by side and V
 * the right ones of the ΔW_t on top of each other, with the signs that the decomposition fixes: a function of the updates
 * alone, not of how they are factored nor (up to rounding) of their order. Directions that no update has are left out, so
 * that shares such as a density count entries that mean something.
 */
import type { Algebra, Matrix64 } from "../algebra/algebra.js";
import { beside, columnBasis, columnsOf, lift, rowBasis, scaleColumns, transpose, usefulRank } from "./low_rank.js";
import type { Term } from "./low_rank.js";

export interface CoreSpace {
  /** Orthonormal columns, [out, p]; `null` for the identity. */
  readonly left: Matrix64 | null;
  /** Orthonormal columns, [in, q]; `null` for the identity. */
  readonly right: Matrix64 | null;
  /** Each update's coordinates, [p, q], in the order of the terms. */
  readonly cores: readonly Matrix64[];
}

/** @param terms each with its adapter's scaling as scale; weights are the method's. */
export function coreSpace(algebra: Algebra, terms: readonly Term[]): CoreSpace {
  const columns = columnBasis(algebra, terms);
  const rows = rowBasis(algebra, terms);
  let first = 0;
  const parts = terms.map(({ a, scale }) => {
    const own = columnsOf(rows.r, first, a.rows);
    const scaled = scaleColumns(own, new Float64Array(a.rows).fill(scale));
    const part = algebra.multiply64(columnsOf(columns.r, first, a.rows), scaled, { transposeB: true });
    first += a.rows;
    return part;
  });
  const turnLeft = leftVectors(algebra, beside(parts, Float64Array));
  const turnRight = leftVectors(algebra, beside(parts.map(transpose), Float64Array));
  const cores = parts.map((part) =>
    algebra.multiply64(algebra.multiply64(turnLeft, part, { transposeA: true }), turnRight),
  );
  return { left: lift(algebra, columns.q, turnLeft), right: lift(algebra, rows.q, turnRight), cores };
}

/** Left singular vectors that carry anything. */
function leftVectors(algebra: Algebra, m: Matrix64): Matrix64 {
  const { u, s } = algebra.svd(m);
  return columnsOf(u, 0, usefulRank(s));
}
