import { exp } from "./exp.js";
import type { Machine } from "./machine.js";

/** sum += g²; g = 0. Counts are multiples of four. */
export function square_sum({ f, round }: Machine, g: number, sum: number, count: number): void {
  for (let index = 0; index < count; index++) {
    f[sum + index] = round(f[sum + index]! + round(f[g + index]! * f[g + index]!));
    f[g + index] = 0;
  }
}

/**
 * √p(c) (p − one-hot(c)) for each row, where c is the class whose turn it is: the i32 at `turn`, which is one more
 * afterwards. The squares of what follows from it, summed over all classes, are the expectation over the classes of the
 * squared gradients of log p.
 */
export function expected_vjp(
  machine: Machine,
  logits: number,
  stats: number,
  turn: number,
  dlogits: number,
  rows: number,
  classes: number,
): void {
  const { f, i, round } = machine;
  const target = i[turn]!;
  for (let row = 0; row < rows; row++) {
    const at = row * classes;
    const top = f[stats + 4 * row]!;
    const scale = round(1 / f[stats + 4 * row + 1]!);
    const p = (c: number) => round(exp(machine, round(f[logits + at + c]! - top)) * scale);
    const root = round(Math.sqrt(p(target)));
    for (let c = 0; c < classes; c++) f[dlogits + at + c] = round(p(c) * root);
    f[dlogits + at + target] = round(f[dlogits + at + target]! - root);
  }
  i[turn] = target + 1;
}
