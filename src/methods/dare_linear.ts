import { random } from "../pruners/random.js";
import { composed, randomQuirk } from "./composed.js";
import type { TileMethod } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

export const dareLinear: TileMethod = composed({
  name: "dare_linear",
  title: "DARE, then task arithmetic",
  paper: random.paper,
  description: `tau_i' = m_i tau_i / density,   m_i ~ Bernoulli(density) for each entry
theta = theta_0 + lambda (w_1 tau_1' + … + w_n tau_n')

The same as \`task_arithmetic\` with \`prune: {by: random}\`. The paper's drop rate is 1 - density; it merges 13B language
models at a drop rate of 0.2. mergekit scales each tensor to its old L1 norm instead (\`rescale: norm\`), which is equal on
average and different for each draw.`,
  pruner: random,
  merger: taskArithmetic,
  shared: ["weight", "lambda", "normalize", "zero_sum"],
  fixed: () => ({}),
  dialects: {
    paper: { meaning: "drop rate 0.2, survivors times 1 / density", values: { density: 0.8, lambda: 1 } },
    mergekit: { meaning: "density 1, old L1 norm of each tensor", values: { density: 1, rescale: "norm", lambda: 1 } },
    "mergekit-strict": {
      meaning: "the same, and weights that sum to zero are not normalized",
      values: { density: 1, rescale: "norm", lambda: 1, zero_sum: "undivided" },
    },
  },
  quirk: randomQuirk,
});
