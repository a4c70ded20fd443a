/** Arithmetic on inner products: what a weighted sum of vectors is like, without the vectors. */
import type { Gram } from "../methods/method.js";

/** Where the product of vectors i and j stands among the pairs. */
export function pairIndex(vectors: number, i: number, j: number): number {
  const low = Math.min(i, j);
  return low * vectors - (low * (low - 1)) / 2 + Math.max(i, j) - low;
}

/** The inner product of vectors i and j. */
export function product({ vectors, products }: Gram, i: number, j: number): number {
  return products[pairIndex(vectors, i, j)]!;
}

/** Length of vector i. */
export function norm(gram: Gram, i: number): number {
  return Math.sqrt(product(gram, i, i));
}

/** Inner product of the weighted sums with coefficients a and b. */
export function productOfSums(gram: Gram, a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < gram.vectors; i++) {
    for (let j = 0; j < gram.vectors; j++) sum += a[i]! * b[j]! * product(gram, i, j);
  }
  return sum;
}

/** Length of the weighted sum with coefficients a; cancellation is not allowed to make its square negative. */
export function normOfSum(gram: Gram, a: readonly number[]): number {
  return Math.sqrt(Math.max(0, productOfSums(gram, a, a)));
}

/** Cosine of the angle between vectors i and j, within [−1, 1]; 0 where one of them is zero. */
export function cosine(gram: Gram, i: number, j: number): number {
  const lengths = norm(gram, i) * norm(gram, j);
  return lengths > 0 ? Math.min(1, Math.max(-1, product(gram, i, j) / lengths)) : 0;
}

/** Squared distance between vectors i and j. */
export function squaredDistance(gram: Gram, i: number, j: number): number {
  return Math.max(0, product(gram, i, i) + product(gram, j, j) - 2 * product(gram, i, j));
}
