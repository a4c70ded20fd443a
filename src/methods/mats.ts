import type { Algebra, Matrix } from "../algebra/algebra.js";
import { MergewrightError } from "../errors.js";
import { averaging } from "./averaging.js";
import { damped, rounded, turned } from "./matrices.js";
import type { MatrixMethod, MatrixResult, MatrixTask, Settings } from "./method.js";

const { fround } = Math;

/** Beyond this ratio of eigenvalues late steps follow directions that the data hardly constrain. */
const WORST_CONDITION = 1e5;

export const mats: MatrixMethod = {
  name: "mats",
  title: "MaTS: the models matched in their tasks' own subspaces by conjugate gradients",
  paper: {
    title: "Merging by Matching Models in Task Parameter Subspaces",
    authors: "Tam, Bansal, Raffel",
    where: "arXiv 2312.04339",
  },
  description: `sum_i w_i A_i V B_i = sum_i w_i A_i theta_i^T B_i is solved for V = theta^T of each linear layer

A_i is the mean of x x^T over the rows that enter the layer, B_i that of g g^T over the gradients of log p by its outputs
(K-FAC's blocks of the Fisher matrix), from a file that \`mergewright collect kfac\` writes. \`objective: regmean\` leaves the B
out, which is RegMean's system. Off-diagonal entries of both are multiplied by alpha. Conjugate gradients begin at \`init\`, a
merge of another kind, and end after \`iterations\` steps or where the residual is \`tolerance\` of the right side. Where they
begin and stop matters: undamped systems are so ill conditioned that many steps follow noise and ruin the merge, so alpha
is 0.9 unless set, and the report has the residual of every step and an estimate of the condition number. Products are f32,
inner products f64. \`objective: block\` is for (IA)3 adapters (\`mergewright adapter merge\`): sum_i w_i F_i l =
sum_i w_i F_i l_i for each vector l, F_i the mean of g g^T over examples, from \`mergewright collect block\`. All other tensors are averaged by weight; the diagonal objective is \`fisher/mats\`, in closed form.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "strength of a model" },
    objective: {
      ...{ type: "choice", default: "kfac", per: "recipe", meaning: "which curvature the models are matched in" },
      choices: {
        kfac: "inputs and output gradients",
        regmean: "inputs alone, as RegMean",
        block: "the whole Fisher of each vector, of (IA)3 adapters",
      },
    },
    alpha: {
      ...{ type: "number", default: 0.9, min: 0, max: 1, per: "tensor" },
      meaning: "what off-diagonal entries of A and B are multiplied by; 1 leaves them",
    },
    init: {
      ...{ type: "choice", default: "task_arithmetic", per: "recipe", meaning: "where the steps begin" },
      choices: {
        task_arithmetic: "the base and init_lambda times the sum of the changes",
        average: "the average by weight",
        base: "the base",
        zero: "zeros",
      },
    },
    init_lambda: {
      type: "number",
      default: 0.3,
      per: "tensor",
      meaning: "scale of the sum of changes at the beginning",
    },
    iterations: {
      type: "number",
      default: 50,
      min: 0,
      max: 10000,
      integer: true,
      per: "tensor",
      meaning: "most steps",
    },
    tolerance: {
      ...{ type: "number", default: 1e-5, min: 0, max: 1, per: "tensor" },
      meaning: "residual at which it ends, as a share of the right side",
    },
  },
  dialects: {
    damped: { meaning: "off-diagonals times 0.9, 50 steps", values: {} },
    paper: { meaning: "the released code: undamped, 100 steps", values: { alpha: 1, iterations: 100 } },
    ia3: {
      meaning:
        "the released code's for (IA)3 adapters: the whole Fisher of each vector, 10 steps from 0.2 times the changes",
      values: { objective: "block", alpha: 1, iterations: 10, init_lambda: 0.2 },
    },
    early: { meaning: "undamped, but stopped after 10 steps", values: { alpha: 1, iterations: 10 } },
  },
  inputs: "weights",
  grain: "matrix",
  counters: {},
  statistics: {
    kinds: ({ objective }) =>
      objective === "block" ? ["block"] : objective === "regmean" ? ["gram", "kfac"] : ["kfac"],
  },
  figures: {
    residuals: "what the steps left, as a share of the right side",
    condition: "condition number of the system, estimated from the steps",
    steps: "steps made",
  },
  otherwise: averaging,

  takes: (_, { shape }) => shape.length === 2,

  check: ({ models }) => (models.some(({ weight }) => Number(weight) > 0) ? null : "all weights are zero; raise one"),

  async solve(task: MatrixTask, settings: Settings, algebra: Algebra): Promise<MatrixResult> {
    const { alpha, iterations, tolerance, objective } = settings.global;
    const terms: Term[] = [];
    const weights: Matrix[] = [];
    let right: Matrix | null = null;
    for (let index = 0; index < task.models; index++) {
      const scale = Number(settings.models[index]!.weight);
      const factor = async (role: string, by: number): Promise<Matrix | null> => {
        const found = await task.statistic(index, role);
        return found === null ? null : narrowed(damped(found.sum, Number(alpha), by / found.count));
      };
      const term = { a: (await factor("input", scale))!, b: objective === "kfac" ? await factor("output", 1) : null };
      const weight = narrowed(turned(await task.model(index), task.transposed));
      const product = applied(term, weight, algebra);
      right = right === null ? product : plus(right, product, 1);
      terms.push(term);
      weights.push(weight);
    }
    if (objective === "kfac" && terms.some(({ b }) => b === null)) return averagedWith(task, settings, weights);
    const start = await initial(task, settings, weights);
    const operator = (v: Matrix) => terms.map((term) => applied(term, v, algebra)).reduce((a, b) => plus(a, b, 1));
    const { solution, residuals, condition } = conjugateGradients(
      operator,
      right!,
      start,
      Number(iterations),
      Number(tolerance),
      algebra,
    );
    const isLoose = condition > WORST_CONDITION && residuals.at(-1)! > Number(tolerance);
    const warnings = isLoose
      ? [
          `its system is ill conditioned (about ${condition.toPrecision(2)}) and was not solved to the tolerance; ` +
            "the result depends on where the steps stop (a smaller alpha helps)",
        ]
      : [];
    const merged = rounded({ ...solution, data: Float64Array.from(solution.data) }, task.transposed);
    return { merged, warnings, figures: { residuals, condition: [condition], steps: [residuals.length - 1] } };
  },
};

/** One model's part of the operator: V to A V B. */
interface Term {
  readonly a: Matrix;
  readonly b: Matrix | null;
}

function applied({ a, b }: Term, v: Matrix, algebra: Algebra): Matrix {
  const left = algebra.multiply(a, v);
  return b === null ? left : algebra.multiply(left, b);
}

function narrowed({ rows, columns, data }: { rows: number; columns: number; data: Float64Array }): Matrix {
  return { rows, columns, data: Float32Array.from(data) };
}

/** a + share b, rounded to f32, as a new matrix. */
function plus(a: Matrix, b: Matrix, share: number): Matrix {
  return { ...a, data: a.data.map((value, index) => value + fround(share * b.data[index]!)) };
}

function dot(a: Matrix, b: Matrix): number {
  let sum = 0;
  for (let index = 0; index < a.data.length; index++) sum += a.data[index]! * b.data[index]!;
  return sum;
}

async function initial(task: MatrixTask, settings: Settings, weights: readonly Matrix[]): Promise<Matrix> {
  const { init, init_lambda: lambda } = settings.global;
  const [first] = weights;
  const zero = { ...first!, data: new Float32Array(first!.data.length) };
  if (init === "zero") return zero;
  if (init === "average") return averageOf(settings, weights);
  const found = await task.base();
  if (found === null) {
    throw new MergewrightError("the steps are to begin at the base, and there is none", {
      ...{ kind: "request", code: "recipe/missing-key", where: { tensor: task.name, key: "base" } },
      advice: "name the base, or set init: average",
    });
  }
  const base = narrowed(turned(found, task.transposed));
  if (init === "base") return base;
  const changes = weights.map((weight) => plus(weight, base, -1)).reduce((a, b) => plus(a, b, 1), zero);
  return plus(base, changes, Number(lambda));
}

function averageOf(settings: Settings, weights: readonly Matrix[]): Matrix {
  const shares = settings.models.map(({ weight }) => Number(weight));
  const total = shares.reduce((a, b) => a + b, 0);
  const data = new Float64Array(weights[0]!.data.length);
  for (const [model, weight] of weights.entries()) {
    for (let index = 0; index < data.length; index++) data[index]! += (shares[model]! / total) * weight.data[index]!;
  }
  return narrowed({ ...weights[0]!, data });
}

/** Layers too wide for products of their output gradients. */
function averagedWith(task: MatrixTask, settings: Settings, weights: readonly Matrix[]): MatrixResult {
  const { rows, columns, data } = averageOf(settings, weights);
  const merged = rounded({ rows, columns, data: Float64Array.from(data) }, task.transposed);
  return { merged, warnings: ["its statistics have no products of output gradients, so it is averaged"] };
}

/**
 * Conjugate gradients without preconditioner, as textbooks have them. Residuals are those before each step and at the end,
 * as shares of the right side; the condition number is that of the tridiagonal matrix that the steps make.
 */
export function conjugateGradients(
  operator: (v: Matrix) => Matrix,
  right: Matrix,
  start: Matrix,
  iterations: number,
  tolerance: number,
  algebra: Pick<Algebra, "eigenSymmetric">,
): { solution: Matrix; residuals: number[]; condition: number } {
  const length = Math.sqrt(dot(right, right));
  let solution = start;
  let residual = plus(right, operator(start), -1);
  let direction = residual;
  let square = dot(residual, residual);
  const share = () => (length === 0 ? 0 : Math.sqrt(square) / length);
  const residuals = [share()];
  const steps: { alpha: number; beta: number }[] = [];
  while (steps.length < iterations && residuals.at(-1)! > tolerance) {
    const moved = operator(direction);
    const curvature = dot(direction, moved);
    // Rounding has eaten what was left to find.
    if (!(curvature > 0)) break;
    const alpha = square / curvature;
    solution = plus(solution, direction, alpha);
    residual = plus(residual, moved, -alpha);
    const next = dot(residual, residual);
    const beta = next / square;
    square = next;
    direction = plus(residual, direction, beta);
    steps.push({ alpha, beta });
    residuals.push(share());
  }
  return { solution, residuals, condition: conditionOf(steps, algebra) };
}

function conditionOf(
  steps: readonly { alpha: number; beta: number }[],
  algebra: Pick<Algebra, "eigenSymmetric">,
): number {
  const size = steps.length;
  if (size === 0) return 1;
  const data = new Float64Array(size * size);
  for (const [index, { alpha, beta }] of steps.entries()) {
    const before = steps[index - 1];
    data[index * size + index] = 1 / alpha + (before === undefined ? 0 : before.beta / before.alpha);
    if (index + 1 < size) {
      const side = Math.sqrt(beta) / alpha;
      data[index * size + index + 1] = side;
      data[(index + 1) * size + index] = side;
    }
  }
  const { values } = algebra.eigenSymmetric({ rows: size, columns: size, data });
  // f64 tells no smaller eigenvalue from none.
  return values[0]! / Math.max(values[size - 1]!, values[0]! * Number.EPSILON);
}
