import { expm1 } from "../numbers/functions.js";
import { filtered, isNothing } from "./change_grams.js";
import type { Filter } from "./change_grams.js";
import type { MatrixMethod, Values } from "./method.js";
import { lambdaParameter, meanOfChanges, takesMatrices, wholeParameter } from "./whole_matrices.js";

export const swudi: MatrixMethod = {
  name: "swudi",
  title: "Least squares on the changes' own span, in its leading directions only",
  paper: {
    title: "Closed-Form Spectral Regularization for Multi-Task Model Merging",
    authors: "Wei et al.",
    where: "arXiv 2606.07289",
  },
  description: `theta = theta_0 + lambda D,   D = M V diag(1 - f) V^T + R V diag(f / l) V^T,   C = V diag(l) V^T

C, R and M are \`wudi\`'s: the sum of the normalised Gram matrices of the changes, the right side, and the sum of the changes.
Along the leading eigenvectors of C the sum of the changes is replaced by the least-squares solution, along the others it
stays:

- \`stop: adaptive\`: f = 1 for the K largest eigenvalues, K = (sum sqrt(l))^2 / sum l, rounded up, else 0. No parameters;
- \`stop: timed\`: f = 1 - exp(-l \`time\`) for the leading \`share\` of the eigenvalues, else 0: the gradient flow of the
  objective, stopped.

For merges of multimodal language models the authors scale by lambda 0.1 to 0.2, and leave out embeddings and heads
(\`whole: false\` for them). Tensors that are not matrices get lambda times the mean of the changes. \`transposed\` says that
rows are a layer's inputs, as GPT-2 stores them.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: lambdaParameter,
    stop: {
      type: "choice",
      default: "adaptive",
      per: "recipe",
      choices: { adaptive: "as many eigenvalues as count", timed: "a share of them, for a time" },
      meaning: "how far to go from the sum of the changes",
    },
    time: { type: "number", default: 1300, min: 0, per: "recipe", meaning: "time of the flow with stop: timed" },
    share: {
      type: "number",
      default: 0.65,
      min: 0,
      max: 1,
      per: "recipe",
      meaning: "share of the eigenvalues with stop: timed",
    },
    transposed: { type: "flag", default: false, per: "tensor", meaning: "rows are the layer's inputs" },
    whole: wholeParameter,
  },
  dialects: {
    adaptive: { meaning: "SWUDI-A, without parameters", values: {} },
    timed: { meaning: "SWUDI: time 1300, 65 % of the eigenvalues", values: { stop: "timed" } },
  },
  inputs: "changes",
  grain: "matrix",
  counters: {},
  takes: takesMatrices,
  otherwise: meanOfChanges,
  solve: (task, settings, algebra) =>
    filtered(task, settings, algebra, (eigenvalues) => filterOf(eigenvalues, settings.global)),
};

function filterOf(eigenvalues: Float64Array, { stop, time, share }: Values): Filter {
  const largest = eigenvalues[0] ?? 0;
  const keep = new Float64Array(eigenvalues.length).fill(1);
  const gain = new Float64Array(eigenvalues.length);
  const leading = stop === "adaptive" ? effective(eigenvalues) : Math.floor(Number(share) * eigenvalues.length);
  for (const [index, value] of eigenvalues.subarray(0, leading).entries()) {
    if (isNothing(value, largest)) continue;
    const taken = stop === "adaptive" ? 1 : -expm1(Math.fround(-value * Number(time)));
    keep[index] = 1 - taken;
    gain[index] = taken / value;
  }
  return { keep, gain };
}

/** (sum sqrt(l))² / sum l, rounded up: how many equal eigenvalues would have these two sums. */
function effective(eigenvalues: Float64Array): number {
  let [roots, sum] = [0, 0];
  for (const value of eigenvalues) {
    roots += Math.sqrt(Math.max(0, value));
    sum += Math.max(0, value);
  }
  return sum === 0 ? 0 : Math.ceil(roots ** 2 / sum);
}
