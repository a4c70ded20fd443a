import { exp } from "./exp.js";
import { laneSum } from "./machine.js";
import type { Machine } from "./machine.js";

/**
 * Per row four numbers: the largest logit, S = Σ exp(x − largest), the target's x − largest (0 without a target), and
 * Σ exp(x − largest) (x − largest). Cross-entropy is log S minus the third, entropy log S minus the fourth over S.
 */
export function row_stats(
  machine: Machine,
  logits: number,
  targets: number,
  stats: number,
  rows: number,
  classes: number,
): void {
  const { f, i, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = logits + row * classes;
    let top = -Infinity;
    for (let c = 0; c < classes; c++) top = Math.max(top, f[at + c]!);
    const below = (c: number) => round(f[at + c]! - top);
    const target = targets === 0 ? -1 : i[targets + row]!;
    f[stats + 4 * row] = top;
    f[stats + 4 * row + 1] = laneSum(machine, classes, (c) => exp(machine, below(c)));
    f[stats + 4 * row + 2] = target < 0 ? 0 : below(target);
    f[stats + 4 * row + 3] = laneSum(machine, classes, (c) => round(exp(machine, below(c)) * below(c)));
  }
}

/** weight (p − one-hot(target)), zero where the weight is. */
export function cross_entropy_vjp(
  machine: Machine,
  logits: number,
  stats: number,
  targets: number,
  weights: number,
  dlogits: number,
  rows: number,
  classes: number,
): void {
  const { f, i, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * classes;
    const weight = f[weights + row]!;
    const scale = round(weight / f[stats + 4 * row + 1]!);
    for (let c = 0; c < classes; c++) {
      f[dlogits + at + c] = round(exp(machine, round(f[logits + at + c]! - f[stats + 4 * row]!)) * scale);
    }
    const target = i[targets + row]!;
    if (target >= 0) f[dlogits + at + target] = round(f[dlogits + at + target]! - weight);
  }
}

/** −weight p (log p + entropy). */
export function entropy_vjp(
  machine: Machine,
  logits: number,
  stats: number,
  weights: number,
  dlogits: number,
  rows: number,
  classes: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * classes;
    const sum = f[stats + 4 * row + 1]!;
    const average = round(f[stats + 4 * row + 3]! / sum);
    const scale = round(f[weights + row]! / sum);
    for (let c = 0; c < classes; c++) {
      const d = round(f[logits + at + c]! - f[stats + 4 * row]!);
      f[dlogits + at + c] = round(round(exp(machine, d) * scale) * round(average - d));
    }
  }
}
