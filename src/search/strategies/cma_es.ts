/**
 * CMA-ES, (mu/mu_w, lambda) with rank-one and rank-mu updates and its usual constants: N. Hansen, "The CMA Evolution
 * Strategy: A Tutorial", arXiv 1604.00772. It begins in the middle of the cube; points outside are drawn again, and at
 * last put onto its walls.
 */

import { openPlainAlgebra } from "../../algebra/algebra.js";
import { randomWord, streamKey } from "../../numbers/random.js";
import type { Strategy } from "./strategy.js";

const { log, sqrt, exp, floor, max, min } = Math;

/** A third of the cube's side. */
const FIRST_STEP = 0.3;
/** Below this share of a side steps make no difference to any recipe. */
const SMALLEST_STEP = 1e-6;
/** Draws of a point before it is put onto the walls. */
const DRAWS = 20;

export const cmaEs: Strategy = function* ({ axes, seed }) {
  const n = axes.length;
  const how = constantsOf(n);
  const normal = normals(seed);
  const algebra = openPlainAlgebra();
  let mean: readonly number[] = axes.map(() => 0.5);
  let step = FIRST_STEP;
  const covariance = Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0));
  let [pathStep, path] = [new Float64Array(n), new Float64Array(n)];
  for (let generation = 1; step > SMALLEST_STEP; generation++) {
    const { values, vectors } = algebra.eigenSymmetric({ rows: n, columns: n, data: covariance });
    const scales = values.map((value) => sqrt(max(value, 1e-20)));
    const rotate = (from: (axis: number) => number) =>
      Float64Array.from({ length: n }, (_, row) => {
        let sum = 0;
        for (let axis = 0; axis < n; axis++) sum += vectors.data[row * n + axis]! * from(axis);
        return sum;
      });
    const project = (of: Float64Array, axis: number) =>
      of.reduce((sum, value, row) => sum + value * vectors.data[row * n + axis]!, 0);

    const tried: { readonly change: Float64Array; readonly score: number }[] = [];
    for (let at = 0; at < how.offspring; at++) {
      let point: number[] = [];
      for (let draw = 0; draw < DRAWS; draw++) {
        const z = Float64Array.from({ length: n }, normal);
        const change = rotate((axis) => scales[axis]! * z[axis]!);
        point = mean.map((value, axis) => value + step * change[axis]!);
        if (point.every((value) => value >= 0 && value <= 1)) break;
      }
      const inside = point.map((value) => min(1, max(0, value)));
      const change = Float64Array.from(inside, (value, axis) => (value - mean[axis]!) / step);
      tried.push({ change, score: yield inside });
    }
    // The first of equals first, so that a plateau is walked the same way each time.
    const chosen = tried.toSorted((a, b) => b.score - a.score).slice(0, how.weights.length);
    const moved = Float64Array.from({ length: n }, (_, axis) =>
      chosen.reduce((sum, { change }, rank) => sum + how.weights[rank]! * change[axis]!, 0),
    );
    mean = mean.map((value, axis) => value + step * moved[axis]!);

    const whitened = rotate((axis) => project(moved, axis) / scales[axis]!);
    const { cumulateStep: cs, damping, effective, cumulate: cc, rankOne, rankMu, expected } = how;
    const toStep = sqrt(cs * (2 - cs) * effective);
    pathStep = pathStep.map((value, axis) => (1 - cs) * value + toStep * whitened[axis]!);
    const length = sqrt(pathStep.reduce((sum, value) => sum + value * value, 0));
    const stalls = length / sqrt(1 - (1 - cs) ** (2 * generation)) >= (1.4 + 2 / (n + 1)) * expected;
    const toPath = stalls ? 0 : sqrt(cc * (2 - cc) * effective);
    path = path.map((value, axis) => (1 - cc) * value + toPath * moved[axis]!);
    const lost = stalls ? rankOne * cc * (2 - cc) : 0;
    for (let row = 0; row < n; row++) {
      for (let column = 0; column < n; column++) {
        const spread = chosen.reduce(
          (sum, { change }, rank) => sum + how.weights[rank]! * change[row]! * change[column]!,
          0,
        );
        const before = covariance[row * n + column]!;
        covariance[row * n + column] =
          (1 - rankOne - rankMu + lost) * before + rankOne * path[row]! * path[column]! + rankMu * spread;
      }
    }
    step *= exp((cs / damping) * (length / expected - 1));
  }
};

function constantsOf(n: number) {
  const offspring = 4 + floor(3 * log(n));
  const raw = Array.from({ length: floor(offspring / 2) }, (_, rank) => log((offspring + 1) / 2) - log(rank + 1));
  const sum = raw.reduce((total, weight) => total + weight, 0);
  const weights = raw.map((weight) => weight / sum);
  const effective = 1 / weights.reduce((total, weight) => total + weight * weight, 0);
  const cumulateStep = (effective + 2) / (n + effective + 5);
  const rankOne = 2 / ((n + 1.3) ** 2 + effective);
  return {
    offspring,
    weights,
    effective,
    cumulateStep,
    damping: 1 + 2 * max(0, sqrt((effective - 1) / (n + 1)) - 1) + cumulateStep,
    cumulate: (4 + effective / n) / (n + 4 + (2 * effective) / n),
    rankOne,
    rankMu: min(1 - rankOne, (2 * (effective - 2 + 1 / effective)) / ((n + 2) ** 2 + effective)),
    /** Length of a normal vector. */
    expected: sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
  };
}

/** Normal numbers by Box and Muller. */
function normals(seed: number): () => number {
  const key = streamKey(seed, "cma-es", "");
  let next = 0;
  // Between 0 and 1, both excluded.
  const uniform = () => (randomWord(key, next++) + 0.5) / 2 ** 32;
  return () => sqrt(-2 * log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
