import type { Machine } from "./machine.js";

/**
 * Turns the pairs (i, i + size / 2) of every head by the angles of its row's position (row mod length), as Llama does.
 * `table` is `[length, size]`: cosines, then sines; `direction` −1 turns back.
 */
export function rope(
  { f, round }: Machine,
  x: number,
  y: number,
  table: number,
  rows: number,
  heads: number,
  size: number,
  length: number,
  direction: number,
): void {
  const half = size / 2;
  for (let row = 0; row < rows; row++) {
    const angles = table + (row % length) * size;
    for (let h = 0; h < heads; h++) {
      const at = (row * heads + h) * size;
      for (let index = 0; index < half; index++) {
        const a = f[x + at + index]!;
        const b = f[x + at + half + index]!;
        const c = f[angles + index]!;
        const s = round(f[angles + half + index]! * direction);
        f[y + at + index] = round(round(a * c) - round(b * s));
        f[y + at + half + index] = round(round(b * c) + round(a * s));
      }
    }
  }
}
