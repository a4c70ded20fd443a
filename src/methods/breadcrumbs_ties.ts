import { outliers } from "../pruners/outliers.js";
import { composed, ELECTION, MERGEKIT_ELECTION, UNTRIMMED } from "./composed.js";
import type { TileMethod } from "./method.js";
import { ties } from "./ties.js";

export const breadcrumbsTies: TileMethod = composed({
  name: "breadcrumbs_ties",
  title: "Model Breadcrumbs, then TIES's election",
  paper: outliers.paper,
  description: `tau_i' = tau_i where its magnitude is below the largest share gamma and among the next share density, else 0
theta = theta_0 + lambda times the mean of the tau_i' whose sign is that of their sum

The same as \`ties\` without a trim of its own (\`select: none\`) and with \`prune: {by: outliers}\`: mergekit's combination of
two papers. mergekit sums what agrees (\`merge: sum\`) unless normalize asks for the mean.`,
  pruner: outliers,
  merger: ties,
  shared: ELECTION,
  fixed: () => UNTRIMMED,
  dialects: {
    paper: { meaning: "masks within each tensor, mass, disjoint mean, lambda 1", values: { density: 0.9 } },
    mergekit: {
      meaning: "density 1, sum, zero sum positive",
      values: { ...MERGEKIT_ELECTION, density: 1, merge: "sum" },
    },
  },
});
