import type { Machine } from "./machine.js";

/** y[r] = table[index[r]]. */
export function take({ f, i }: Machine, index: number, table: number, y: number, rows: number, columns: number): void {
  for (let row = 0; row < rows; row++) {
    const from = table + i[index + row]! * columns;
    for (let c = 0; c < columns; c++) f[y + row * columns + c] = f[from + c]!;
  }
}

/** dtable[index[r]] += dy[r], rows in order. */
export function take_vjp(
  { f, i, round }: Machine,
  index: number,
  dy: number,
  dtable: number,
  rows: number,
  columns: number,
): void {
  for (let row = 0; row < rows; row++) {
    const to = dtable + i[index + row]! * columns;
    for (let c = 0; c < columns; c++) f[to + c] = round(f[to + c]! + f[dy + row * columns + c]!);
  }
}

/** y[h][i][j] = table[index[i][j]][h], rows of y `stride` apart and filled up with zeros. */
export function spread(
  { f, i: integers }: Machine,
  index: number,
  table: number,
  y: number,
  heads: number,
  rows: number,
  columns: number,
  stride: number,
): void {
  for (let h = 0; h < heads; h++) {
    for (let row = 0; row < rows; row++) {
      for (let c = 0; c < stride; c++) {
        const to = y + (h * rows + row) * stride + c;
        f[to] = c < columns ? f[table + integers[index + row * columns + c]! * heads + h]! : 0;
      }
    }
  }
}

/** dtable[index[i][j]][h] += dy[h][i][j]. */
export function spread_vjp(
  { f, i: integers, round }: Machine,
  index: number,
  dy: number,
  dtable: number,
  heads: number,
  rows: number,
  columns: number,
  stride: number,
): void {
  for (let h = 0; h < heads; h++) {
    for (let row = 0; row < rows; row++) {
      for (let c = 0; c < columns; c++) {
        const to = dtable + integers[index + row * columns + c]! * heads + h;
        f[to] = round(f[to]! + f[dy + (h * rows + row) * stride + c]!);
      }
    }
  }
}

/** Puts a token before each of `batch` runs of `length` rows. */
export function prepend(
  { f }: Machine,
  token: number,
  x: number,
  y: number,
  batch: number,
  length: number,
  columns: number,
): void {
  const run = length * columns;
  for (let n = 0; n < batch; n++) {
    const to = y + n * (run + columns);
    f.copyWithin(to, token, token + columns);
    f.copyWithin(to + columns, x + n * run, x + (n + 1) * run);
  }
}

/** Leaves out the first row of each of `batch` runs of `length` + 1 rows. */
export function drop_first({ f }: Machine, x: number, y: number, batch: number, length: number, columns: number): void {
  const run = length * columns;
  for (let n = 0; n < batch; n++) {
    const from = x + n * (run + columns) + columns;
    f.copyWithin(y + n * run, from, from + run);
  }
}

/** Squares of `size` x `size` pixels as rows, channels outermost, as a convolution's weight lies. */
export function patches(
  { f }: Machine,
  pixels: number,
  y: number,
  batch: number,
  channels: number,
  height: number,
  width: number,
  size: number,
): void {
  let to = y;
  for (let n = 0; n < batch; n++) {
    for (let top = 0; top + size <= height; top += size) {
      for (let left = 0; left + size <= width; left += size) {
        for (let c = 0; c < channels; c++) {
          for (let line = 0; line < size; line++) {
            const from = pixels + ((n * channels + c) * height + top + line) * width + left;
            f.copyWithin(to, from, from + size);
            to += size;
          }
        }
      }
    }
  }
}
