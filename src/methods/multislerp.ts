import { norm, normOfSum } from "../statistics/gram.js";
import type { MixtureMethod, Settings } from "./method.js";

export const multislerp: MixtureMethod = {
  name: "multislerp",
  title: "Weighted mean of directions, with the weighted mean of lengths",
  paper: null,
  description: `u_i = v_i / (|v_i| + eps),   m = w_1 u_1 + … + w_n u_n
v = (w_1 |v_1| + … + w_n |v_n|) m / |m|
theta = theta_0 + v with v_i = theta_i - theta_0 where a base is given, else theta = v with v_i = theta_i

Each tensor is one vector. The weights are divided by their sum first (\`normalize_weights\`). This is the projection of the
mean onto the sphere: mergekit's own formula goes on to walk along the weighted mean of the tangents at m / |m|, which is
zero by construction, so that step moves nothing but rounding errors. For the mean of the sphere itself see karcher.

Directions that cancel (|m| < eps) have no mean: two models give w_1 v_1 + w_2 v_2, of more the tensor is refused. A vector
of zeros has no direction and no length. One model is itself. Weights that sum to zero cannot be divided by their sum: an
error, where mergekit 0.1.5 writes NaN.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model's direction and length" },
    normalize_weights: { type: "flag", default: true, per: "recipe", meaning: "divide the weights by their sum" },
    eps: { type: "number", default: 1e-8, min: 0, per: "recipe", meaning: "added to lengths; no direction below it" },
  },
  dialects: { mergekit: { meaning: "as mergekit has it", values: {} } },
  inputs: "changes",
  grain: "mixture",
  counters: {},

  vectors: () => "tensor",

  check(settings) {
    if (!settings.global.normalize_weights || weightSum(settings) !== 0) return null;
    return "the weights sum to zero and cannot be divided by their sum; change a weight or set normalize_weights: false";
  },

  mix(gram, settings) {
    if (gram.vectors === 1) return { base: 1, models: [1] };
    const eps = Number(settings.global.eps);
    const divisor = settings.global.normalize_weights ? weightSum(settings) : 1;
    const weights = settings.models.map(({ weight }) => Number(weight) / divisor);
    const lengths = weights.map((_, i) => norm(gram, i));
    if (lengths.every((length) => length === 0)) return { base: 1, models: weights };
    const directed = weights.map((weight, i) => (lengths[i] === 0 ? 0 : weight / (lengths[i]! + eps)));
    const mean = normOfSum(gram, directed);
    if (mean < eps || mean === 0) {
      if (gram.vectors === 2) return { base: 1, models: weights };
      return "the directions of its vectors cancel, so they have no mean";
    }
    const length = weights.reduce((sum, weight, i) => sum + weight * lengths[i]!, 0);
    return { base: 1, models: directed.map((weight) => (weight * length) / mean) };
  },
};

function weightSum({ models }: Settings): number {
  return models.reduce((sum, { weight }) => sum + Number(weight), 0);
}
