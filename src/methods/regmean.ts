import type { Algebra, Matrix64 } from "../algebra/algebra.js";
import { averaging } from "./averaging.js";
import { damped, rounded, turned } from "./matrices.js";
import type { MatrixMethod, MatrixResult, MatrixTask, Settings } from "./method.js";

/** Added to the diagonal where a factorisation fails, as a share of its mean; ten times more until one succeeds. */
const FIRST_RIDGE = 1e-10;
const LAST_RIDGE = 1;

export const regmean: MatrixMethod = {
  name: "regmean",
  title: "RegMean: linear layers whose outputs are nearest to the models' on their own data",
  paper: {
    title: "Dataless Knowledge Fusion by Merging Weights of Language Models",
    authors: "Jin et al.",
    where: "arXiv 2212.09849",
  },
  description: `theta^T = (sum_i w_i G_i)^-1 sum_i w_i G_i theta_i^T for the weight theta of a linear layer

G_i is the mean of x x^T over the rows that enter the layer of model i on its own data, from a file that
\`mergewright collect gram\` (or \`kfac\`) writes, with its off-diagonal entries multiplied by alpha. This is the theta that
minimises sum_i w_i |X_i theta^T - X_i theta_i^T|^2 for alpha 1. Weights stored as [inputs, outputs] (GPT-2) are solved as they lie. The sum is
factored by Cholesky in f64; only where that fails is a ridge added to its diagonal, relative to the diagonal's mean, and
the report says so. All other tensors are averaged by weight. Equal G, or identity matrices, give the average.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "strength of a model" },
    alpha: {
      ...{ type: "number", default: 0.9, min: 0, max: 1, per: "tensor" },
      meaning: "what off-diagonal entries of G are multiplied by; 1 leaves them, 0 keeps the diagonal alone",
    },
  },
  dialects: {
    paper: { meaning: "off-diagonals times 0.9", values: {} },
    undamped: { meaning: "the exact minimiser; needs as many rows of data as inputs", values: { alpha: 1 } },
    "fusion-bench-clip": { meaning: "off-diagonals times 0.95", values: { alpha: 0.95 } },
    "fusion-bench-gpt2": { meaning: "off-diagonals times 0.6", values: { alpha: 0.6 } },
  },
  inputs: "weights",
  grain: "matrix",
  counters: {},
  statistics: { kinds: () => ["gram", "kfac"] },
  figures: { ridge: "added to the diagonal, as a share of its mean" },
  otherwise: averaging,

  takes: (_, { shape }) => shape.length === 2,

  check: ({ models }) => (models.some(({ weight }) => Number(weight) > 0) ? null : "all weights are zero; raise one"),

  async solve(task: MatrixTask, settings: Settings, algebra: Algebra): Promise<MatrixResult> {
    let sum: Matrix64 | null = null;
    let right: Matrix64 | null = null;
    for (let index = 0; index < task.models; index++) {
      const weight = Number(settings.models[index]!.weight);
      const { sum: gram, count } = (await task.statistic(index, "input"))!;
      const scaled = damped(gram, Number(settings.global.alpha), weight / count);
      const product = algebra.multiply64(scaled, turned(await task.model(index), task.transposed));
      sum = sum === null ? scaled : plus(sum, scaled);
      right = right === null ? product : plus(right, product);
    }
    const { lower, ridge } = factored(sum!, algebra);
    const solution = algebra.solveCholesky(lower, right!);
    const warnings =
      ridge === 0
        ? []
        : [
            `the sum of its Grams is singular; ${ridge} of its diagonal's mean was added (a smaller alpha or more examples help)`,
          ];
    return { merged: rounded(solution, task.transposed), warnings, figures: { ridge: [ridge] } };
  },
};

/** Adds into the first. */
function plus(a: Matrix64, b: Matrix64): Matrix64 {
  for (let index = 0; index < a.data.length; index++) a.data[index]! += b.data[index]!;
  return a;
}

/** Whether the pivots are more than what rounding leaves of a singular matrix. */
function isDefinite({ rows, data }: Matrix64): boolean {
  let least = Infinity;
  let most = 0;
  for (let index = 0; index < rows; index++) {
    const pivot = data[index * rows + index]! ** 2;
    least = Math.min(least, pivot);
    most = Math.max(most, pivot);
  }
  return least > rows * Number.EPSILON * most;
}

function factored(sum: Matrix64, algebra: Algebra): { lower: Matrix64; ridge: number } {
  const { rows, data } = sum;
  const first = algebra.cholesky(sum);
  if (first !== null && isDefinite(first)) return { lower: first, ridge: 0 };
  let mean = 0;
  for (let index = 0; index < rows; index++) mean += data[index * rows + index]! / rows;
  for (let ridge = FIRST_RIDGE; ridge <= LAST_RIDGE; ridge *= 10) {
    const raised = data.slice();
    for (let index = 0; index < rows; index++) raised[index * rows + index]! += ridge * (mean > 0 ? mean : 1);
    const lower = algebra.cholesky({ ...sum, data: raised });
    if (lower !== null && isDefinite(lower)) return { lower, ridge };
  }
  throw new RangeError("a sum of inner products is not positive, however large the ridge");
}
