import type { Arguments, Combination, Gram, Mixture, MixtureMethod, Settings, Tile, Vectors } from "./method.js";
import { MergewrightError } from "../errors.js";

const { fround } = Math;

/**
 * The weighted sum that every mixture method ends with: out = (w_1 x_1 + … + w_n x_n) + share x_0, in recipe order, where
 * x_0 is the base's entry and x_i a model's entry or change.
 */
export const weightedSum: Combination = {
  combine({ count, base, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const share = scalars.share!;
    const weights = columns.weight!;
    for (let p = 0; p < count; p++) {
      let sum = fround(inputs[0]![p]! * weights[0]!);
      for (let i = 1; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! * weights[i]!));
      out[p] = sum + fround(base[p]! * share);
    }
  },

  kernel: () => "mixture",
};

/** Coefficients as `weightedSum` takes them. */
export function argumentsOf({ base, models }: Mixture, gram: Pick<Gram, "base">): Arguments {
  // Where there is no base its entries are +0, and minus zero times that is the one number that changes no sum.
  const share = gram.base === "none" ? -0 : fround(base);
  return { scalars: { share }, columns: { weight: models.map((weight) => fround(weight)) } };
}

/**
 * A method's coefficients for one vector of a tensor.
 * @throws values/no-mixture
 */
export function mixtureOf(method: MixtureMethod, gram: Gram, settings: Settings, tensor: string): Mixture {
  const mixture = method.mix(gram, settings);
  if (typeof mixture !== "string") return mixture;
  throw new MergewrightError(`${method.name} has no result for a tensor`, {
    kind: "request",
    code: "values/no-mixture",
    where: { tensor },
    found: mixture,
    advice: "exclude the tensor, change the weights, or take another method",
  });
}

/** What the inner products of a tensor are of. */
export function baseOf(method: MixtureMethod, hasBase: boolean): Gram["base"] {
  if (!hasBase) return "none";
  return method.inputs === "changes" ? "origin" : "member";
}

/** `vectors` of a tensor of this shape, where one vector that is the whole tensor is `tensor`. */
export function vectorsOf(method: MixtureMethod, settings: Settings, shape: readonly number[]): Vectors {
  const vectors = method.vectors(settings);
  const others = vectors === "row" ? shape.slice(0, -1) : shape.slice(1);
  return others.every((size) => size === 1) ? "tensor" : vectors;
}
