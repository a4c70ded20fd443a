import { DENSITY, isSpared, rescaleParameter, SCOPE, VECTORS } from "./pruner.js";
import type { CutScope, Pruner } from "./pruner.js";
import type { Rescale } from "../methods/method.js";

export const magnitude: Pruner = {
  name: "magnitude",
  title: "Keep the largest entries",
  paper: {
    title: "TIES-Merging: Resolving Interference When Merging Models",
    authors: "Yadav et al.",
    where: "arXiv 2306.01708",
  },
  description: `Of the n entries in scope the trunc(density n) largest magnitudes are kept, at least one unless density is 0; of
equal magnitudes the ones with the lowest index.`,
  parameters: { density: DENSITY, rescale: rescaleParameter("none"), scope: SCOPE, vectors: VECTORS },

  cut(values, shape) {
    if (isSpared(values, shape)) return null;
    return {
      kind: "band",
      scope: values.scope as CutScope,
      density: Number(values.density),
      gamma: 0,
      least: 1,
      rescale: values.rescale as Rescale,
    };
  },
};
