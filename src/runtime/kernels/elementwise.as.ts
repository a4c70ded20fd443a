/** Sums and products entry by entry; definition in elementwise.ts. Counts are multiples of four, columns are anything. */
import { loadPart, storePart } from "./lanes.as";

export function add(a: usize, b: usize, y: usize, count: i32): void {
  const end = a + (<usize>count << 2);
  for (; a < end; a += 16, b += 16, y += 16) v128.store(y, f32x4.add(v128.load(a), v128.load(b)));
}

export function multiply(a: usize, b: usize, y: usize, count: i32): void {
  const end = a + (<usize>count << 2);
  for (; a < end; a += 16, b += 16, y += 16) v128.store(y, f32x4.mul(v128.load(a), v128.load(b)));
}

export function fill(y: usize, count: i32, value: f32): void {
  const v = f32x4.splat(value);
  for (const end = y + (<usize>count << 2); y < end; y += 16) v128.store(y, v);
}

/** y[r] = x[r] + table[r mod period]. */
export function add_rows(x: usize, table: usize, y: usize, rows: i32, columns: i32, period: i32): void {
  const bytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) addRow(x + <usize>row * bytes, table + <usize>(row % period) * bytes, y + <usize>row * bytes, columns);
}

/** out[r mod period] += x[r], rows in order; `stride` entries from row to row of x. */
export function sum_rows(x: usize, out: usize, rows: i32, columns: i32, stride: i32, period: i32): void {
  for (let row = 0; row < rows; row++) {
    const to = out + (<usize>(row % period) * <usize>columns << 2);
    addRow(to, x + (<usize>row * <usize>stride << 2), to, columns);
  }
}

// @ts-ignore: decorator
@inline function addRow(a: usize, b: usize, y: usize, columns: i32): void {
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  for (let at: usize = 0; at < whole; at += 16) v128.store(y + at, f32x4.add(v128.load(a + at), v128.load(b + at)));
  if (rest > 0) storePart(y + whole, f32x4.add(loadPart(a + whole, rest), loadPart(b + whole, rest)), rest);
}

/** y[r][c] = x[r][c], each with its own stride. */
export function copy_columns(x: usize, xStride: i32, y: usize, yStride: i32, rows: i32, columns: i32): void {
  for (let row = 0; row < rows; row++) {
    memory.copy(y + (<usize>row * <usize>yStride << 2), x + (<usize>row * <usize>xStride << 2), <usize>columns << 2);
  }
}
