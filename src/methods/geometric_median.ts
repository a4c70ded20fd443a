import { squaredDistance } from "../statistics/gram.js";
import type { Gram, MixtureMethod } from "./method.js";

/** A point is at a model where its distance is below this share of the largest distance between models. */
const AT_MODEL = 1e-9;

export const geometricMedian: MixtureMethod = {
  name: "geometric_median",
  title: "Geometric median: the point with the least sum of distances to the models",
  paper: {
    title: "Robust Aggregation for Federated Learning",
    authors: "Pillutla, Kakade, Harchaoui",
    where: "arXiv 1912.13445",
  },
  description: `theta minimises w_1 |theta - theta_1| + … + w_n |theta - theta_n|, each tensor as one vector

A mean that outliers do not move far: models holding less than half of the weight cannot carry it away, however far they
are. Weiszfeld's iteration from the weighted mean, theta <- (sum w_i theta_i / d_i) / (sum w_i / d_i), d_i = |theta -
theta_i|, with the step of Vardi and Zhang (2000) where theta meets a model: it stays there if the others pull with no more
than that model's weight, else it leaves. It ends when no coefficient moves by more than \`tol\`, or after \`max_iter\` steps.

theta is a weighted mean of the models at every step, so all steps are arithmetic on their distances, which follow from
inner products: the tensors are read once for these and once for the sum. A base does not move the median; where one is
given, changes from it are mixed, which is more accurate. Two models of equal weight give their mean (every point between
them is a median); of unequal weight, the heavier.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "weight of a model's distance" },
    max_iter: { type: "number", default: 1000, min: 1, integer: true, per: "recipe", meaning: "most steps" },
    tol: { type: "number", default: 1e-9, min: 0, per: "recipe", meaning: "move of a coefficient that ends it" },
  },
  dialects: { converged: { meaning: "equal weights, as many steps as it takes", values: {} } },
  inputs: "changes",
  grain: "mixture",
  counters: {},

  vectors: () => "tensor",

  check({ models }) {
    const isSome = models.some(({ weight }) => Number(weight) > 0);
    return isSome ? null : "no model has a weight; give one of them a weight above zero";
  },

  mix(gram, { global, models }) {
    const weights = models.map(({ weight }) => Number(weight));
    return { base: 1, models: median(gram, weights, Number(global.max_iter), Number(global.tol)) };
  },
};

/** Coefficients of the weighted mean that the iteration ends at; they sum to 1. */
function median(gram: Gram, weights: readonly number[], steps: number, tol: number): number[] {
  const apart = weights.map((_, i) => weights.map((_other, j) => squaredDistance(gram, i, j)));
  const near = AT_MODEL * Math.sqrt(Math.max(...apart.flat()));
  let point = scaled([...weights]);
  for (let step = 0; step < steps; step++) {
    const next = moved(point, weights, apart, near);
    const move = next.reduce((most, part, i) => Math.max(most, Math.abs(part - point[i]!)), 0);
    point = next;
    if (move <= tol) break;
  }
  return point;
}

function moved(
  point: readonly number[],
  weights: readonly number[],
  apart: readonly (readonly number[])[],
  near: number,
): number[] {
  const distances = distancesFrom(point, apart);
  const here = distances.map((distance) => distance <= near);
  const pull = weights.map((weight, i) => (here[i] ? 0 : weight / distances[i]!));
  if (pull.every((force) => force === 0)) return [...point];
  const away = scaled(pull);
  const held = weights.reduce((sum, weight, i) => sum + (here[i] ? weight : 0), 0);
  if (held === 0) return away;
  // The others' pull, a sum of unit vectors towards them, against the weight of what is here.
  const total = pull.reduce((sum, force) => sum + force, 0);
  const strength = total * Math.sqrt(squaredBetween(away, point, apart));
  const stay = strength > held ? held / strength : 1;
  return away.map((part, i) => (1 - stay) * part + stay * point[i]!);
}

/** Of a weighted mean from every model: d_i² = Σ k_j D_ij − ½ Σ Σ k_j k_l D_jl with D the squared distances. */
function distancesFrom(point: readonly number[], apart: readonly (readonly number[])[]): number[] {
  const toPoint = apart.map((row) => row.reduce((sum, square, j) => sum + point[j]! * square, 0));
  const spread = toPoint.reduce((sum, square, i) => sum + point[i]! * square, 0) / 2;
  return toPoint.map((square) => Math.sqrt(Math.max(0, square - spread)));
}

/** Squared distance between two weighted means. */
function squaredBetween(a: readonly number[], b: readonly number[], apart: readonly (readonly number[])[]): number {
  const difference = a.map((part, i) => part - b[i]!);
  let sum = 0;
  for (const [i, row] of apart.entries()) {
    for (const [j, square] of row.entries()) sum -= (difference[i]! * difference[j]! * square) / 2;
  }
  return Math.max(0, sum);
}

function scaled(parts: number[]): number[] {
  const sum = parts.reduce((total, part) => total + part, 0);
  return parts.map((part) => part / sum);
}
