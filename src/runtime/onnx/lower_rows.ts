import type { Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering } from "./lowered.js";

const take: Lowering = (lowered, operands) => {
  const [index, table, y, rows, columns] = operands as [Tensor, Tensor, Tensor, number, number];
  const { shaping, graph } = lowered;
  const inputs = [lowered.matrix(table), shaping.reshape(lowered.read(index), rows)];
  lowered.write(y, graph.node("Gather", inputs, [rows, columns], { axis: 0 }));
};

const take_vjp: Lowering = (lowered, operands) => {
  const [index, dy, dtable, rows, columns] = operands as [Tensor, Tensor, Tensor, number, number];
  addAt(lowered, dtable, lowered.read(index), lowered.shaping.reshape(lowered.read(dy), rows, columns));
};

/** Adds rows at places that may occur more than once. */
function addAt(lowered: Lowered, table: Tensor, index: Value, rows: Value): void {
  const { shaping, graph } = lowered;
  const places = shaping.cast(shaping.reshape(index, rows.dims[0]!, 1), "int64");
  const inputs = [lowered.matrix(table), places, rows];
  lowered.write(table, graph.node("ScatterND", inputs, [table.rows, table.columns], { reduction: "add" }));
}

const spread: Lowering = (lowered, operands) => {
  const [index, table, y, heads, rows, columns] = operands as [Tensor, Tensor, Tensor, number, number, number];
  const { shaping, graph } = lowered;
  const inputs = [lowered.matrix(table), shaping.reshape(lowered.read(index), rows, columns)];
  const found = graph.node("Gather", inputs, [rows, columns, heads], { axis: 0 });
  lowered.write(y, shaping.transpose(found, 2, 0, 1));
};

const spread_vjp: Lowering = (lowered, operands) => {
  const [index, dy, dtable, heads, rows, columns] = operands as [Tensor, Tensor, Tensor, number, number, number];
  const { shaping } = lowered;
  const byPlace = shaping.transpose(shaping.reshape(lowered.read(dy), heads, rows, columns), 1, 2, 0);
  addAt(lowered, dtable, lowered.read(index), shaping.reshape(byPlace, rows * columns, heads));
};

const prepend: Lowering = (lowered, operands) => {
  const [token, x, y, batch, length, columns] = operands as [Tensor, Tensor, Tensor, number, number, number];
  const { shaping } = lowered;
  const first = shaping.expand(shaping.reshape(lowered.read(token), 1, 1, columns), batch, 1, columns);
  const whole = shaping.concat(1, first, shaping.reshape(lowered.read(x), batch, length, columns));
  lowered.write(y, shaping.reshape(whole, batch * (length + 1), columns));
};

const drop_first: Lowering = (lowered, operands) => {
  const [x, y, batch, length, columns] = operands as [Tensor, Tensor, number, number, number];
  const { shaping } = lowered;
  const runs = shaping.reshape(lowered.read(x), batch, length + 1, columns);
  lowered.write(y, shaping.reshape(shaping.slice(runs, 1, 1, length + 1), batch * length, columns));
};

const patches: Lowering = (lowered, operands) => {
  const [pixels, y, batch, channels, height, width, size] = operands as [
    Tensor,
    Tensor,
    number,
    number,
    number,
    number,
    number,
  ];
  const { shaping } = lowered;
  const [down, across] = [Math.floor(height / size), Math.floor(width / size)];
  const whole = shaping.reshape(lowered.read(pixels), batch, channels, height, width);
  const cut = shaping.slice(shaping.slice(whole, 2, 0, down * size), 3, 0, across * size);
  const squares = shaping.transpose(shaping.reshape(cut, batch, channels, down, size, across, size), 0, 2, 4, 1, 3, 5);
  lowered.write(y, shaping.reshape(squares, batch * down * across, channels * size * size));
};

export const ROWS = { take, take_vjp, spread, spread_vjp, prepend, drop_first, patches };
