import { norm, normOfSum, productOfSums } from "../statistics/gram.js";
import type { Gram, MixtureMethod, Settings } from "./method.js";

export const karcher: MixtureMethod = {
  name: "karcher",
  title: "Mean of directions on the sphere (Karcher mean), with the mean of lengths",
  paper: {
    title: "Riemannian center of mass and mollifier smoothing",
    authors: "Karcher",
    where: "Comm. Pure Appl. Math. 30, 1977",
  },
  description: `u minimises w_1 angle(u, u_1)^2 + … + w_n angle(u, u_n)^2 over the sphere,   u_i = theta_i / |theta_i|
theta = (w_1 |theta_1| + … + w_n |theta_n|) u,   the weights divided by their sum

Each tensor is one vector. From the normalised mean (or u_1 where that is shorter than \`tol\`) u moves along
T = sum w_i (phi_i / sin phi_i) (u_i - cos phi_i u), phi_i = angle(u, u_i), until |T| < \`tol\` or \`max_iter\` steps are
done. With two models and equal weights it is slerp at t = 1/2 between directions. A base takes no part; it only supplies
tensors that are not merged, config and tokenizer.

u is a weighted sum of the u_i at every step, so all steps are arithmetic on their inner products: the tensors are read
once for these and once for the sum, whatever \`max_iter\` is. Tensors of length at most \`tol\` have no direction; they
count for the mean of lengths alone, and where all are such the result is zero. mergekit knows no weights.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "strength of a model" },
    max_iter: { type: "number", default: 100, min: 1, integer: true, per: "recipe", meaning: "most steps" },
    tol: { type: "number", default: 1e-7, min: 0, per: "recipe", meaning: "step below which the mean is found" },
  },
  dialects: {
    converged: { meaning: "as many steps as it takes", values: {} },
    mergekit: { meaning: "at most ten steps, to 1e-5", values: { max_iter: 10, tol: 1e-5 } },
  },
  inputs: "weights",
  grain: "mixture",
  counters: {},

  quirk({ models }) {
    const isEven = models.every(({ weight }) => weight === models[0]!.weight);
    return isEven ? null : "mergekit 0.1.5 gives every model the same weight";
  },

  vectors: () => "tensor",

  check(settings) {
    return weightSum(settings) > 0 ? null : "no model has a weight; give one of them a weight above zero";
  },

  mix(gram, settings) {
    const { max_iter: steps, tol } = settings.global;
    const sum = weightSum(settings);
    const weights = settings.models.map(({ weight }) => Number(weight) / sum);
    const lengths = weights.map((_, i) => norm(gram, i));
    const directions = directionsOf(gram, lengths, Number(tol));
    const mean = meanDirection(directions, weights, lengths, Number(steps), Number(tol));
    const length = weights.reduce((total, weight, i) => total + weight * lengths[i]!, 0);
    return { base: 0, models: mean.map((part, i) => (part === 0 ? 0 : (part * length) / lengths[i]!)) };
  },
};

function weightSum({ models }: Settings): number {
  return models.reduce((sum, { weight }) => sum + Number(weight), 0);
}

/** The inner products of the vectors divided by their lengths; of those too short to have a direction, zero. */
function directionsOf({ vectors, base, products }: Gram, lengths: readonly number[], shortest: number): Gram {
  const units: number[] = [];
  let pair = 0;
  for (let i = 0; i < vectors; i++) {
    for (let j = i; j < vectors; j++) {
      const isLong = lengths[i]! > shortest && lengths[j]! > shortest;
      units.push(isLong ? products[pair]! / (lengths[i]! * lengths[j]!) : 0);
      pair++;
    }
  }
  return { vectors, base, products: units };
}

/** The mean's coefficients of the directions; those of vectors too short are 0. */
function meanDirection(
  directions: Gram,
  weights: readonly number[],
  lengths: readonly number[],
  steps: number,
  tol: number,
): readonly number[] {
  const alone = (i: number) => weights.map((_, j) => (i === j ? 1 : 0));
  const known = [...weights.keys()].filter((i) => lengths[i]! > tol && weights[i]! > 0);
  if (known.length === 0) return weights.map(() => 0);
  if (known.length === 1) return alone(known[0]!);
  const share = known.reduce((sum, i) => sum + weights[i]!, 0);
  const start = weights.map((weight, i) => (known.includes(i) ? weight / share : 0));
  let mean = normalised(directions, start, tol) ?? alone(known[0]!);
  for (let step = 0; step < steps; step++) {
    const tangent = mean.map(() => 0);
    let along = 0;
    for (const i of known) {
      const cos = Math.min(1, Math.max(-1, productOfSums(directions, mean, alone(i))));
      const angle = Math.acos(cos);
      // No way leads from a point to itself, and every way to its opposite.
      if (angle < tol || Math.sin(angle) < 1e-12) continue;
      const factor = ((weights[i]! / share) * angle) / Math.sin(angle);
      tangent[i]! += factor;
      along += factor * cos;
    }
    for (const [i, part] of mean.entries()) tangent[i]! -= along * part;
    const way = normOfSum(directions, tangent);
    if (way < tol || way === 0) break;
    const moved = mean.map((part, i) => Math.cos(way) * part + (Math.sin(way) / way) * tangent[i]!);
    mean = normalised(directions, moved, 0) ?? mean;
  }
  return mean;
}

/** Scaled to length 1; `null` where it is not longer than `shortest`. */
function normalised(directions: Gram, sum: readonly number[], shortest: number): number[] | null {
  const length = normOfSum(directions, sum);
  return length > 0 && length >= shortest ? sum.map((part) => part / length) : null;
}
