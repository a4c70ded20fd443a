import type { Tensor } from "../tape.js";
import type { Value } from "./graph.js";
import type { Lowered, Lowering } from "./lowered.js";

const layer_norm: Lowering = (lowered, operands) => {
  const [x, y, stats, gain, shift, rows, columns, eps] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    number,
    number,
    number,
  ];
  const { shaping, graph } = lowered;
  const vector = (tensor: Tensor) => shaping.reshape(lowered.read(tensor), columns);
  const inputs = [shaping.reshape(lowered.read(x), rows, columns), vector(gain), vector(shift)];
  const one = [rows, 1];
  const attributes = { axis: -1, epsilon: { float: eps } };
  const [normed, mean, inverse] = graph.nodeOf("LayerNormalization", inputs, attributes, [rows, columns], one, one);
  lowered.write(y, normed!);
  lowered.keep(stats, mean!, inverse!);
};

const layer_norm_vjp: Lowering = (lowered, operands) => {
  const [x, dy, stats, gain, dx, dgain, dshift, rows, columns] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor | null,
    Tensor | null,
    number,
    number,
  ];
  const { shaping } = lowered;
  const [mean, inverse] = lowered.kept(stats);
  const normed = shaping.multiply(shaping.subtract(shaping.reshape(lowered.read(x), rows, columns), mean!), inverse!);
  const g = shaping.reshape(lowered.read(dy), rows, columns);
  const h = shaping.multiply(g, shaping.reshape(lowered.read(gain), columns));
  const centred = shaping.subtract(h, shaping.reduce("ReduceMean", h));
  lowered.write(dx, shaping.multiply(shaping.subtract(centred, along(lowered, h, normed)), inverse!));
  if (dgain !== null) lowered.accumulate(dgain, shaping.sumFirst(shaping.multiply(g, normed)));
  if (dshift !== null) lowered.accumulate(dshift, shaping.sumFirst(g));
};

/** x̂ mean(h x̂), row by row. */
function along({ shaping }: Lowered, h: Value, normed: Value): Value {
  return shaping.multiply(normed, shaping.reduce("ReduceMean", shaping.multiply(h, normed)));
}

const rms_norm: Lowering = (lowered, operands) => {
  const [x, y, stats, gain, rows, columns, eps] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor | null,
    number,
    number,
    number,
  ];
  const { shaping, graph } = lowered;
  const value = shaping.reshape(lowered.read(x), rows, columns);
  const scale = gain === null ? shaping.filled(1, columns) : shaping.reshape(lowered.read(gain), columns);
  const attributes = { axis: -1, epsilon: { float: eps } };
  const dims = [rows, columns];
  const [normed, inverse] = graph.nodeOf("SimplifiedLayerNormalization", [value, scale], attributes, dims, [rows, 1]);
  lowered.write(y, normed!);
  lowered.keep(stats, inverse!);
};

const rms_norm_vjp: Lowering = (lowered, operands) => {
  const [x, dy, stats, gain, dx, dgain, rows, columns] = operands as [
    Tensor,
    Tensor,
    Tensor,
    Tensor | null,
    Tensor,
    Tensor | null,
    number,
    number,
  ];
  const { shaping } = lowered;
  const [inverse] = lowered.kept(stats);
  const normed = shaping.multiply(shaping.reshape(lowered.read(x), rows, columns), inverse!);
  const g = shaping.reshape(lowered.read(dy), rows, columns);
  const h = gain === null ? g : shaping.multiply(g, shaping.reshape(lowered.read(gain), columns));
  lowered.write(dx, shaping.multiply(shaping.subtract(h, along(lowered, h, normed)), inverse!));
  if (dgain !== null) lowered.accumulate(dgain, shaping.sumFirst(shaping.multiply(g, normed)));
};

export const NORMS = { layer_norm, layer_norm_vjp, rms_norm, rms_norm_vjp };
