import type { Arguments, Known, Need, Scope, TileMethod } from "./method.js";
import { combineOverlap, OVERLAP_COUNTERS, smallestAbove } from "./overlap.js";
import { ram } from "./ram.js";

const { fround, max, min } = Math;

export const ramplusTl: TileMethod = {
  name: "ramplus_tl",
  title: "RAM+: as ram, with what a model has alone scaled up by how much of it is shared",
  paper: ram.paper,
  description: `theta = theta_0 + lambda (f_i tau_i if only model i is active, else the mean of the active models' changes)
f_i = 1 + r clamp(rho_i, 0, alpha),   rho_i = (entries model i shares) / max(entries it has alone, epsilon)

A model is active in an entry where |tau_i| > epsilon. Averaging dilutes what models share; f_i makes up for it where a
model is alone, the more, the more of its entries are shared. The counts are taken over the whole model, as in the paper,
or per tensor (\`counts: tensor\`), as in mergekit. They are exact.`,
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
    r: { type: "number", default: 0.1, per: "tensor", meaning: "how strongly the sharing scales" },
    alpha: { type: "number", default: 0.2, min: 0, per: "tensor", meaning: "largest share ratio that counts" },
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the merged change" },
    counts: {
      type: "choice",
      default: "model",
      per: "recipe",
      choices: { model: "of all merged tensors", tensor: "of each tensor by itself" },
      meaning: "over which entries shared and unique ones are counted",
    },
  },
  dialects: {
    paper: { meaning: "counts over the whole model", values: {} },
    mergekit: { meaning: "mergekit's ramplus_tl: counts per tensor", values: { counts: "tensor" } },
  },
  inputs: "changes",
  grain: "tile",
  counters: OVERLAP_COUNTERS,

  quirk: ({ global }) =>
    global.counts === "model" ? "mergekit's ramplus_tl counts shared entries per tensor (counts: tensor)" : null,

  needs({ global, models }, known): Need | null {
    if (known.overlap !== undefined) return null;
    const threshold = smallestAbove(Number(global.epsilon));
    return { statistic: "overlap", scope: global.counts as Scope, thresholds: models.map(() => threshold) };
  },

  bind({ global, models }, known): Arguments {
    return {
      scalars: { lambda: fround(Number(global.lambda)) },
      columns: {
        threshold: models.map(() => smallestAbove(Number(global.epsilon))),
        unique: models.map((_, i) => factorOf(global, known, i)),
      },
    };
  },

  combine: combineOverlap,
  kernel: () => "overlap",
};

function factorOf(global: Readonly<Record<string, unknown>>, { overlap }: Known, i: number): number {
  if (overlap === undefined) return 1;
  const ratio = overlap.shared[i]! / max(overlap.unique[i]!, Number(global.epsilon));
  return fround(1 + Number(global.r) * min(ratio || 0, Number(global.alpha)));
}
