import type { ScoreRows } from "../methods/method.js";

/** Rows of scores that so many models have. */
export function rowCount(per: ScoreRows, models: number): number {
  if (per === "column") return 1;
  return per === "model" ? models : (models * (models + 1)) / 2;
}

/**
 * Which rows of a group's scores a tensor's are.
 * @param present the models that the tensor has, ascending, of `models` in the group.
 */
export function rowsOf(per: ScoreRows, present: readonly number[], models: number): number[] {
  if (per === "column") return [0];
  if (per === "model") return [...present];
  return present.flatMap((i, at) => present.slice(at).map((j) => i * models - (i * (i - 1)) / 2 + (j - i)));
}
