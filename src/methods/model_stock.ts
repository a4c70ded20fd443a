import { norm, product } from "../statistics/gram.js";
import type { Gram, MixtureMethod } from "./method.js";

/** mergekit's `least_product`. */
const STRICT_LEAST = 1e-6;
/** Below this 1 + (n - 1) cos is zero. */
const SINGULAR = 1e-6;

export const modelStock: MixtureMethod = {
  name: "model_stock",
  title: "Model Stock: the base and the mean of its fine-tunes, mixed by the angle between them",
  paper: {
    title: "Model Stock: All we need is just a few fine-tuned models",
    authors: "Jang, Yun, Han",
    where: "arXiv 2403.19522",
  },
  description: `theta = t mean(theta_i) + (1-t) theta_0,   t = n cos / (1 + (n-1) cos)
cos = mean over pairs i < j of <tau_i, tau_j> / (|tau_i| |tau_j|),   tau_i = theta_i - theta_0

Fine-tunes of one base on the same task lie on a thin shell around a centre; t is where the line from the base to their mean
comes nearest to that centre. Each tensor has an angle of its own; with \`filter_wise\` each run along the last axis has.

t lies within 0 and 1 for the angles of the paper. Task vectors that point away from each other (a negative mean cosine)
give a negative t, without bound near cos = -1/(n-1), which says nothing of a centre: \`range: unit\` keeps t within 0 and 1.
Where |1 + (n-1) cos| < 1e-6, t is 0. A task vector of zeros has cosine 0 with every other. A tensor that a single model has
(missing: skip) shows no angle and stays the base's.

\`least_product\` bounds |tau_i| |tau_j| from below where it divides. mergekit's 1e-6 makes small changes of small tensors
look nearly orthogonal, so that they are lost; only the dialect mergekit-strict has it.`,
  base: "required",
  models: { min: 2 },
  parameters: {
    filter_wise: { type: "flag", default: false, per: "recipe", meaning: "an angle for each run along the last axis" },
    range: {
      type: "choice",
      default: "unit",
      per: "recipe",
      choices: { unit: "t within 0 and 1", any: "t as the formula gives it" },
      meaning: "which t are allowed",
    },
    least_product: {
      type: "number",
      default: 0,
      min: 0,
      per: "recipe",
      meaning: "least product of two lengths that a cosine is divided by",
    },
  },
  dialects: {
    paper: { meaning: "t within 0 and 1", values: {} },
    mergekit: { meaning: "t as the formula gives it", values: { range: "any" } },
    "mergekit-strict": {
      meaning: "mergekit with its defect: small changes count as orthogonal",
      values: { range: "any", least_product: STRICT_LEAST },
    },
  },
  inputs: "changes",
  grain: "mixture",
  counters: {},

  quirk({ global }) {
    const differences = [
      ...(global.range === "any" ? [] : ["lets t fall below 0 where task vectors point apart"]),
      ...(global.least_product === STRICT_LEAST
        ? []
        : ["counts changes whose lengths multiply to less than 1e-6 as orthogonal"]),
    ];
    return differences.length === 0 ? null : `mergekit 0.1.5 ${differences.join(" and ")}`;
  },

  vectors: ({ global }) => (global.filter_wise ? "row" : "tensor"),

  mix(gram, { global }) {
    const n = gram.vectors;
    const t = n < 2 ? 0 : ratio(n, meanCosine(gram, Number(global.least_product)));
    const share = (global.range === "unit" ? Math.min(1, Math.max(0, t)) : t) / n;
    return { base: 1, models: Array.from({ length: n }, () => share) };
  },
};

function ratio(n: number, cos: number): number {
  const divisor = 1 + (n - 1) * cos;
  return Math.abs(divisor) < SINGULAR ? 0 : (n * cos) / divisor;
}

function meanCosine(gram: Gram, least: number): number {
  let sum = 0;
  for (let i = 0; i < gram.vectors; i++) {
    for (let j = i + 1; j < gram.vectors; j++) {
      const lengths = Math.max(norm(gram, i) * norm(gram, j), least);
      if (lengths > 0) sum += Math.min(1, Math.max(-1, product(gram, i, j) / lengths));
    }
  }
  return sum / ((gram.vectors * (gram.vectors - 1)) / 2);
}
