import type { Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering } from "./lower.js";

/** Columns of a row's four numbers (kernels/loss.ts). */
const column = ({ shaping }: Lowered, stats: Value, at: number) => shaping.slice(stats, 1, at, at + 1);

function statsOf(lowered: Lowered, stats: Tensor, rows: number): Value {
  return lowered.shaping.reshape(lowered.read(stats), rows, 4);
}

/** One where a class is the target, zeros in a row without one. */
function oneHot({ shaping, graph }: Lowered, targets: Value, rows: number, classes: number): Value {
  const places = graph.constant([...Array(classes).keys()], [1, classes], "int32");
  const same = graph.node("Equal", [places, shaping.reshape(targets, rows, 1)], [rows, classes]);
  return shaping.cast(same, "float32");
}

const row_stats: Lowering = (lowered, operands) => {
  const [logits, targets, stats, rows, classes] = operands as [Tensor, Tensor | null, Tensor, number, number];
  const { shaping } = lowered;
  const values = shaping.reshape(lowered.read(logits), rows, classes);
  const top = shaping.reduce("ReduceMax", values);
  const below = shaping.subtract(values, top);
  const terms = shaping.apply("Exp", below);
  const sum = shaping.reduce("ReduceSum", terms);
  const target =
    targets === null
      ? shaping.filled(0, rows, 1)
      : shaping.reduce("ReduceSum", shaping.multiply(below, oneHot(lowered, lowered.read(targets), rows, classes)));
  const average = shaping.reduce("ReduceSum", shaping.multiply(terms, below));
  lowered.write(stats, shaping.concat(1, top, sum, target, average));
};

/** exp(x − largest), and what it is multiplied by to give weight times probability. */
function weighed(lowered: Lowered, logits: Tensor, stats: Value, weights: Tensor, rows: number, classes: number) {
  const { shaping } = lowered;
  const below = shaping.subtract(shaping.reshape(lowered.read(logits), rows, classes), column(lowered, stats, 0));
  const weight = shaping.reshape(lowered.read(weights), rows, 1);
  const scale = shaping.divide(weight, column(lowered, stats, 1));
  return { below, weight, scaled: shaping.multiply(shaping.apply("Exp", below), scale) };
}

const cross_entropy_vjp: Lowering = (lowered, operands) => {
  const [logits, stats, targets, weights, dlogits, rows, classes] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    number,
    number,
  ];
  const { shaping } = lowered;
  const { weight, scaled } = weighed(lowered, logits, statsOf(lowered, stats, rows), weights, rows, classes);
  const hit = shaping.multiply(oneHot(lowered, lowered.read(targets), rows, classes), weight);
  lowered.write(dlogits, shaping.subtract(scaled, hit));
};

const entropy_vjp: Lowering = (lowered, operands) => {
  const [logits, stats, weights, dlogits, rows, classes] = operands as [Tensor, Tensor, Tensor, Tensor, number, number];
  const { shaping } = lowered;
  const numbers = statsOf(lowered, stats, rows);
  const { below, scaled } = weighed(lowered, logits, numbers, weights, rows, classes);
  const average = shaping.divide(column(lowered, numbers, 3), column(lowered, numbers, 1));
  lowered.write(dlogits, shaping.multiply(scaled, shaping.subtract(average, below)));
};

export const LOSSES = { row_stats, cross_entropy_vjp, entropy_vjp };
