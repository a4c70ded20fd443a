import { laneSum } from "./machine.js";
import type { Machine } from "./machine.js";

/** y = (x − mean) / √(variance + eps) · gain + shift, row by row; mean and inverse deviation are kept in `stats`. */
export function layer_norm(
  machine: Machine,
  x: number,
  y: number,
  stats: number,
  gain: number,
  shift: number,
  rows: number,
  columns: number,
  eps: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    const mean = round(laneSum(machine, columns, (c) => f[x + at + c]!) / columns);
    const squares = laneSum(machine, columns, (c) => {
      const d = round(f[x + at + c]! - mean);
      return round(d * d);
    });
    const inverse = round(1 / round(Math.sqrt(round(round(squares / columns) + round(eps)))));
    for (let c = 0; c < columns; c++) {
      const h = round(round(f[x + at + c]! - mean) * inverse);
      f[y + at + c] = round(round(h * f[gain + c]!) + f[shift + c]!);
    }
    f[stats + 2 * row] = mean;
    f[stats + 2 * row + 1] = inverse;
  }
}

/** With x̂ the normed row and h = dy · gain: dx = inverse (h − mean(h) − x̂ mean(h x̂)); dgain += dy x̂, dshift += dy. */
export function layer_norm_vjp(
  machine: Machine,
  x: number,
  dy: number,
  stats: number,
  gain: number,
  dx: number,
  dgain: number,
  dshift: number,
  rows: number,
  columns: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    const mean = f[stats + 2 * row]!;
    const inverse = f[stats + 2 * row + 1]!;
    const normed = (c: number) => round(round(f[x + at + c]! - mean) * inverse);
    const h = (c: number) => round(f[dy + at + c]! * f[gain + c]!);
    const m1 = round(laneSum(machine, columns, h) / columns);
    const m2 = round(laneSum(machine, columns, (c) => round(h(c) * normed(c))) / columns);
    for (let c = 0; c < columns; c++) {
      const g = f[dy + at + c]!;
      if (dgain !== 0) f[dgain + c] = round(f[dgain + c]! + round(g * normed(c)));
      if (dshift !== 0) f[dshift + c] = round(f[dshift + c]! + g);
      f[dx + at + c] = round(inverse * round(round(h(c) - m1) - round(normed(c) * m2)));
    }
  }
}

/** y = x / √(mean(x²) + eps) · gain; `gain` 0 stands for ones. The inverse root is kept in `stats`. */
export function rms_norm(
  machine: Machine,
  x: number,
  y: number,
  stats: number,
  gain: number,
  rows: number,
  columns: number,
  eps: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    const squares = laneSum(machine, columns, (c) => round(f[x + at + c]! * f[x + at + c]!));
    const inverse = round(1 / round(Math.sqrt(round(round(squares / columns) + round(eps)))));
    for (let c = 0; c < columns; c++) {
      f[y + at + c] = round(round(f[x + at + c]! * inverse) * (gain === 0 ? 1 : f[gain + c]!));
    }
    f[stats + row] = inverse;
  }
}

/** dx = inverse (h − x̂ mean(h x̂)); dgain += dy x̂. */
export function rms_norm_vjp(
  machine: Machine,
  x: number,
  dy: number,
  stats: number,
  gain: number,
  dx: number,
  dgain: number,
  rows: number,
  columns: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    const inverse = f[stats + row]!;
    const normed = (c: number) => round(f[x + at + c]! * inverse);
    const h = (c: number) => round(f[dy + at + c]! * (gain === 0 ? 1 : f[gain + c]!));
    const m2 = round(laneSum(machine, columns, (c) => round(h(c) * normed(c))) / columns);
    for (let c = 0; c < columns; c++) {
      if (dgain !== 0) f[dgain + c] = round(f[dgain + c]! + round(f[dy + at + c]! * normed(c)));
      f[dx + at + c] = round(inverse * round(h(c) - round(normed(c) * m2)));
    }
  }
}
