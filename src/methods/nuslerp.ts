import { alongArc } from "../statistics/arc.js";
import type { MixtureMethod, Settings } from "./method.js";

/** Sums of weights nearer to zero than this are zero. */
const NO_WEIGHT = 1e-6;

export const nuslerp: MixtureMethod = {
  name: "nuslerp",
  title: "Spherical interpolation of two models or task vectors by weights, whole, by rows or by columns",
  paper: null,
  description: `v = (sin((1-t) phi) v_1 + sin(t phi) v_2) / sin phi,   t = w_2 / (w_1 + w_2)
theta = theta_0 + v with v_i = theta_i - theta_0 where a base is given, else theta = v with v_i = theta_i

slerp of two models with weights in place of t, of task vectors where there is a base. One vector is a whole tensor
(\`nuslerp_flatten: true\`); without it, each run of a tensor along its last axis, or with \`nuslerp_row_wise: true\` along
its first axis (the name is mergekit's). A tensor of one axis is one vector in every case.

The straight line (1-t) v_1 + t v_2 is taken where the angle is within 1e-4 of none or of half a turn and, with
\`zero: line\`, where one vector is all zeros: a row that one fine-tune never touched has no direction.
\`zero: quarter\` puts it at right angles to the other, as mergekit does, so that at t = 1/2 the other keeps 0.71 of its
change instead of 0.5. Weights that sum to zero have no t: an error, or t = 1/2 with \`zero_weights: half\`.

A tensor that one of the two lacks (missing: skip) is taken from the other. Rows are read once, whole tensors and columns
twice.`,
  base: "optional",
  models: { min: 2, max: 2 },
  parameters: {
    weight: { type: "number", default: 1, per: "model", meaning: "share of a model; t is the second's of both" },
    nuslerp_flatten: { type: "flag", default: true, per: "recipe", meaning: "a tensor is one vector" },
    nuslerp_row_wise: {
      type: "flag",
      default: false,
      per: "recipe",
      meaning: "vectors run along the first axis instead of the last (nuslerp_flatten: false)",
    },
    zero: {
      type: "choice",
      default: "line",
      per: "recipe",
      choices: { line: "the straight line", quarter: "as if at right angles to the other" },
      meaning: "what becomes of a vector that is all zeros in one model",
    },
    zero_weights: {
      type: "choice",
      default: "error",
      per: "recipe",
      choices: { error: "an error", half: "t = 1/2" },
      meaning: "what weights that sum to zero mean",
    },
  },
  dialects: {
    arc: { meaning: "nothing assumed of vectors and weights that say nothing", values: {} },
    mergekit: { meaning: "as mergekit has it", values: { zero: "quarter", zero_weights: "half" } },
  },
  inputs: "changes",
  grain: "mixture",
  counters: {},

  quirk({ global }) {
    if (global.zero === "quarter") return null;
    return "mergekit 0.1.5 treats a vector of zeros as one at right angles to the other";
  },

  vectors({ global }) {
    if (global.nuslerp_flatten) return "tensor";
    return global.nuslerp_row_wise ? "column" : "row";
  },

  check(settings) {
    if (settings.models.length < 2 || settings.global.zero_weights === "half") return null;
    if (Math.abs(weightSum(settings)) >= NO_WEIGHT) return null;
    return "the two weights sum to zero, so there is no t; change one or set zero_weights: half";
  },

  mix(gram, settings) {
    if (gram.vectors === 1) return { base: 1, models: [1] };
    const sum = weightSum(settings);
    const t = Math.abs(sum) < NO_WEIGHT ? 0.5 : Number(settings.models[1]!.weight) / sum;
    return { base: 1, models: alongArc(gram, 0, 1, t, { linearAbove: 1, zero: String(settings.global.zero) }) };
  },
};

function weightSum({ models }: Settings): number {
  return models.reduce((sum, { weight }) => sum + Number(weight), 0);
}
