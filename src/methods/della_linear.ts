import { rank } from "../pruners/rank.js";
import { composed, rankQuirk } from "./composed.js";
import type { TileMethod } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

export const dellaLinear: TileMethod = composed({
  name: "della_linear",
  title: "DELLA's MagPrune, then task arithmetic",
  paper: rank.paper,
  description: `p = density - epsilon + 2 epsilon r / (m - 1),   r = 0 … m-1 by ascending magnitude within a row of m entries
tau_i' = tau_i / p with probability p, else 0
theta = theta_0 + lambda (w_1 tau_1' + … + w_n tau_n')

The same as \`task_arithmetic\` with \`prune: {by: rank}\`. The paper's epsilon is the whole width of the probabilities: twice
this one. mergekit scales each tensor to its old L1 norm by one number (\`rescale: norm\`) where the paper divides each entry
by its own probability.`,
  pruner: rank,
  merger: taskArithmetic,
  shared: ["weight", "lambda", "normalize", "zero_sum"],
  fixed: () => ({}),
  dialects: {
    paper: {
      meaning: "density 0.5, each survivor over its probability, lambda 1",
      values: { density: 0.5, lambda: 1 },
    },
    mergekit: { meaning: "density 1, old L1 norm of each tensor", values: { density: 1, rescale: "norm", lambda: 1 } },
    "mergekit-strict": {
      meaning: "the same, and weights that sum to zero are not normalized",
      values: { density: 1, rescale: "norm", lambda: 1, zero_sum: "undivided" },
    },
  },
  quirk: rankQuirk,
});
