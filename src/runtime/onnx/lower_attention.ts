/**
 * Attention. Forward its three calls are one operator, which keeps a head's scores in the processor's cache: what the first
 * two would compute is noted until the third. Backward they are products over values `[batch, heads, rows, size]`: scores
 * are `[batch, heads, queries, keys]`, without padding and in spans of queries; heads of a group are rows of one product
 * with the keys that they share.
 */

import type { AttentionShape } from "../operations/attention.js";
import type { Operand, Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering, Span, Unmixed } from "./lowered.js";

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

/** The operands of a product after its sizes: two factors, the result, what it is multiplied by, whether it is causal. */
function productOf(
  operands: readonly Operand[],
): [a: Tensor, b: Tensor, result: Tensor, alpha: number, causal: number] {
  const [a, , b, , result, , alpha, causal] = operands.slice(6) as [
    Tensor,
    number,
    Tensor,
    number,
    Tensor,
    number,
    number,
    number,
  ];
  return [a, b, result, alpha, causal];
}

/** Most queries of a span: with fewer the runtime takes longer to begin than to compute, with more it computes more in vain. */
const SPAN = 64;

/** One span; of causal attention several, so that most of what no query sees is left out. */
function spansOf({ queries, keys }: AttentionShape, causal: number): Span[] {
  if (causal === 0) return [{ from: 0, to: queries, keys }];
  const size = Math.ceil(queries / Math.ceil(queries / SPAN));
  return Array.from({ length: Math.ceil(queries / size) }, (_, index) => {
    const to = Math.min(queries, (index + 1) * size);
    return { from: index * size, to, keys: Math.min(keys, to) };
  });
}

/** `[batch × rows, heads × size]` by heads. */
function byHeads({ shaping }: Lowered, x: Value, batch: number, heads: number, size: number): Value {
  const rows = x.dims.reduce((total, length) => total * length, 1) / (batch * heads * size);
  return shaping.transpose(shaping.reshape(x, batch, rows, heads, size), 0, 2, 1, 3);
}

/** A span's rows by key heads, `[batch, keyHeads, group × rows, size]`: those of a group's heads one after the other. */
function queriesOf(lowered: Lowered, x: Value, shape: AttentionShape, { from, to }: Span): Value {
  const { batch, heads, keyHeads, size } = shape;
  const own = lowered.shaping.slice(byHeads(lowered, x, batch, heads, size), 2, from, to);
  return lowered.shaping.reshape(own, batch, keyHeads, (heads / keyHeads) * (to - from), size);
}

/** A span's keys, `[batch, keyHeads, keys, size]`. */
function keysOf(lowered: Lowered, x: Value, { batch, keyHeads, size }: AttentionShape, { keys }: Span): Value {
  return lowered.shaping.slice(byHeads(lowered, x, batch, keyHeads, size), 2, 0, keys);
}

/** A span's scores by key heads, `[batch, keyHeads, group × rows, keys]`. */
function byGroups({ shaping }: Lowered, scores: Value, { batch, heads, keyHeads }: AttentionShape, span: Span): Value {
  return shaping.reshape(scores, batch, keyHeads, (heads / keyHeads) * (span.to - span.from), span.keys);
}

/** Back to `[batch × rows, heads × size]`. */
function asRows({ shaping }: Lowered, x: Value): Value {
  const [batch, heads, rows, size] = x.dims as [number, number, number, number];
  return shaping.reshape(shaping.transpose(x, 0, 2, 1, 3), batch * rows, heads * size);
}

/** Scores, span by span `[batch, heads, rows, keys]`; those of a single span are also what the storage holds. */
function writeScores(lowered: Lowered, tensor: Tensor, spans: readonly Value[]): void {
  lowered.keep(tensor, ...spans);
  if (spans.length === 1) lowered.write(tensor, spans[0]!);
}

const heads_scores: Lowering = (lowered, operands) => {
  const shape = sizesOf(operands);
  const { batch, heads } = shape;
  const [q, k, result, alpha, causal] = productOf(operands);
  const [queries, keys] = [lowered.read(q), lowered.read(k)];
  const scores = () =>
    spansOf(shape, causal).map((span) => {
      const inputs = [queriesOf(lowered, queries, shape, span), keysOf(lowered, keys, shape, span)];
      const dims = [...inputs[0]!.dims.slice(0, 3), span.keys];
      const products = product(lowered, inputs, dims, alpha, { transB: 1 });
      return lowered.shaping.reshape(products, batch, heads, span.to - span.from, span.keys);
    });
  lowered.defer(result, { queries, keys, alpha, scores });
};

/** Products of the last two axes. */
function product(
  { graph }: Lowered,
  inputs: readonly Value[],
  dims: readonly number[],
  alpha: number,
  turned: { readonly transA?: 1; readonly transB?: 1 },
): Value {
  return graph.node("FusedMatMul", inputs, dims, { alpha: { float: alpha }, transA: 0, transB: 0, ...turned });
}

const heads_mix: Lowering = (lowered, operands) => {
  const shape = sizesOf(operands);
  const { batch, heads, size } = shape;
  const [scores, v, y, alpha, causal] = productOf(operands);
  const values = lowered.read(v);
  const unmixed = lowered.deferred(scores);
  if (unmixed?.mask !== undefined) {
    const spans = spansOf(shape, causal).map((span) => attended(lowered, shape, span, unmixed, values));
    lowered.keep(scores, ...spans.map(({ weights }) => weights));
    const mixed = lowered.shaping.multiply(lowered.shaping.concat(1, ...spans.map((span) => span.mixed)), alpha);
    lowered.write(y, lowered.shaping.reshape(mixed, batch * shape.queries, heads * size));
    return;
  }
  const kept = lowered.kept(scores);
  const spans = spansOf(shape, causal).map((span, index) => {
    const inputs = [byGroups(lowered, kept[index]!, shape, span), keysOf(lowered, values, shape, span)];
    const mixed = product(lowered, inputs, [...inputs[0]!.dims.slice(0, 3), size], alpha, {});
    return lowered.shaping.reshape(mixed, batch, heads, span.to - span.from, size);
  });
  lowered.write(y, asRows(lowered, lowered.shaping.concat(2, ...spans)));
};

/** A span's values, mixed, `[batch, rows, heads × size]`, and the weights that they are mixed with. */
function attended(
  { shaping, graph }: Lowered,
  { batch, heads, keyHeads, queries, keys, size }: AttentionShape,
  span: Span,
  unmixed: Unmixed,
  values: Value,
): { mixed: Value; weights: Value } {
  const narrow = [batch, keys, keyHeads * size] as const;
  const inputs = [
    shaping.slice(shaping.reshape(unmixed.queries, batch, queries, heads * size), 1, span.from, span.to),
    shaping.slice(shaping.reshape(unmixed.keys, ...narrow), 1, 0, span.keys),
    shaping.slice(shaping.reshape(values, ...narrow), 1, 0, span.keys),
  ];
  const mask = unmixed.mask?.(span) ?? null;
  if (mask !== null) inputs.push(mask);
  const attributes = {
    scale: { float: unmixed.alpha },
    q_num_heads: heads,
    kv_num_heads: keyHeads,
    // The fourth output is the weights.
    qk_matmul_output_mode: 3,
  };
  const rows = span.to - span.from;
  const past = [batch, keyHeads, span.keys, size];
  const dims = [[batch, rows, heads * size], past, past, [batch, heads, rows, span.keys]];
  const [mixed, , , weights] = graph.nodeOf("Attention", inputs, attributes, ...dims);
  return { mixed: mixed!, weights: weights! };
}

const heads_mix_t: Lowering = (lowered, operands) => {
  const shape = sizesOf(operands);
  const { batch, keyHeads, keys, size } = shape;
  const [scores, y, v, alpha, causal] = productOf(operands);
  const [kept, mixed] = [lowered.kept(scores), lowered.read(y)];
  // The product sums over a group's heads, too.
  const spans = spansOf(shape, causal).map((span, index) => {
    const inputs = [byGroups(lowered, kept[index]!, shape, span), queriesOf(lowered, mixed, shape, span)];
    const seen = product(lowered, inputs, [batch, keyHeads, span.keys, size], alpha, { transA: 1 });
    return lowered.shaping.pad(seen, 2, keys - span.keys);
  });
  lowered.write(v, asRows(lowered, lowered.shaping.sum(...spans)));
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
  const added = bias === null ? null : shaping.reshape(lowered.read(bias), 1, heads, queries, keys);
  const ends = lengths === null ? null : shaping.reshape(lowered.read(lengths), batch, 1, 1, 1);
  const mask = (span: Span): Value | null => {
    const behind = causal === 1 ? unseenBehind(lowered, span, window) : null;
    const value = added === null || behind === null ? (added ?? behind) : shaping.add(added, behind);
    if (ends === null) return value;
    const places = graph.constant([...Array(span.keys).keys()], [1, 1, 1, span.keys], "int32");
    const seen = graph.node("Less", [places, ends], [batch, 1, 1, span.keys]);
    const whole = value ?? shaping.filled(0, 1, 1, span.to - span.from, span.keys);
    const dims = [batch, added === null ? 1 : heads, span.to - span.from, span.keys];
    return graph.node("Where", [seen, whole, shaping.scalar(UNSEEN)], dims);
  };
  const unread = () => {
    throw new RangeError("attention's weights are read before they are mixed");
  };
  lowered.defer(y, { ...lowered.deferred(scores)!, mask, scores: unread });
};

/** What is added where a query looks ahead, or too far back. */
function unseenBehind({ graph }: Lowered, { from, to, keys }: Span, window: number): Value {
  const values = Array.from({ length: (to - from) * keys }, (_, at) => {
    const [query, key] = [from + Math.floor(at / keys), at % keys];
    return key <= query && (window === 0 || key > query - window) ? 0 : UNSEEN;
  });
  return graph.constant(values, [to - from, keys]);
}

const softmax_vjp: Lowering = (lowered, operands) => {
  const [p, dp, ds] = operands as [Tensor, Tensor, Tensor];
  const { shaping } = lowered;
  const slopes = lowered.kept(dp);
  const spans = lowered.kept(p).map((value, index) => {
    const slope = slopes[index]!;
    const sum = shaping.reduce("ReduceSum", shaping.multiply(slope, value));
    return shaping.multiply(value, shaping.subtract(slope, sum));
  });
  writeScores(lowered, ds, spans);
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
  const { shaping, graph } = lowered;
  const half = size / 2;
  const angles = shaping.reshape(lowered.read(table), length, size);
  const cosine = shaping.slice(angles, 1, 0, half);
  const sine = shaping.multiply(shaping.slice(angles, 1, half, size), direction);
  const value = shaping.reshape(lowered.read(x), rows / length, length, heads * size);
  const inputs = [value, graph.constant([0], [1], "int64"), cosine, sine];
  const turned = graph.node("RotaryEmbedding", inputs, value.dims, { interleaved: 0, num_heads: heads });
  lowered.write(y, shaping.reshape(turned, rows, heads * size));
};

export const ATTENTION = { heads_scores, heads_mix, heads_mix_t, softmax, softmax_vjp, rope };
