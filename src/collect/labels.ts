/** Labels for statistics: those of the data, the model's own best guess, or one drawn from what it expects. */
import type { Labels } from "../collected/statistics.js";
import { randomWord, streamKey } from "../numbers/random.js";
import { IGNORED } from "../runtime/network.js";
import type { Batch, Network } from "../runtime/network.js";

/**
 * @param gold a class per row; rows that are `IGNORED` stay so.
 * @param draw what a drawn label depends on besides the row: the seed, the data, and the first row's number.
 */
export async function labelsOf(
  network: Network,
  batch: Batch,
  gold: Int32Array,
  labels: Labels,
  draw: { readonly seed: number; readonly data: string; readonly rowsBefore: readonly number[] },
): Promise<Int32Array> {
  if (labels === "gold") return gold;
  const { classes, values } = await network.logits(batch);
  const key = streamKey(draw.seed, draw.data, "labels");
  const rows = gold.length / draw.rowsBefore.length;
  return gold.map((target, row) => {
    if (target === IGNORED) return IGNORED;
    const logits = values.subarray(row * classes, (row + 1) * classes);
    if (labels === "argmax") return logits.reduce((best, value, index) => (value > logits[best]! ? index : best), 0);
    return drawn(logits, randomWord(key, draw.rowsBefore[Math.floor(row / rows)]! + (row % rows)) / 2 ** 32);
  });
}

/** The class at a share of the probabilities, which are laid end to end. */
function drawn(logits: Float32Array, share: number): number {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const weights = Float64Array.from(logits, (value) => Math.exp(value - top));
  let left = share * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [index, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return index;
  }
  return weights.findLastIndex((weight) => weight > 0);
}
