import type { Arguments, Tile, TileMethod } from "./method.js";

const { abs, fround } = Math;

export const tallMasks: TileMethod = {
  name: "tall_masks",
  title: "TALL masks: the sum of task vectors, and a mask per task over it",
  paper: {
    title: "Localizing Task Information for Improved Model Merging and Compression",
    authors: "Wang et al.",
    where: "arXiv 2405.07813",
  },
  description: `theta_t = theta_0 + M_t tau_mtl,   tau_mtl = alpha (tau_1 + … + tau_n)
M_t = [ |tau_t| > lambda_t |tau_mtl - tau_t| ]

The result is an artifact, not a checkpoint: \`mergewright materialize\` writes the model of a task from it. A mask keeps
the entries of the multi-task vector in which the task's own part outweighs that of the others. The paper chooses lambda_t,
here \`mask_lambda\`, between 0.2 and 0.6 per task on validation data: smaller keeps more. The vector is stored in the
output's format, and the masks are taken from what is stored. A mask takes one bit per parameter: 1/16 of a bf16 model per
task. Classification heads belong beside it: exclude them with \`heads: separate\`.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    alpha: { type: "number", default: 1, per: "tensor", meaning: "scale of the summed task vectors" },
    mask_lambda: {
      type: "number",
      default: 0.4,
      min: 0,
      per: "model",
      meaning: "how far the others' part must be outweighed; smaller keeps more",
    },
  },
  dialects: { paper: { meaning: "plain sum; mask_lambda 0.4, the middle of the paper's range", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind(settings): Arguments {
    return {
      scalars: { alpha: fround(Number(settings.global.alpha)) },
      columns: { mask_lambda: settings.models.map((model) => fround(Number(model.mask_lambda))) },
    };
  },

  combine({ count, inputs, out }: Tile, { scalars }: Arguments) {
    const alpha = scalars.alpha!;
    for (let p = 0; p < count; p++) {
      let sum = 0;
      for (let i = 0; i < inputs.length; i++) sum = fround(sum + inputs[i]![p]!);
      out[p] = sum * alpha;
    }
  },

  kernel: () => "total",

  masking: {
    keeps: (change, shared, row, { columns }) =>
      abs(change) > fround(columns.mask_lambda![row]! * abs(fround(shared - change))),
    kernel: () => "within",
    scale: () => 1,
  },
};
