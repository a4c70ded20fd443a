import { rank } from "../pruners/rank.js";
import { composed, ELECTION, MERGEKIT_ELECTION, rankQuirk, UNTRIMMED } from "./composed.js";
import type { TileMethod } from "./method.js";
import { ties } from "./ties.js";

export const della: TileMethod = composed({
  name: "della",
  title: "DELLA: drop small entries more often, elect a sign, merge what agrees",
  paper: rank.paper,
  description: `p = density - epsilon + 2 epsilon r / (m - 1),   r = 0 … m-1 by ascending magnitude within a row of m entries
tau_i' = tau_i / p with probability p, else 0
theta = theta_0 + lambda times the mean of the tau_i' whose sign is that of their sum

The same as \`ties\` without a trim of its own (\`select: none\`) and with \`prune: {by: rank}\`. The paper's epsilon is the
whole width of the probabilities: twice this one. mergekit scales each tensor to its old L1 norm by one number
(\`rescale: norm\`) where the paper divides each entry by its own probability.`,
  pruner: rank,
  merger: ties,
  shared: ELECTION,
  fixed: () => UNTRIMMED,
  dialects: {
    paper: { meaning: "density 0.5, each survivor over its probability, mean", values: { density: 0.5 } },
    mergekit: {
      meaning: "density 1, old L1 norm of each tensor, mean, zero sum positive",
      values: { ...MERGEKIT_ELECTION, density: 1, rescale: "norm", merge: "mean" },
    },
  },
  quirk: rankQuirk,
});
