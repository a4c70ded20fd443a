/** Attention over values `[batch, heads, rows, size]`; scores are `[batch, heads, queries, keys]`, without padding. */

import type { AttentionShape } from "../operations/attention.js";
import type { Operand, Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering } from "./lower.js";

function sizesOf(operands: readonly Operand[]): AttentionShape {
  const [batch, heads, keyHeads, queries, keys, size] = operands as number[] as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return { batch, heads, keyHeads, queries, keys, size };
}

/** `[batch × rows, heads × size]` by heads. */
function byHeads({ shaping }: Lowered, x: Value, batch: number, heads: number, size: number): Value {
  const rows = x.dims.reduce((total, length) => total * length, 1) / (batch * heads * size);
  return shaping.transpose(shaping.reshape(x, batch, rows, heads, size), 0, 2, 1, 3);
}

/** Key heads, each as often as there are heads in its group. */
function grouped(lowered: Lowered, x: Value, { batch, heads, keyHeads, keys, size }: AttentionShape): Value {
  const { shaping } = lowered;
  const own = byHeads(lowered, x, batch, keyHeads, size);
  if (heads === keyHeads) return own;
  const group = heads / keyHeads;
  const repeated = shaping.expand(
    shaping.reshape(own, batch, keyHeads, 1, keys, size),
    batch,
    keyHeads,
    group,
    keys,
    size,
  );
  return shaping.reshape(repeated, batch, heads, keys, size);
}

/** Back to `[batch × rows, heads × size]`. */
function asRows({ shaping }: Lowered, x: Value): Value {
  const [batch, heads, rows, size] = x.dims as [number, number, number, number];
  return shaping.reshape(shaping.transpose(x, 0, 2, 1, 3), batch * rows, heads * size);
}

function scoresOf(lowered: Lowered, tensor: Tensor, { batch, heads, queries, keys }: AttentionShape): Value {
  return lowered.shaping.reshape(lowered.read(tensor), batch, heads, queries, keys);
}

const heads_scores: Lowering = (lowered, operands) => {
  const sizes = sizesOf(operands);
  const [q, , k, , scores, , alpha] = operands.slice(6) as [Tensor, number, Tensor, number, Tensor, number, number];
  const { batch, heads, queries, keys, size } = sizes;
  const inputs = [byHeads(lowered, lowered.read(q), batch, heads, size), grouped(lowered, lowered.read(k), sizes)];
  const attributes = { alpha: { float: alpha }, transA: 0, transB: 1 };
  lowered.write(scores, lowered.graph.node("FusedMatMul", inputs, [batch, heads, queries, keys], attributes));
};

const heads_mix: Lowering = (lowered, operands) => {
  const sizes = sizesOf(operands);
  const [scores, , v, , y, , alpha] = operands.slice(6) as [Tensor, number, Tensor, number, Tensor, number, number];
  const { batch, heads, queries, size } = sizes;
  const inputs = [scoresOf(lowered, scores, sizes), grouped(lowered, lowered.read(v), sizes)];
  const attributes = { alpha: { float: alpha }, transA: 0, transB: 0 };
  lowered.write(
    y,
    asRows(lowered, lowered.graph.node("FusedMatMul", inputs, [batch, heads, queries, size], attributes)),
  );
};

const heads_mix_t: Lowering = (lowered, operands) => {
  const sizes = sizesOf(operands);
  const [scores, , y, , v, , alpha] = operands.slice(6) as [Tensor, number, Tensor, number, Tensor, number, number];
  const { batch, heads, keyHeads, keys, size } = sizes;
  const { graph, shaping } = lowered;
  const inputs = [scoresOf(lowered, scores, sizes), byHeads(lowered, lowered.read(y), batch, heads, size)];
  const attributes = { alpha: { float: alpha }, transA: 1, transB: 0 };
  const each = graph.node("FusedMatMul", inputs, [batch, heads, keys, size], attributes);
  const group = heads / keyHeads;
  if (group === 1) {
    lowered.write(v, asRows(lowered, each));
    return;
  }
  const groups = shaping.reshape(each, batch, keyHeads, group, keys, size);
  const summed = graph.node("ReduceSum", [groups, shaping.sizes([2])], [batch, keyHeads, keys, size], { keepdims: 0 });
  lowered.write(v, asRows(lowered, summed));
};

/** Far below every score, and finite: a row that sees nothing must not become NaN. */
const UNSEEN = -1e30;

const softmax: Lowering = (lowered, operands) => {
  const [scores, y, bias, lengths, batch, heads, queries, keys, , causal, window] = operands as [
    Tensor,
    Tensor,
    Tensor | null,
    Tensor | null,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const { shaping, graph } = lowered;
  const dims = [batch, heads, queries, keys];
  let value = shaping.reshape(lowered.read(scores), ...dims);
  if (bias !== null) value = shaping.add(value, shaping.reshape(lowered.read(bias), 1, heads, queries, keys));
  if (causal === 1) value = shaping.add(value, unseenBehind(lowered, queries, keys, window));
  if (lengths !== null) {
    const places = graph.constant([...Array(keys).keys()], [1, 1, 1, keys], "int32");
    const ends = shaping.reshape(lowered.read(lengths), batch, 1, 1, 1);
    const seen = graph.node("Less", [places, ends], [batch, 1, 1, keys]);
    value = graph.node("Where", [seen, value, shaping.scalar(UNSEEN)], dims);
  }
  lowered.write(y, graph.node("Softmax", [value], dims, { axis: -1 }));
};

/** What is added where a query looks ahead, or too far back. */
function unseenBehind({ graph }: Lowered, queries: number, keys: number, window: number): Value {
  const values = Array.from({ length: queries * keys }, (_, at) => {
    const [query, key] = [Math.floor(at / keys), at % keys];
    return key <= query && (window === 0 || key > query - window) ? 0 : UNSEEN;
  });
  return graph.constant(values, [queries, keys]);
}

const softmax_vjp: Lowering = (lowered, operands) => {
  const [p, dp, ds] = operands as [Tensor, Tensor, Tensor];
  const { shaping } = lowered;
  const value = lowered.read(p);
  const slope = shaping.reshape(lowered.read(dp), ...value.dims);
  const sum = shaping.reduce("ReduceSum", shaping.multiply(slope, value));
  lowered.write(ds, shaping.multiply(value, shaping.subtract(slope, sum)));
};

/** Rotations by position, as pairs (i, i + size / 2) of every head. */
const rope: Lowering = (lowered, operands) => {
  const [x, y, table, rows, heads, size, length, direction] = operands as [
    Tensor,
    Tensor,
    Tensor,
    number,
    number,
    number,
    number,
    number,
  ];
  const { shaping } = lowered;
  const half = size / 2;
  const angles = shaping.reshape(lowered.read(table), 1, length, 1, size);
  const cosine = shaping.slice(angles, 3, 0, half);
  const sine = shaping.multiply(shaping.slice(angles, 3, half, size), direction);
  const value = shaping.reshape(lowered.read(x), rows / length, length, heads, size);
  const [a, b] = [shaping.slice(value, 3, 0, half), shaping.slice(value, 3, half, size)];
  const first = shaping.subtract(shaping.multiply(a, cosine), shaping.multiply(b, sine));
  const second = shaping.add(shaping.multiply(b, cosine), shaping.multiply(a, sine));
  lowered.write(y, shaping.reshape(shaping.concat(3, first, second), rows, heads * size));
};

export const ATTENTION = { heads_scores, heads_mix, heads_mix_t, softmax, softmax_vjp, rope };
