import type { Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering } from "./lowered.js";

/** The target's column of each row (the first in a row without one), and one where there is one, else zero. */
function targetsOf({ shaping, graph }: Lowered, targets: Value, rows: number): { place: Value; counts: Value } {
  const given = shaping.reshape(targets, rows, 1);
  const none = graph.constant([-1], [], "int32");
  const counts = shaping.cast(graph.node("Greater", [given, none], [rows, 1]), "float32");
  return { place: graph.node("Max", [given, graph.constant([0], [], "int32")], [rows, 1]), counts };
}

const row_stats: Lowering = (lowered, operands) => {
  const [logits, targets, stats, rows, classes] = operands as [Tensor, Tensor | null, Tensor, number, number];
  const { shaping } = lowered;
  const values = shaping.reshape(lowered.read(logits), rows, classes);
  const top = shaping.reduce("ReduceMax", values);
  const below = shaping.subtract(values, top);
  const terms = shaping.apply("Exp", below);
  const sum = shaping.reduce("ReduceSum", terms);
  const average = shaping.reduce("ReduceSum", shaping.multiply(terms, below));
  lowered.write(stats, shaping.concat(1, top, sum, targetBelow(lowered, below, targets), average));
  lowered.keep(stats, below, terms, sum, average);
};

/** The target's entry of each row, zero in a row without one. */
function targetBelow(lowered: Lowered, below: Value, targets: Tensor | null): Value {
  const { shaping, graph } = lowered;
  const rows = below.dims[0]!;
  if (targets === null) return shaping.filled(0, rows, 1);
  const { place, counts } = targetsOf(lowered, lowered.read(targets), rows);
  return shaping.multiply(graph.node("GatherElements", [below, place], [rows, 1], { axis: 1 }), counts);
}

/** Weight times probability, from exp(x − largest) and its sum. */
function weighed(lowered: Lowered, stats: Tensor, weights: Tensor): { weight: Value; scaled: Value } {
  const { shaping } = lowered;
  const [, terms, sum] = lowered.kept(stats);
  const weight = shaping.reshape(lowered.read(weights), terms!.dims[0]!, 1);
  return { weight, scaled: shaping.multiply(terms!, shaping.divide(weight, sum!)) };
}

const cross_entropy_vjp: Lowering = (lowered, operands) => {
  const [, stats, targets, weights, dlogits, rows, classes] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    number,
    number,
  ];
  const { shaping, graph } = lowered;
  const { weight, scaled } = weighed(lowered, stats, weights);
  const { place, counts } = targetsOf(lowered, lowered.read(targets), rows);
  const hit = shaping.multiply(shaping.multiply(weight, counts), -1);
  const attributes = { axis: 1, reduction: "add" };
  lowered.write(dlogits, graph.node("ScatterElements", [scaled, place, hit], [rows, classes], attributes));
};

const entropy_vjp: Lowering = (lowered, operands) => {
  const [, stats, weights, dlogits] = operands as [Tensor, Tensor, Tensor, Tensor];
  const { shaping } = lowered;
  const [below, , sum, average] = lowered.kept(stats);
  const { scaled } = weighed(lowered, stats, weights);
  lowered.write(dlogits, shaping.multiply(scaled, shaping.subtract(shaping.divide(average!, sum!), below!)));
};

export const LOSSES = { row_stats, cross_entropy_vjp, entropy_vjp };
