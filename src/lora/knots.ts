/**
 * KnOTS (Stoica et al., ICLR 2025, arXiv 2410.19735): updates aligned by one singular value decomposition of all of them
 * side by side, [ΔW_1 … ΔW_T] = U S [V_1 … V_T]. The V_t, in one and the same basis U S, are merged entry by entry into
 * V_m, and the result is U S V_m: an update of rank Σ r_t at most.
 *
 * Found in factored form: with ΔW_t = s_t B_t A_t, [B_1 … B_T] = Q_B R_B and A_tᵀ = Q_t R_t, only the matrix of the
 * blocks s_t R_B,t R_tᵀ, Σr rows and columns, is decomposed.
 */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import {
  beside,
  columnBasis,
  columnsOf,
  lift,
  rowBasis,
  rowsOf,
  scaleColumns,
  toF32,
  transpose,
  usefulRank,
} from "./low_rank.js";
import type { Term } from "./low_rank.js";

export interface Aligned {
  /** U S, [out, p]. */
  readonly basis: Matrix;
  /** Each update's V_t, [p, in]. */
  readonly parts: readonly Matrix[];
}

/** @param terms each with its adapter's scaling as scale; weights are the method's. */
export function align(algebra: Algebra, terms: readonly Term[]): Aligned {
  const columns = columnBasis(algebra, terms);
  const rows = terms.map((term) => rowBasis(algebra, [term]));
  let first = 0;
  const blocks = terms.map(({ a, scale }, index) => {
    const own = scaleColumns(columnsOf(columns.r, first, a.rows), new Float64Array(a.rows).fill(scale));
    first += a.rows;
    return algebra.multiply64(own, rows[index]!.r, { transposeB: true });
  });
  const { u, s, vt } = algebra.svd(beside(blocks, Float64Array));
  const useful = usefulRank(s);
  const basis = lift(algebra, columns.q, scaleColumns(columnsOf(u, 0, useful), s.subarray(0, useful)));
  const turned = columnsOf(transpose(vt), 0, useful);
  let at = 0;
  const parts = rows.map(({ q, r }) => {
    const own = rowsOf(turned, at, r.rows);
    at += r.rows;
    return toF32(transpose(lift(algebra, q, own)));
  });
  return { basis: toF32(basis), parts };
}
