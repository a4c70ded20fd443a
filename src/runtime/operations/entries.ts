import { ACTIVATIONS } from "../kernels/activation.js";
import type { Activation } from "../kernels/activation.js";
import { padded } from "../tape.js";
import type { Tape, Tensor } from "../tape.js";

const entries = ({ rows, columns }: Tensor) => padded(rows * columns);

export function activate(tape: Tape, kind: Activation, x: Tensor): Tensor {
  const index = ACTIVATIONS.indexOf(kind);
  const y = tape.value(x.rows, x.columns, x);
  tape.call("activate", index, x, y, entries(x));
  tape.record([y], ([dy]) => {
    const dx = dy!.owned ? tape.over(dy!.tensor) : tape.value(x.rows, x.columns);
    tape.call("activate_vjp", index, x, dy!.tensor, dx, entries(x));
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

export function add(tape: Tape, a: Tensor, b: Tensor): Tensor {
  const y = tape.value(a.rows, a.columns, a, b);
  tape.call("add", a, b, y, entries(y));
  tape.record([y], ([dy]) => {
    tape.contribute(a, { tensor: dy!.tensor, owned: false });
    tape.contribute(b, { tensor: dy!.tensor, owned: false });
  });
  return y;
}

export function multiply(tape: Tape, a: Tensor, b: Tensor): Tensor {
  const y = tape.value(a.rows, a.columns, a, b);
  tape.call("multiply", a, b, y, entries(y));
  tape.record([y], ([dy]) => {
    for (const [x, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!x.active) continue;
      const dx = tape.value(x.rows, x.columns);
      tape.call("multiply", dy!.tensor, other, dx, entries(x));
      tape.contribute(x, { tensor: dx, owned: true });
    }
  });
  return y;
}

/** Adds the first rows of a parameter to x, again and again: row r of x gets row r mod `period`. */
export function addRows(tape: Tape, x: Tensor, table: Tensor, period: number): Tensor {
  const { rows, columns } = x;
  const y = tape.value(rows, columns, x, table);
  tape.call("add_rows", x, table, y, rows, columns, period);
  tape.record([y], ([dy]) => {
    const sums = tape.gradientOf(table);
    if (sums !== null) tape.call("sum_rows", dy!.tensor, sums, rows, columns, columns, period);
    tape.contribute(x, { tensor: dy!.tensor, owned: false });
  });
  return y;
}

/** Columns of x side by side, taken apart into parts of equal width. */
export function split(tape: Tape, x: Tensor, count: number): Tensor[] {
  const { rows } = x;
  const width = x.columns / count;
  const parts = Array.from({ length: count }, () => tape.value(rows, width, x));
  const from = (part: number, whole: Tensor): Tensor => ({ ...whole, first: part * width });
  for (const [part, y] of parts.entries()) {
    tape.call("copy_columns", from(part, x), x.columns, y, width, rows, width);
  }
  tape.record(parts, (gradients) => {
    const dx = tape.value(rows, x.columns);
    if (gradients.includes(undefined)) tape.call("fill", dx, entries(x), 0);
    for (const [part, dy] of gradients.entries()) {
      if (dy !== undefined) tape.call("copy_columns", dy.tensor, width, from(part, dx), x.columns, rows, width);
    }
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return parts;
}
