import type { Machine } from "./machine.js";

/** Counts are multiples of four, as memory is given out. */
export function add({ f, round }: Machine, a: number, b: number, y: number, count: number): void {
  for (let index = 0; index < count; index++) f[y + index] = round(f[a + index]! + f[b + index]!);
}

export function multiply({ f, round }: Machine, a: number, b: number, y: number, count: number): void {
  for (let index = 0; index < count; index++) f[y + index] = round(f[a + index]! * f[b + index]!);
}

export function fill({ f, round }: Machine, y: number, count: number, value: number): void {
  f.fill(round(value), y, y + count);
}

/** y[r] = x[r] + table[r mod period]. */
export function add_rows(
  { f, round }: Machine,
  x: number,
  table: number,
  y: number,
  rows: number,
  columns: number,
  period: number,
): void {
  for (let index = 0; index < rows * columns; index++) {
    f[y + index] = round(f[x + index]! + f[table + (index % (period * columns))]!);
  }
}

/** out[r mod period] += x[r], rows in order; `stride` entries from row to row of x. */
export function sum_rows(
  { f, round }: Machine,
  x: number,
  out: number,
  rows: number,
  columns: number,
  stride: number,
  period: number,
): void {
  for (let row = 0; row < rows; row++) {
    const to = out + (row % period) * columns;
    for (let c = 0; c < columns; c++) f[to + c] = round(f[to + c]! + f[x + row * stride + c]!);
  }
}

/** y[r][c] = x[r][c], each with its own stride. */
export function copy_columns(
  { f }: Machine,
  x: number,
  xStride: number,
  y: number,
  yStride: number,
  rows: number,
  columns: number,
): void {
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < columns; c++) f[y + row * yStride + c] = f[x + row * xStride + c]!;
  }
}
