/**
 * The rank at which a spectrum falls to noise (Gavish and Donoho, "The optimal hard threshold for singular values is
 * 4/√3", IEEE Trans. Inf. Theory 60, 2014). A change is taken as a low-rank matrix plus noise of variance σ² in every
 * entry; of an m x n matrix, β = m/n ≤ 1, singular values are worth keeping above λ(β)·√n·σ,
 *
 *   λ(β) = √(2(β + 1) + 8β / (β + 1 + √(β² + 14β + 1))).
 *
 * σ² is what the kept values leave of the squared norm, per entry that they leave free: (m − r)(n − r). Both are found
 * together, going down the spectrum from its largest value.
 */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import { frobenius } from "./recompress.js";
import type { Cutoff } from "./recompress.js";

/** The most singular values that are looked at, where nothing else is asked for. */
export const MOST = 128;

export function kneeCutoff(algebra: Algebra, change: Matrix, { rank = MOST }: Cutoff): Cutoff {
  const most = Math.min(rank, change.rows, change.columns);
  const { s } = algebra.truncatedSvd(change, most);
  return { rank: kneeOf(s, frobenius(change.data), change) };
}

/** @param s the leading singular values, descending. @param norm of the whole matrix. @returns at least 1. */
export function kneeOf(
  s: ArrayLike<number>,
  norm: number,
  size: { readonly rows: number; readonly columns: number },
): number {
  const m = Math.min(size.rows, size.columns);
  const n = Math.max(size.rows, size.columns);
  let left = norm * norm;
  let rank = 0;
  while (rank < s.length) {
    const free = (m - rank) * (n - rank);
    // What the next value would leave, if it were kept, says how strong the noise is.
    const noise = free === 0 ? 0 : Math.max(0, left - s[rank]! ** 2) / free;
    if (s[rank]! <= threshold(m / n) * Math.sqrt(n * noise)) break;
    left -= s[rank]! ** 2;
    rank++;
  }
  return Math.max(1, rank);
}

/** λ(β). */
export function threshold(beta: number): number {
  return Math.sqrt(2 * (beta + 1) + (8 * beta) / (beta + 1 + Math.sqrt(beta * beta + 14 * beta + 1)));
}
