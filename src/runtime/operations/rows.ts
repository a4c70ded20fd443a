import { padded } from "../tape.js";
import type { Tape, Tensor } from "../tape.js";

/** Rows of a table by index (i32 `[rows]`): an embedding where the table is a parameter, a choice of rows elsewhere. */
export function take(tape: Tape, index: Tensor, table: Tensor): Tensor {
  const rows = index.rows * index.columns;
  const { columns } = table;
  const y = tape.value(rows, columns, table);
  tape.call("take", index, table, y, rows, columns);
  tape.record([y], ([dy]) => {
    if (table.area === "weights") {
      tape.call("take_vjp", index, dy!.tensor, tape.gradientOf(table), rows, columns);
      return;
    }
    const dx = tape.value(table.rows, columns);
    tape.call("fill", dx, padded(table.rows * columns), 0);
    tape.call("take_vjp", index, dy!.tensor, dx, rows, columns);
    tape.contribute(table, { tensor: dx, owned: true });
  });
  return y;
}

/** Squares of `size` x `size` pixels as rows; pixels have no gradient. */
export function patches(
  tape: Tape,
  pixels: Tensor,
  image: { readonly count: number; readonly channels: number; readonly height: number; readonly width: number },
  size: number,
): Tensor {
  const { count, channels, height, width } = image;
  const squares = Math.floor(height / size) * Math.floor(width / size);
  const y = tape.value(count * squares, channels * size * size);
  tape.call("patches", pixels, y, count, channels, height, width, size);
  return y;
}

/** Puts a parameter of one row before each of `batch` runs of rows. */
export function prepend(tape: Tape, token: Tensor, x: Tensor, batch: number): Tensor {
  const { columns } = x;
  const length = x.rows / batch;
  const y = tape.value(x.rows + batch, columns, x, token);
  tape.call("prepend", token, x, y, batch, length, columns);
  tape.record([y], ([dy]) => {
    const sums = tape.gradientOf(token);
    if (sums !== null) tape.call("sum_rows", dy!.tensor, sums, batch, columns, (length + 1) * columns, 1);
    if (!x.active) return;
    const dx = tape.value(x.rows, columns);
    tape.call("drop_first", dy!.tensor, dx, batch, length, columns);
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

/**
 * From a parameter `[buckets, heads]` one matrix per head: entry (i, j) is the table's row index[i][j].
 * @param index i32 `[queries, keys]`.
 * @returns `[heads × queries, padded(keys)]`
 */
export function spread(tape: Tape, index: Tensor, table: Tensor): Tensor {
  const { rows, columns } = index;
  const heads = table.columns;
  const stride = padded(columns);
  const y = tape.value(heads * rows, stride, table);
  tape.call("spread", index, table, y, heads, rows, columns, stride);
  tape.record([y], ([dy]) => {
    tape.call("spread_vjp", index, dy!.tensor, tape.gradientOf(table), heads, rows, columns, stride);
  });
  return y;
}
