import type { Tape, Tensor } from "../tape.js";

/** A linear layer by name: what taps, adapters and routed experts get hold of. */
export interface LinearLayer {
  /** The module's name, e.g. `vit.encoder.layer.0.output.dense`. */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly bias: boolean;
  /** Tensor names where they are not `name.weight` and `name.bias`, as of tied heads. */
  readonly weight?: string;
  /** `[inputs, outputs]` instead of `[outputs, inputs]`, as GPT-2 stores it. */
  readonly transposed?: boolean;
  /** The weight's shape where it is no matrix, as of a convolution over patches. */
  readonly shape?: readonly number[];
  /** Factor on the product, before the bias; 1. */
  readonly scale?: number;
}

/** Name of a layer's weight. */
export function weightOf({ name, weight }: LinearLayer): string {
  return weight ?? `${name}.weight`;
}

/** The weight's shape as stored. */
export function shapeOf({ inputs, outputs, shape, transposed }: LinearLayer): readonly number[] {
  return shape ?? (transposed === true ? [inputs, outputs] : [outputs, inputs]);
}

/** How a linear layer is run. */
export type LinearRule = (tape: Tape, layer: LinearLayer, x: Tensor) => Tensor;

/** y = scale x W^T + b. */
export function linear(tape: Tape, layer: LinearLayer, x: Tensor): Tensor {
  const { name, inputs, outputs, scale = 1, transposed = false } = layer;
  const weight = tape.parameter(weightOf(layer), shapeOf(layer));
  const bias = layer.bias ? tape.parameter(`${name}.bias`, [outputs]) : null;
  const { rows } = x;
  const stride = transposed ? outputs : inputs;
  const y = tape.value(rows, outputs, x, weight, ...(bias === null ? [] : [bias]));
  const side = transposed ? 0 : 1;
  tape.call("gemm", rows, outputs, inputs, x, inputs, 0, weight, stride, side, y, outputs, scale, bias, 0);
  tape.record([y], ([gradient]) => {
    const dy = gradient!.tensor;
    const dw = tape.gradientOf(weight);
    if (dw !== null && transposed) {
      tape.call("gemm", inputs, outputs, rows, x, inputs, 1, dy, outputs, 0, dw, outputs, scale, null, 1);
    } else if (dw !== null) {
      tape.call("gemm", outputs, inputs, rows, dy, outputs, 1, x, inputs, 0, dw, inputs, scale, null, 1);
    }
    const db = bias === null ? null : tape.gradientOf(bias);
    if (db !== null) tape.call("sum_rows", dy, db, rows, outputs, outputs, 1);
    if (!x.active) return;
    const dx = tape.value(rows, inputs);
    tape.call("gemm", rows, inputs, outputs, dy, outputs, 0, weight, stride, 1 - side, dx, inputs, scale, null, 0);
    tape.contribute(x, { tensor: dx, owned: true });
  });
  return y;
}

/** What passed a linear layer. */
export interface Passed {
  readonly layer: LinearLayer;
  readonly x: Tensor;
  readonly y: Tensor;
}

/** Runs linear layers by another rule and remembers what passes those of these names; all where `null`. */
export function watching(rule: LinearRule, names: ReadonlySet<string> | null, passed: Passed[]): LinearRule {
  return (tape, layer, x) => {
    const y = rule(tape, layer, x);
    if (names !== null && !names.has(layer.name)) return y;
    const watched = tape.watched(y);
    passed.push({ layer, x, y: watched });
    return watched;
  };
}
