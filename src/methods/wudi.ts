import { filtered, isNothing } from "./change_grams.js";
import type { Filter } from "./change_grams.js";
import type { MatrixMethod, Values } from "./method.js";
import { lambdaParameter, meanOfChanges, takesMatrices, wholeParameter } from "./whole_matrices.js";

export const wudi: MatrixMethod = {
  name: "wudi",
  title: "Least squares on inputs that the changes themselves stand for",
  paper: {
    title: "Whoever Started the Interference Should End It: Guiding Data-Free Model Merging via Task Vectors",
    authors: "Cheng et al.",
    where: "ICML 2025, arXiv 2503.08099",
  },
  description: `theta = theta_0 + lambda D,   D minimises sum_t |(D - tau_t) tau_t^T|^2 / |tau_t|^2

The rows of a linear layer's change lie in the span of the inputs it was trained on, so tau_t^T tau_t can stand for their
Gram matrix, and RegMean's least-squares problem is solved without data. With G_t = tau_t^T tau_t / |tau_t|^2, C = sum_t G_t,
R = sum_t tau_t G_t and the start M = sum_t tau_t:

- \`solve: exact\`: D = R C^-1, the minimiser; where C is singular the start is kept, which has nothing there either;
- \`solve: landweber\`: \`steps\` times M + (R - M C) / l with the largest eigenvalue l of C, in closed form. Stopping early
  acts as a regulariser and is what makes the published method, 300 steps of Adam, better than the minimiser;
- \`solve: tikhonov\`: D = R (C + mu I)^-1. The eigenvalues of C sum to the number of tasks.

\`swudi\` chooses by itself where to stop. Changes of one matrix have to share its columns: \`transposed\` says that rows are a
layer's inputs, as GPT-2 stores them. Tensors that are not matrices, and matrices with \`whole: false\`, get lambda times the
mean of the changes; the authors leave out embeddings and heads. Memory is about six matrices of the inputs' width squared.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: lambdaParameter,
    solve: {
      type: "choice",
      default: "landweber",
      per: "recipe",
      choices: {
        exact: "the minimiser",
        landweber: "gradient steps from the sum of the changes",
        tikhonov: "the minimiser with a ridge",
      },
      meaning: "how near the minimiser to come",
    },
    steps: {
      type: "number",
      default: 150,
      min: 1,
      max: 100_000,
      integer: true,
      per: "recipe",
      meaning: "steps of landweber",
    },
    mu: { type: "number", default: 0.01, min: 0, per: "recipe", meaning: "ridge of tikhonov" },
    transposed: { type: "flag", default: false, per: "tensor", meaning: "rows are the layer's inputs" },
    whole: wholeParameter,
  },
  dialects: {
    landweber: { meaning: "150 gradient steps", values: {} },
    "closed-form": { meaning: "the minimiser itself", values: { solve: "exact" } },
  },
  inputs: "changes",
  grain: "matrix",
  counters: {},
  takes: takesMatrices,
  otherwise: meanOfChanges,
  solve: (task, settings, algebra) =>
    filtered(task, settings, algebra, (eigenvalues) => filterOf(eigenvalues, settings.global)),
};

function filterOf(eigenvalues: Float64Array, { solve, steps, mu }: Values): Filter {
  const largest = eigenvalues[0] ?? 0;
  const keep = new Float64Array(eigenvalues.length);
  const gain = new Float64Array(eigenvalues.length);
  for (const [index, value] of eigenvalues.entries()) {
    if (isNothing(value, largest)) keep[index] = 1;
    else if (solve === "exact") gain[index] = 1 / value;
    else if (solve === "tikhonov") gain[index] = 1 / (value + Number(mu));
    else {
      keep[index] = power(1 - value / largest, Number(steps));
      gain[index] = (1 - keep[index]) / value;
    }
  }
  return { keep, gain };
}

/** From multiplications alone, so that every engine gives the same bits. */
function power(base: number, exponent: number): number {
  let result = 1;
  for (let square = base, left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result *= square;
    square *= square;
  }
  return result;
}
