/**
 * A sum of low-rank updates as one update of a chosen rank: the best in the Frobenius norm, found without forming ΔW.
 *
 * [B_1 … B_n] = Q_B R_B and [A_1ᵀ … A_nᵀ] = Q_A R_A (thin QR, f64); the small matrix R_B·diag(scales)·R_Aᵀ = U S Vᵀ
 * holds the singular values of the sum. Then B' = Q_B U_r √S_r and A' = √S_r V_rᵀ Q_Aᵀ. The cost is that of the ranks:
 * about 2(out + in)(Σr)² for the QRs, and a decomposition of a matrix of Σr rows.
 */
import type { Algebra, Matrix, Matrix64, TruncatedHow } from "../algebra/algebra.js";
import {
  columnBasis,
  columnScales,
  columnsOf,
  lift,
  rowBasis,
  scaleColumns,
  toF32,
  transpose,
  usefulRank,
} from "./low_rank.js";
import type { LowRank, Term } from "./low_rank.js";

/** How much of an update is kept; where both are given, the smaller rank that either allows. */
export interface Cutoff {
  /** The largest rank. */
  readonly rank?: number;
  /** The share of the squared Frobenius norm that is kept at least, above 0, at most 1. */
  readonly energy?: number;
}

/** An update, and what was lost on the way to it. */
export interface Recompressed extends LowRank {
  /** ‖wanted − result‖ / ‖wanted‖, Frobenius; 0 where that is zero. */
  readonly error: number;
  /** Frobenius norm of what was wanted. */
  readonly norm: number;
}

export function recompress(algebra: Algebra, terms: readonly Term[], cutoff: Cutoff): Recompressed {
  const left = columnBasis(algebra, terms);
  const right = rowBasis(algebra, terms);
  const scaled = scaleColumns(right.r, columnScales(terms));
  return fromCore(algebra, left.q, algebra.multiply64(left.r, scaled, { transposeB: true }), right.q, cutoff);
}

/** left·core·rightᵀ as an update of a chosen rank; `null` bases are identities. */
export function fromCore(
  algebra: Algebra,
  left: Matrix64 | null,
  core: Matrix64,
  right: Matrix64 | null,
  cutoff: Cutoff,
): Recompressed {
  const { u, s, vt } = algebra.svd(core);
  const rank = rankFor(s, cutoff);
  const roots = s.subarray(0, rank).map(Math.sqrt);
  const b = lift(algebra, left, scaleColumns(columnsOf(u, 0, rank), roots));
  const a = transpose(lift(algebra, right, scaleColumns(columnsOf(transpose(vt), 0, rank), roots)));
  return { a: toF32(a), b: toF32(b), ...lostBehind(s, rank) };
}

/** A dense update at a rank. @param how of the range finder. */
export function truncate(
  algebra: Algebra,
  wanted: Matrix,
  { rank = Number.POSITIVE_INFINITY, energy = 1 }: Cutoff,
  how: TruncatedHow = {},
): Recompressed {
  const most = Math.min(rank, wanted.rows, wanted.columns);
  const norm = frobenius(wanted.data);
  // The spectrum is looked at from its beginning on, twice as far each time, until enough of it is known.
  for (let tried = Math.min(most, energy < 1 ? 32 : most); ; tried = Math.min(most, 2 * tried)) {
    const { u, s, vt } = algebra.truncatedSvd(wanted, tried, how);
    const reached = rankAt(s, norm, energy);
    if (reached === null && tried < most) continue;
    const kept = Math.min(reached ?? tried, usefulRank(s));
    const factors = balanced(u, s, vt, kept);
    return { ...factors, ...residual(algebra, wanted, factors, norm) };
  }
}

/** The first rank at which `energy` is reached; `null`: not among these. */
function rankAt(s: Float64Array, norm: number, energy: number): number | null {
  if (energy >= 1) return null;
  let kept = 0;
  for (let rank = 0; rank < s.length; rank++) {
    kept += s[rank]! * s[rank]!;
    if (kept >= energy * norm * norm) return rank + 1;
  }
  return null;
}

/** U √S and √S Vᵀ. */
export function balanced(u: Matrix, s: Float64Array, vt: Matrix, rank: number): LowRank {
  const b = new Float32Array(u.rows * rank);
  const a = new Float32Array(rank * vt.columns);
  for (let j = 0; j < rank; j++) {
    const root = Math.sqrt(s[j]!);
    for (let row = 0; row < u.rows; row++) b[row * rank + j] = u.data[row * u.columns + j]! * root;
    for (let i = 0; i < vt.columns; i++) a[j * vt.columns + i] = vt.data[j * vt.columns + i]! * root;
  }
  return { a: { rows: rank, columns: vt.columns, data: a }, b: { rows: u.rows, columns: rank, data: b } };
}

/** Measured on the factors as they are. */
function residual(algebra: Algebra, wanted: Matrix, { a, b }: LowRank, norm: number): { error: number; norm: number } {
  if (norm === 0) return { error: 0, norm };
  const { data } = algebra.multiply(b, a);
  let lost = 0;
  for (let i = 0; i < data.length; i++) {
    const difference = wanted.data[i]! - data[i]!;
    lost += difference * difference;
  }
  return { error: Math.sqrt(lost) / norm, norm };
}

export function frobenius(data: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]! * data[i]!;
  return Math.sqrt(sum);
}

/** At least 1, so that a module never vanishes from an adapter. @param s descending. */
export function rankFor(s: Float64Array, { rank = s.length, energy = 1 }: Cutoff): number {
  const useful = usefulRank(s);
  let total = 0;
  for (const value of s) total += value * value;
  let needed = energy < 1 ? 0 : useful;
  for (let kept = 0; needed < useful && kept < energy * total; needed++) kept += s[needed]! * s[needed]!;
  return Math.max(1, Math.min(rank, needed));
}

/** Summed from the smallest up, so that a small loss is not drowned. */
function lostBehind(s: Float64Array, rank: number): { error: number; norm: number } {
  let lost = 0;
  let total = 0;
  for (let i = s.length - 1; i >= 0; i--) {
    total += s[i]! * s[i]!;
    if (i === rank) lost = total;
  }
  return { error: total === 0 ? 0 : Math.sqrt(lost / total), norm: Math.sqrt(total) };
}
