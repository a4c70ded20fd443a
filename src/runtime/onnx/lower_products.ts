import type { Tensor } from "../tape.js";
import type { Lowering } from "./lowered.js";

/** alpha A B (+ bias) (+ what y holds), A and B as stored or transposed. */
const gemm: Lowering = (lowered, operands) => {
  const [rows, columns, depth, a, , turnsA, b, , turnsB, y, , alpha, bias, adds] = operands as [
    number,
    number,
    number,
    Tensor,
    number,
    number,
    Tensor,
    number,
    number,
    Tensor,
    number,
    number,
    Tensor | null,
    number,
  ];
  const { shaping, graph } = lowered;
  const left = shaping.reshape(lowered.read(a), ...(turnsA === 1 ? [depth, rows] : [rows, depth]));
  const right = shaping.reshape(lowered.read(b), ...(turnsB === 1 ? [columns, depth] : [depth, columns]));
  const addend = bias === null ? null : shaping.reshape(lowered.read(bias), columns);
  const attributes = { alpha: { float: alpha }, transA: turnsA, transB: turnsB };
  const inputs = addend === null ? [left, right] : [left, right, addend];
  const product = graph.node("Gemm", inputs, [rows, columns], attributes);
  if (adds === 1) lowered.accumulate(y, product);
  else lowered.write(y, product);
};

export const PRODUCTS = { gemm };
