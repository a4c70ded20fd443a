import type { Arguments, TileMethod } from "./method.js";
import { combineOverlap, OVERLAP_COUNTERS, smallestAbove } from "./overlap.js";

const { fround } = Math;

export const ram: TileMethod = {
  name: "ram",
  title: "Changes of one model kept whole, changes of several averaged",
  paper: {
    title: "Behavior Knowledge Merge in Reinforced Agentic Models",
    authors: "Yuan et al.",
    where: "arXiv 2601.13572",
  },
  description: `theta = theta_0 + lambda (tau_i if only model i is active, else the mean of the active models' changes)

A model is active in an entry where |tau_i| > epsilon. Made for models tuned by reinforcement learning, whose changes are
sparse: an average over all models would dilute an entry that one of them alone changed. There are no weights.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    epsilon: {
      type: "number",
      default: 1e-5,
      min: 0,
      per: "tensor",
      meaning: "magnitude above which an entry counts as changed",
    },
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the merged change" },
  },
  dialects: { mergekit: { meaning: "mergekit's ram, which is the paper's", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: OVERLAP_COUNTERS,

  needs: () => null,

  bind: ({ global, models }): Arguments => ({
    scalars: { lambda: fround(Number(global.lambda)) },
    columns: { threshold: models.map(() => smallestAbove(Number(global.epsilon))), unique: models.map(() => 1) },
  }),
  combine: combineOverlap,
  kernel: () => "overlap",
};
