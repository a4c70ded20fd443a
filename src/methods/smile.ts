import type { ExpertForm, ExpertTensor, Settings, Tile, TileMethod } from "./method.js";

export const smile: TileMethod = {
  name: "smile",
  title: "SMILE: low-rank experts in every linear layer, chosen per token",
  paper: {
    title: "SMILE: Zero-Shot Sparse Mixture of Low-Rank Experts Construction From Pre-Trained Foundation Models",
    authors: "Tang et al.",
    where: "arXiv 2408.10174",
  },
  description: `y = W_0 x + b_0 + sum_(i in top) p_i [ U_i S_i V_i^T x + (b_i - b_0) ],   W_i - W_0 = U_i S_i V_i^T
with p = softmax_i || G_i x ||, of which the largest \`top_k\` are kept and divided by their sum, and theta_i near theta_0.

The result is an artifact: per linear layer and task the first \`rank\` singular triples of the task vector, the first
\`gate_rank\` right singular vectors as its gate G_i, and the difference of the biases. It needs no data and no training.
Linear layers are the matrices inside the network's layers; all other tensors stay the base's. A layer that no model
changes is left alone. \`rank: 0\` keeps the whole difference instead of a product.

The gate measures how much of a token lies in what an expert has learnt to look at; where the experts look at the same, it
is nearly uniform, which \`mergewright eval\` reports as its entropy. The authors' values are 16 and 32 for vision models,
8 and 64 to 512 for language models, and one expert per token; a gate as wide as the input cannot tell experts apart.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    gate_rank: {
      ...{ type: "number", default: 16, min: 1, integer: true, per: "tensor" },
      meaning: "right singular vectors that an expert's gate projects on",
    },
    rank: {
      ...{ type: "number", default: 32, min: 0, integer: true, per: "tensor" },
      meaning: "singular triples that an expert keeps; 0 keeps the whole difference",
    },
    top_k: {
      ...{ type: "number", default: 1, min: 1, integer: true, per: "recipe" },
      meaning: "experts that a token goes through",
    },
  },
  dialects: {
    paper: { meaning: "the paper's vision models: 16 and 32, one expert", values: {} },
    default: { meaning: "the released code's file of settings: 1 and 128", values: { gate_rank: 1, rank: 128 } },
    language: { meaning: "the paper's language models: 8 and 64, one expert", values: { gate_rank: 8, rank: 64 } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind: () => ({ scalars: {}, columns: {} }),

  /** Nothing is merged: what is shared is the base. */
  combine({ count, base, out }: Tile) {
    for (let p = 0; p < count; p++) out[p] = base[p]!;
  },

  kernel: () => null,

  experts: {
    over: "base",
    form: ({ global }: Settings, { layerPart }: ExpertTensor): ExpertForm => {
      const [rank, gate] = [Number(global.rank), Number(global.gate_rank)];
      if (layerPart === "bias") return { kind: "whole" };
      if (layerPart !== "matrix") return { kind: "none" };
      return rank === 0 ? { kind: "whole", gate } : { kind: "factors", rank, gate };
    },
    routing: ({ global }) => ({ by: "tokens", top: Number(global.top_k) }),
  },
};
