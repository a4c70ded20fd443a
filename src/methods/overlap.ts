/** What methods share that treat an entry by how many models changed it: ram, ramplus_tl, localize_and_stitch. */
import { nextAbove } from "../numbers/convert.js";
import type { Arguments, Tile } from "./method.js";

const { abs, fround, max } = Math;

export const OVERLAP_COUNTERS = {
  shared: "entries that more than one model changed",
  unique: "entries that one model alone changed",
} as const;

/**
 * The mean of the active changes, or the only one times its model's `unique` factor; active are those not smaller than
 * their model's threshold, which is above 0. Twin of the kernel `overlap`.
 */
export function combineOverlap({ count, base, inputs, out, counters }: Tile, { scalars, columns }: Arguments): void {
  const lambda = scalars.lambda!;
  const thresholds = columns.threshold!;
  const factors = columns.unique!;
  let shared = 0;
  let unique = 0;
  for (let p = 0; p < count; p++) {
    let sum = 0;
    let factor = 0;
    let active = 0;
    for (let i = 0; i < inputs.length; i++) {
      const x = inputs[i]![p]!;
      // Written so that a NaN is active and reaches the result.
      if (abs(x) < thresholds[i]!) continue;
      sum = fround(sum + x);
      factor = factors[i]!;
      active++;
    }
    let merged = fround(sum / max(active, 1));
    if (active === 1) {
      unique++;
      merged = fround(merged * factor);
    } else if (active > 1) shared++;
    out[p] = base[p]! + fround(merged * lambda);
  }
  counters.shared = (counters.shared ?? 0) + shared;
  counters.unique = (counters.unique ?? 0) + unique;
}

/** The smallest f32 magnitude strictly above a number of at least 0. */
export function smallestAbove(bound: number): number {
  const nearest = fround(bound);
  return nearest > bound ? nearest : nextAbove(nearest);
}
