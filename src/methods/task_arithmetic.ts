import type { Arguments, Tile, TileMethod, Values } from "./method.js";

const { fround } = Math;

export const taskArithmetic: TileMethod = {
  name: "task_arithmetic",
  title: "Base plus the scaled sum of task vectors",
  paper: { title: "Editing Models with Task Arithmetic", authors: "Ilharco et al.", where: "arXiv 2212.04089" },
  description: `theta = theta_0 + lambda (w_1 tau_1 + … + w_n tau_n),   tau_i = theta_i - theta_0

A sum, not a mean: lambda = 1/n with equal weights gives simple averaging. Addition: weights 1. Negation (forgetting):
a weight of -1. Analogy "A is to B as C is to D": weights B 1, A -1, C 1. The released code's default is lambda = 0.3;
0.4 is the value quoted for use without validation data. Accuracy over lambda is unimodal with a cliff: search it on
validation data when there is any.

With \`normalize\` the sum is divided by the sum of the weights. Weights that sum to zero are then refused, unless
\`zero_sum: undivided\` leaves their sum as it is, which mergekit does below 1e-8.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 0.3, per: "tensor", meaning: "scale of the merged change" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model; negative to subtract its task" },
    normalize: { type: "flag", default: false, per: "recipe", meaning: "divide by the sum of the weights" },
    zero_sum: {
      type: "choice",
      default: "refuse",
      per: "recipe",
      choices: { refuse: "an error", undivided: "the sum is not divided where the weights sum to less than 1e-8" },
      meaning: "what normalize does with weights that sum to zero",
    },
  },
  dialects: {
    paper: { meaning: "the released code: lambda 0.3", values: { lambda: 0.3 } },
    "no-validation": {
      meaning: "the TIES paper's choice without validation data: lambda 0.4",
      values: { lambda: 0.4 },
    },
    mergekit: { meaning: "lambda 1, strength through the weights", values: { lambda: 1 } },
    "mergekit-strict": {
      meaning: "the same, and weights that sum to zero are not normalized",
      values: { lambda: 1, zero_sum: "undivided" },
    },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  weighing: {
    coefficient: "weight",
    fixed: { lambda: 1, normalize: false },
    start: ({ lambda, weight }) => Number(lambda) * Number(weight),
    parts({ count, inputs }, _, parts) {
      for (const [i, part] of parts.entries()) part.set(inputs[i]!.subarray(0, count));
    },
  },

  needs: () => null,

  sumMultiple({ global, models }) {
    const weight = Number(models[0]!.weight);
    if (models.some((model) => Number(model.weight) !== weight)) return null;
    const sum = global.normalize ? weightSum(models) : 1;
    return weight / (isZero(sum) ? 1 : sum);
  },

  check({ global, models }) {
    if (!global.normalize || global.zero_sum === "undivided" || !isZero(weightSum(models))) return null;
    return "the weights sum to zero, so the sum cannot be divided by them; change a weight or set normalize: false";
  },

  quirk({ global, models }) {
    if (!global.normalize || !isZero(weightSum(models))) return null;
    return "where the weights sum to less than 1e-8, mergekit does not normalize (zero_sum: undivided)";
  },

  bind(settings): Arguments {
    const sum = settings.global.normalize ? weightSum(settings.models) : 1;
    return {
      scalars: { lambda: fround(Number(settings.global.lambda) / (isZero(sum) ? 1 : sum)) },
      columns: { weight: settings.models.map((model) => fround(Number(model.weight))) },
    };
  },

  combine({ count, base, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const lambda = scalars.lambda!;
    const weights = columns.weight!;
    for (let p = 0; p < count; p++) {
      let sum = 0;
      for (let i = 0; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! * weights[i]!));
      out[p] = base[p]! + fround(sum * lambda);
    }
  },

  kernel: () => "arithmetic",
};

function weightSum(models: readonly Values[]): number {
  return models.reduce((sum, model) => sum + Number(model.weight), 0);
}

function isZero(sum: number): boolean {
  return Math.abs(sum) < 1e-8;
}
