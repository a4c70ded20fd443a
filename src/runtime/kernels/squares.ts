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
 * √p(c) (p − one-hot(c)) of one row, zeros in all others: the turn, the i32 at `turn`, which is one more afterwards, is of
 * row turn div classes and class c = turn mod classes. The squares of what follows from it, summed over all turns, are the
 * sum over rows of the expectation over the classes of the squared gradients of log p.
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
  const target = i[turn]! % classes;
  const row = (i[turn]! - target) / classes;
  const at = row * classes;
  const top = f[stats + 4 * row]!;
  const scale = round(1 / f[stats + 4 * row + 1]!);
  const p = (c: number) => round(exp(machine, round(f[logits + at + c]! - top)) * scale);
  const root = round(Math.sqrt(p(target)));
  f.fill(0, dlogits, dlogits + rows * classes);
  for (let c = 0; c < classes; c++) f[dlogits + at + c] = round(p(c) * root);
  f[dlogits + at + target] = round(f[dlogits + at + target]! - root);
  i[turn]! += 1;
}
