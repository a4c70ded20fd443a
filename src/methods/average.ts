import type { Arguments, Settings, Tile, TileMethod } from "./method.js";

const { fround } = Math;

export const average: TileMethod = {
  name: "average",
  title: "Weighted average of the models' weights (model soup)",
  paper: {
    title:
      "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time",
    authors: "Wortsman et al.",
    where: "arXiv 2203.05482",
  },
  description: `theta = (w_1 theta_1 + … + w_n theta_n) / (w_1 + … + w_n)

With equal weights this is the uniform soup: the base plus the mean task vector. The base takes no part; where one is
given it only supplies tensors that are not merged, config and tokenizer. With \`normalize: false\` the sum is not
divided. Sums run in recipe order in f32 and are divided once: equal models of 16-bit entries average to themselves exactly,
others up to the roundings of the sum.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model" },
    normalize: { type: "flag", default: true, per: "recipe", meaning: "divide by the sum of the weights" },
  },
  dialects: { paper: { meaning: "equal weights", values: {} } },
  inputs: "weights",
  grain: "tile",
  counters: {},

  needs: () => null,

  check(settings) {
    if (!settings.global.normalize || weightSum(settings) !== 0) return null;
    return "the weights sum to zero, so their average does not exist; change a weight or set normalize: false";
  },

  bind(settings): Arguments {
    return {
      scalars: { divisor: settings.global.normalize ? weightSum(settings) : 1 },
      columns: { weight: settings.models.map((model) => fround(Number(model.weight))) },
    };
  },

  combine({ count, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const divisor = scalars.divisor!;
    const weights = columns.weight!;
    for (let p = 0; p < count; p++) {
      let sum = fround(inputs[0]![p]! * weights[0]!);
      for (let i = 1; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! * weights[i]!));
      out[p] = sum / divisor;
    }
  },

  kernel: () => "linear",
};

function weightSum(settings: Settings): number {
  return fround(settings.models.reduce((sum, model) => sum + Number(model.weight), 0));
}
