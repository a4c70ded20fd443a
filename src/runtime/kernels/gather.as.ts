/** Rows and columns picked by index, and where they are put back; definition in gather.ts. Indices are i32. */
import { loadPart, storePart } from "./lanes.as";

/** y[r] = table[index[r]]. */
export function take(index: usize, table: usize, y: usize, rows: i32, columns: i32): void {
  const bytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) {
    memory.copy(y + <usize>row * bytes, table + <usize>load<i32>(index + (<usize>row << 2)) * bytes, bytes);
  }
}

/** table[index[r]] += dy[r], rows in order. */
export function take_vjp(index: usize, dy: usize, dtable: usize, rows: i32, columns: i32): void {
  const bytes = <usize>columns << 2;
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  for (let row = 0; row < rows; row++) {
    const to = dtable + <usize>load<i32>(index + (<usize>row << 2)) * bytes;
    const from = dy + <usize>row * bytes;
    for (let at: usize = 0; at < whole; at += 16) v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
    if (rest > 0) storePart(to + whole, f32x4.add(loadPart(to + whole, rest), loadPart(from + whole, rest)), rest);
  }
}

/** y[h][i][j] = table[index[i][j]][h], rows of y `stride` apart and filled up with zeros. */
export function spread(index: usize, table: usize, y: usize, heads: i32, rows: i32, columns: i32, stride: i32): void {
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < stride; j++) {
        let value: f32 = 0;
        if (j < columns) {
          const at = load<i32>(index + (<usize>(i * columns + j) << 2));
          value = load<f32>(table + (<usize>(at * heads + h) << 2));
        }
        store<f32>(y + (<usize>((h * rows + i) * stride + j) << 2), value);
      }
    }
  }
}

/** table[index[i][j]][h] += dy[h][i][j]. */
export function spread_vjp(
  index: usize, dy: usize, dtable: usize, heads: i32, rows: i32, columns: i32, stride: i32,
): void {
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const to = dtable + (<usize>(load<i32>(index + (<usize>(i * columns + j) << 2)) * heads + h) << 2);
        store<f32>(to, load<f32>(to) + load<f32>(dy + (<usize>((h * rows + i) * stride + j) << 2)));
      }
    }
  }
}

/** Puts a token before each of `batch` runs of `length` rows. */
export function prepend(token: usize, x: usize, y: usize, batch: i32, length: i32, columns: i32): void {
  const bytes = <usize>columns << 2;
  const run = <usize>length * bytes;
  for (let n = 0; n < batch; n++) {
    memory.copy(y, token, bytes);
    memory.copy(y + bytes, x, run);
    y += run + bytes;
    x += run;
  }
}

/** Leaves out the first row of each of `batch` runs of `length` + 1 rows. */
export function drop_first(x: usize, y: usize, batch: i32, length: i32, columns: i32): void {
  const bytes = <usize>columns << 2;
  const run = <usize>length * bytes;
  for (let n = 0; n < batch; n++) {
    memory.copy(y, x + bytes, run);
    x += run + bytes;
    y += run;
  }
}

/** Squares of `size` x `size` pixels as rows, channels outermost, as a convolution's weight lies. */
export function patches(
  pixels: usize, y: usize, batch: i32, channels: i32, height: i32, width: i32, size: i32,
): void {
  const down = height / size, across = width / size;
  const bytes = <usize>size << 2;
  for (let n = 0; n < batch; n++) {
    for (let r = 0; r < down; r++) {
      for (let s = 0; s < across; s++) {
        for (let c = 0; c < channels; c++) {
          for (let i = 0; i < size; i++) {
            const from = ((n * channels + c) * height + r * size + i) * width + s * size;
            memory.copy(y, pixels + (<usize>from << 2), bytes);
            y += bytes;
          }
        }
      }
    }
  }
}
