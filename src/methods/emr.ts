import type { Arguments, MaskSums, Settings, Tile, TileMethod } from "./method.js";

const { fround, max, min } = Math;

export const emr: TileMethod = {
  name: "emr",
  title: "EMR-Merging: one unified task vector, a mask and a rescaler per task",
  paper: {
    title: "EMR-Merging: Tuning-Free High-Performance Model Merging",
    authors: "Huang et al.",
    where: "arXiv 2405.17461",
  },
  description: `theta_t = theta_0 + lambda_t M_t tau_uni,   tau_i = theta_i - theta_0

The result is an artifact, not a checkpoint: \`mergewright materialize\` writes the model of a task from it. Per entry:
1. Elect: the sign of the sum of all tau_i; a sum of exactly zero elects the negative sign, as the released code does.
   tau_uni is the largest magnitude among the tau_i of that sign, with the sign.
2. Mask: M_i keeps the entries in which tau_i has the sign of tau_uni, strictly: zeros are left out.
3. Rescale: lambda_i = sum |tau_i| / sum |M_i tau_uni|. The released code, whose logs give the paper's tables, sums the
   means of all tensors, so that small tensors count as much as large ones; \`rescale: global\` is the paper's formula.
   A task whose mask is empty, such as the base itself, has lambda 1.

The paper's ablation takes the parts away: \`mask: false\` with \`rescale: none\` is election alone, theta_0 + tau_uni for
every task; \`rescale: none\` is election and mask, lambda 1; \`mask: false\` is election and rescaling, where M_i keeps
everything. Such an artifact has masks, too, all of their bits set.

tau_uni is stored in the output's format, and masks and rescalers are taken from what is stored. A mask takes one bit per
parameter: 1/16 of a bf16 model per task. Classification heads belong beside it: exclude them with \`heads: separate\`.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    rescale: {
      type: "choice",
      default: "per-tensor-mean",
      choices: {
        "per-tensor-mean": "ratio of the sums of per-tensor means (the released code)",
        global: "ratio of the sums over all entries (the paper)",
        none: "1 (the paper's ablation)",
      },
      per: "recipe",
      meaning: "how a task's rescaler is taken",
    },
    mask: {
      type: "flag",
      default: true,
      per: "recipe",
      meaning: "leave out of a task's model what its change disagrees with; false for the paper's ablation",
    },
  },
  dialects: {
    code: { meaning: "the released code: sums of per-tensor means", values: { rescale: "per-tensor-mean" } },
    paper: { meaning: "the paper's formula: sums over all entries", values: { rescale: "global" } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind: ({ global }): Arguments => ({ scalars: { mask: global.mask === false ? 0 : 1 }, columns: {} }),

  combine({ count, inputs, out }: Tile) {
    for (let p = 0; p < count; p++) {
      let [sum, largest, smallest] = [0, 0, 0];
      for (let i = 0; i < inputs.length; i++) {
        const change = inputs[i]![p]!;
        sum = fround(sum + change);
        largest = max(largest, change);
        smallest = min(smallest, change);
      }
      out[p] = sum > 0 ? largest : smallest;
    }
  },

  kernel: () => "elect",

  masking: {
    keeps: (change, shared, _row, { scalars }) =>
      scalars.mask === 0 || (change > 0 && shared > 0) || (change < 0 && shared < 0),
    kernel: ({ scalars }) => (scalars.mask === 0 ? null : "agree"),
    scale(settings: Settings, tensors: readonly MaskSums[]): number {
      if (settings.global.rescale === "none") return 1;
      const isMean = settings.global.rescale === "per-tensor-mean";
      let [change, shared] = [0, 0];
      for (const tensor of tensors) {
        const divisor = isMean ? tensor.entries : 1;
        change += tensor.change / divisor;
        shared += tensor.shared / divisor;
      }
      return change / shared;
    },
  },
};
