import { ACTIVATIONS, type Activation } from "../kernels/activation.js";
import type { Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowering } from "./lowered.js";
import type { Shaping } from "./shaping.js";

const entriesOf = ({ rows, columns }: Tensor) => rows * columns;

const add: Lowering = (lowered, operands) => {
  const [a, b, y] = operands as [Tensor, Tensor, Tensor];
  const { shaping } = lowered;
  const isSum = y.storage === a.storage && y.area === a.area;
  // Sums of gradients begin as zeros, which need not be added to.
  if (isSum && lowered.isZeros(a)) lowered.write(y, lowered.read(b));
  else {
    const left = lowered.read(a);
    lowered.write(y, shaping.add(left, shaping.reshape(lowered.read(b), ...left.dims)));
  }
};

const multiply: Lowering = (lowered, operands) => {
  const [a, b, y] = operands as [Tensor, Tensor, Tensor];
  lowered.write(y, lowered.shaping.multiply(lowered.matrix(a), lowered.matrix(b)));
};

const fill: Lowering = (lowered, operands) => {
  const [y, , value] = operands as [Tensor, number, number];
  lowered.write(y, value === 0 ? "zeros" : lowered.shaping.filled(value, y.rows, y.columns));
};

const add_rows: Lowering = (lowered, operands) => {
  const [x, table, y, rows, columns, period] = operands as [Tensor, Tensor, Tensor, number, number, number];
  const { shaping } = lowered;
  const runs = shaping.reshape(lowered.read(x), rows / period, period, columns);
  const whole = shaping.reshape(lowered.read(table), entriesOf(table) / columns, columns);
  const from = (table.first ?? 0) / columns;
  const added = shaping.slice(whole, 0, from, from + period);
  lowered.write(y, shaping.reshape(shaping.add(runs, added), rows, columns));
};

const sum_rows: Lowering = (lowered, operands) => {
  const [x, out, rows, columns, stride, period] = operands as [Tensor, Tensor, number, number, number, number];
  const { shaping } = lowered;
  const value = lowered.read(x);
  // Scores are not padded here, so their rows are what they are.
  const wide = value.dims.reduce((total, size) => total * size, 1) / rows;
  const kept = stride === columns ? wide : columns;
  const runs = shaping.slice(shaping.reshape(value, rows, wide), 1, 0, kept);
  const sums = shaping.sumFirst(shaping.reshape(runs, rows / period, period, kept));
  if (out.area !== "gradients") {
    lowered.accumulate(out, sums);
    return;
  }
  // Of a table of which only some rows were added, the others have no gradient.
  const from = (out.first ?? 0) / columns;
  const behind = entriesOf(out) / columns - from - period;
  const parts = [
    ...(from > 0 ? [shaping.filled(0, from, columns)] : []),
    sums,
    ...(behind > 0 ? [shaping.filled(0, behind, columns)] : []),
  ];
  lowered.accumulate(out, shaping.concat(0, ...parts));
};

/** Columns of one matrix become columns of another. */
const copy_columns: Lowering = (lowered, operands) => {
  const [x, xStride, y, yStride, rows, columns] = operands as [Tensor, number, Tensor, number, number, number];
  const { shaping } = lowered;
  const from = x.first ?? 0;
  const part = shaping.slice(shaping.reshape(lowered.read(x), rows, xStride), 1, from, from + columns);
  if (columns === yStride) {
    lowered.write(y, part);
    return;
  }
  const to = y.first ?? 0;
  // What has not been written yet is written before it is read.
  const known = lowered.isWritten(y) ? shaping.reshape(lowered.read(y), rows, yStride) : null;
  const whole = known ?? shaping.filled(0, rows, yStride);
  const parts = [
    ...(to > 0 ? [shaping.slice(whole, 1, 0, to)] : []),
    part,
    ...(to + columns < yStride ? [shaping.slice(whole, 1, to + columns, yStride)] : []),
  ];
  lowered.write(y, shaping.concat(1, ...parts));
};

const activate: Lowering = (lowered, operands) => {
  const [kind, x, y] = operands as [number, Tensor, Tensor];
  lowered.write(y, activated(lowered.shaping, ACTIVATIONS[kind]!, lowered.matrix(x)));
};

const activate_vjp: Lowering = (lowered, operands) => {
  const [kind, x, dy, dx] = operands as [number, Tensor, Tensor, Tensor];
  const { shaping } = lowered;
  const slope = slopeOf(shaping, ACTIVATIONS[kind]!, lowered.matrix(x));
  lowered.write(dx, shaping.multiply(lowered.matrix(dy), slope));
};

/** √(2/π) and the cube's factor of the approximation by tanh. */
const TANH = { scale: Math.sqrt(2 / Math.PI), cube: 0.044715 };

function activated(shaping: Shaping, kind: Activation, x: Value): Value {
  switch (kind) {
    case "gelu":
      return shaping.graph.node("Gelu", [x], x.dims, { approximate: "none" });
    case "gelu_tanh":
      return shaping.graph.node("Gelu", [x], x.dims, { approximate: "tanh" });
    case "quick_gelu":
      return shaping.multiply(x, shaping.apply("Sigmoid", shaping.multiply(x, 1.702)));
    case "silu":
      return shaping.multiply(x, shaping.apply("Sigmoid", x));
    case "relu":
      return shaping.apply("Relu", x);
    case "tanh":
      return shaping.apply("Tanh", x);
  }
}

function slopeOf(shaping: Shaping, kind: Activation, x: Value): Value {
  const one = shaping.scalar(1);
  switch (kind) {
    case "gelu": {
      // Φ(x) + x φ(x)
      const erf = shaping.apply("Erf", shaping.multiply(x, Math.SQRT1_2));
      const share = shaping.multiply(shaping.add(erf, one), 0.5);
      const bell = shaping.apply("Exp", shaping.multiply(shaping.multiply(x, x), -0.5));
      return shaping.add(share, shaping.multiply(shaping.multiply(x, bell), 1 / Math.sqrt(2 * Math.PI)));
    }
    case "gelu_tanh": {
      const square = shaping.multiply(x, x);
      const cubic = shaping.add(one, shaping.multiply(square, TANH.cube));
      const t = shaping.apply("Tanh", shaping.multiply(shaping.multiply(x, cubic), TANH.scale));
      const inner = shaping.multiply(shaping.add(one, shaping.multiply(square, 3 * TANH.cube)), TANH.scale);
      const bend = shaping.multiply(shaping.subtract(one, shaping.multiply(t, t)), inner);
      return shaping.multiply(shaping.add(shaping.add(one, t), shaping.multiply(x, bend)), 0.5);
    }
    case "quick_gelu":
    case "silu": {
      // s + factor x s (1 - s), of which x s is the activation itself
      const factor = kind === "silu" ? 1 : 1.702;
      const s = shaping.apply("Sigmoid", shaping.multiply(x, factor));
      const bend = shaping.multiply(shaping.multiply(shaping.multiply(x, s), shaping.subtract(one, s)), factor);
      return shaping.add(s, bend);
    }
    case "relu": {
      const positive = shaping.graph.node("Greater", [x, shaping.scalar(0)], x.dims);
      return shaping.cast(positive, "float32");
    }
    case "tanh": {
      const t = shaping.apply("Tanh", x);
      return shaping.subtract(one, shaping.multiply(t, t));
    }
  }
}

export const ENTRIES = { add, multiply, fill, add_rows, sum_rows, copy_columns, activate, activate_vjp };
