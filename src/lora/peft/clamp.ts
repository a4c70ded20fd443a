/** PEFT's `svd_clamp`: outliers among the entries of U·S and Vᵀ are cut off at one quantile of all of them. */
import type { LowRank } from "../low_rank.js";

const { fround } = Math;

/**
 * PEFT takes the quantile of the entries with their signs, so the result depends on the signs of the singular vectors, which no
 * decomposition defines; ours are those of algebra/signs.ts.
 * @param outer which factor holds U·S: `b`, or `a` where an embedding is stored the other way round.
 */
export function clampFactors({ a, b }: LowRank, quantile: number, outer: "a" | "b"): LowRank {
  const { rows: rank, columns: width } = a;
  const [left, right] = [b.data.slice(), a.data.slice()];
  for (let j = 0; j < rank; j++) {
    const length = (count: number, at: (i: number) => number) => {
      let squares = 0;
      for (let i = 0; i < count; i++) squares += at(i) ** 2;
      return Math.sqrt(squares);
    };
    // All of S goes to one side.
    const norm =
      outer === "b" ? length(width, (i) => right[j * width + i]!) : length(b.rows, (row) => left[row * rank + j]!);
    if (norm === 0) continue;
    const [toLeft, toRight] = outer === "b" ? [norm, 1 / norm] : [1 / norm, norm];
    for (let row = 0; row < b.rows; row++) left[row * rank + j]! *= toLeft;
    for (let i = 0; i < width; i++) right[j * width + i]! *= toRight;
  }
  const pooled = new Float32Array(left.length + right.length);
  pooled.set(left);
  pooled.set(right, left.length);
  const high = quantileOf(pooled.sort(), quantile);
  const cut = (value: number) => Math.min(Math.max(value, -high), high);
  return { a: { ...a, data: right.map(cut) }, b: { ...b, data: left.map(cut) } };
}

/** torch.quantile of f32 entries, which rounds the rank and the interpolation to f32. @param sorted ascending. */
export function quantileOf(sorted: Float32Array, quantile: number): number {
  const rank = fround(fround(quantile) * fround(sorted.length - 1));
  const below = Math.floor(rank);
  const [low, high] = [sorted[below]!, sorted[Math.ceil(rank)]!];
  const part = fround(rank - below);
  const step = fround(high - low);
  return part < 0.5 ? fround(low + fround(part * step)) : fround(high - fround(step * fround(1 - part)));
}
