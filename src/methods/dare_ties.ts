import { random } from "../pruners/random.js";
import { composed, ELECTION, MERGEKIT_ELECTION, randomQuirk, UNTRIMMED } from "./composed.js";
import type { TileMethod } from "./method.js";
import { ties } from "./ties.js";

export const dareTies: TileMethod = composed({
  name: "dare_ties",
  title: "DARE, then TIES",
  paper: random.paper,
  description: `tau_i' = m_i tau_i / density,   m_i ~ Bernoulli(density) for each entry
theta = TIES of theta_0 and the theta_0 + tau_i'

The same as \`ties\` with \`prune: {by: random}\`. In the paper TIES trims what DARE leaves to its largest share \`top\` (20 %
of a whole model); in mergekit the draw takes the place of the trim (\`top: 1\`), sums are not divided by the agreeing
weights unless \`merge: mean\` asks for it, and each tensor is scaled to its old L1 norm (\`rescale: norm\`).`,
  pruner: random,
  merger: ties,
  shared: [...ELECTION, "trim"],
  own: {
    top: {
      type: "number",
      default: 0.2,
      min: 0,
      max: 1,
      per: "tensor",
      meaning: "share of entries that TIES's own trim keeps afterwards; 1: no trim",
    },
  },
  fixed: ({ top }) => (Number(top) >= 1 ? UNTRIMMED : { select: "top", density: top! }),
  dialects: {
    paper: { meaning: "drop rate 0.2, then TIES as released", values: { density: 0.8 } },
    fusionbench: {
      meaning: "FusionBench: drop rate 0.5, top 20 %, disjoint sum, lambda 0.5",
      values: { density: 0.5, merge: "sum", lambda: 0.5 },
    },
    mergekit: {
      meaning: "density 1, old L1 norm of each tensor, no trim, sum, zero sum positive",
      values: { ...MERGEKIT_ELECTION, density: 1, rescale: "norm", top: 1, trim: "tensor", merge: "sum" },
    },
  },
  quirk: randomQuirk,
});
