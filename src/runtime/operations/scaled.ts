import { padded } from "../tape.js";
import type { Tape, Tensor } from "../tape.js";
import { addRows, multiply } from "./entries.js";
import { linear } from "./linear.js";
import type { LinearRule } from "./linear.js";

/** What a layer's vector multiplies: what it gives, bias included, or what it gets. */
export type ScaledSide = "outputs" | "inputs";

/** Name of a layer's vector among the weights: f32 `[outputs]` or `[inputs]`. */
export function vectorName(layer: string): string {
  return `${layer}.ia3_l`;
}

/**
 * Linear layers beside vectors of (IA)3, which are parameters: y = l * (W x + b), or y = W (l * x) + b.
 * @param sides by name of the layer; others are run plainly.
 */
export function scaledLinear(sides: ReadonlyMap<string, ScaledSide>): LinearRule {
  return (tape, layer, x) => {
    const side = sides.get(layer.name);
    if (side === undefined) return linear(tape, layer, x);
    const name = vectorName(layer.name);
    return side === "inputs"
      ? linear(tape, layer, scaled(tape, x, tape.parameter(name, [layer.inputs])))
      : scaled(tape, linear(tape, layer, x), tape.parameter(name, [layer.outputs]));
  };
}

/** Every row of x times a vector, entry by entry. */
function scaled(tape: Tape, x: Tensor, vector: Tensor): Tensor {
  const { rows, columns } = x;
  const zeros = tape.value(rows, columns);
  tape.call("fill", zeros, padded(rows * columns), 0);
  return multiply(tape, x, addRows(tape, zeros, vector, 1));
}
