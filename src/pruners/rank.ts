import type { Parameter } from "../methods/method.js";
import { DENSITY, isSpared, rescaleParameter, VECTORS } from "./pruner.js";
import type { Pruner } from "./pruner.js";
import type { Rescale } from "../methods/method.js";

export const EPSILON: Parameter = {
  type: "number",
  default: 0.15,
  min: 0,
  max: 0.5,
  per: "model",
  meaning: "how far the probability of being kept reaches below and above density",
};

/** 1 - 0.9 is a little less than 0.1. */
const ROUNDING = 1e-12;

export const rank: Pruner = {
  name: "rank",
  title: "DELLA's MagPrune: drop at random, small entries more often",
  paper: {
    title: "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    authors: "Deep, Bhardwaj, Poria",
    where: "arXiv 2406.11617",
  },
  description: `r = 0 … m-1 by ascending magnitude within a row of m entries
p = density - epsilon + 2 epsilon r / (m - 1),   kept with probability p,   tau' = tau / p

Rows run along the last axis of a tensor seen as a matrix [first axis, all others]; a vector is one row. Of equal
magnitudes the one with the lower index has the lower rank; a row of one entry is kept with probability density.
The paper's own epsilon is the whole width of the range: twice this one. Where density is between 0 and 1, density -
epsilon and density + epsilon must be, too; density 0 keeps nothing.`,
  parameters: { density: DENSITY, epsilon: EPSILON, rescale: rescaleParameter("inverse"), vectors: VECTORS },

  check(values) {
    const [density, epsilon] = [Number(values.density), Number(values.epsilon)];
    const most = Math.min(density, 1 - density);
    if (density <= 0 || density >= 1 || epsilon <= most + ROUNDING) return null;
    const advice = `choose epsilon at most ${Number(most.toFixed(6))}`;
    return `density ${density} with epsilon ${epsilon} gives probabilities outside 0 to 1; ${advice}`;
  },

  cut(values, shape) {
    if (isSpared(values, shape)) return null;
    const [density, epsilon] = [Number(values.density), Number(values.epsilon)];
    const rescale = values.rescale as Rescale;
    if (density <= 0) return { kind: "chance", density: 0, rescale };
    return { kind: "rank", lowest: Math.max(0, density - epsilon), highest: Math.min(1, density + epsilon), rescale };
  },
};
