import { outliers } from "../pruners/outliers.js";
import { composed } from "./composed.js";
import type { TileMethod } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

export const breadcrumbs: TileMethod = composed({
  name: "breadcrumbs",
  title: "Model Breadcrumbs: task arithmetic without outliers and small entries",
  paper: outliers.paper,
  description: `tau_i' = tau_i where its magnitude is below the largest share gamma and among the next share density, else 0
theta = theta_0 + lambda (w_1 tau_1' + … + w_n tau_n')

The same as \`task_arithmetic\` with \`prune: {by: outliers}\`. Counts are exact: of n entries trunc(gamma n) are dropped as
outliers and trunc(density n) of the next kept; where both do not fit, fewer outliers are dropped. \`scope: tensor\` masks
each tensor by itself, as the paper does; \`scope: model\` ranks a model's whole change.`,
  pruner: outliers,
  merger: taskArithmetic,
  shared: ["weight", "lambda", "normalize", "zero_sum"],
  fixed: () => ({}),
  dialects: {
    paper: { meaning: "masks within each tensor, a scaled sum: lambda 0.3", values: { density: 0.9, lambda: 0.3 } },
    global: {
      meaning: "the same with masks over a model's whole change",
      values: { density: 0.9, lambda: 0.3, scope: "model" },
    },
    mergekit: { meaning: "density 1, lambda 1", values: { density: 1, lambda: 1 } },
    "mergekit-strict": {
      meaning: "the same, and weights that sum to zero are not normalized",
      values: { density: 1, lambda: 1, zero_sum: "undivided" },
    },
  },
});
