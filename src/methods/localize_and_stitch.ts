import type { Arguments, Need, Scope, TileMethod } from "./method.js";
import { combineOverlap, OVERLAP_COUNTERS } from "./overlap.js";

const { fround, max, trunc } = Math;

/** The smallest positive f32: an entry that did not change belongs to no region, however large the density. */
const LEAST = 2 ** -149;

export const localizeAndStitch: TileMethod = {
  name: "localize_and_stitch",
  title: "The largest changes of every model, averaged where they overlap (dataless)",
  paper: {
    title: "Localize-and-Stitch: Efficient Model Merging via Sparse Task Arithmetic",
    authors: "He et al.",
    where: "arXiv 2408.13656",
  },
  description: `theta = theta_0 + lambda (mean over the models i with m_i = 1 of tau_i),   m_i = [ |tau_i| among the largest \`density\` ]

The paper's variant without data: each model keeps its trunc(d·density) largest changes out of d, and every further one
equal to the last of them, over the whole model or per tensor (\`trim\`). A position that several models keep takes the mean of
theirs, one that a single model keeps takes that change whole, all others stay at the base. There are no signs to elect and
no sum to scale, so lambda is 1. The paper keeps 1 to 10 %. The released code keeps what is strictly larger than the last,
one entry fewer. The variant that learns its masks needs data and is not this one.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    density: {
      type: "number",
      default: 0.05,
      min: 0,
      max: 1,
      per: "model",
      meaning: "share of a model's entries that is kept",
    },
    lambda: { type: "number", default: 1, per: "tensor", late: true, meaning: "scale of the merged change" },
    trim: {
      type: "choice",
      default: "model",
      per: "recipe",
      choices: { model: "one threshold for a model's whole task vector", tensor: "one threshold per tensor" },
      meaning: "over which entries the largest are taken",
    },
  },
  dialects: { paper: { meaning: "the largest 5 % of each model", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: OVERLAP_COUNTERS,

  needs({ global, models }, known): Need | null {
    if (known.threshold !== undefined) return null;
    return { statistic: "threshold", scope: global.trim as Scope, ranks: models.map(rankOf), ties: "keep" };
  },

  bind: ({ global, models }, known): Arguments => ({
    scalars: { lambda: fround(Number(global.lambda)) },
    columns: {
      threshold: models.map((_, i) => max(known.threshold?.thresholds[i] ?? 0, LEAST)),
      unique: models.map(() => 1),
    },
  }),

  combine: combineOverlap,
  kernel: () => "overlap",
};

function rankOf({ density }: Readonly<Record<string, unknown>>): (entries: number) => number | null {
  const share = Number(density);
  return (entries) => (share >= 1 ? null : trunc(entries * share));
}
