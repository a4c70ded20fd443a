import type { Parameter } from "../methods/method.js";
import { DENSITY, isSpared, rescaleParameter, SCOPE, VECTORS } from "./pruner.js";
import type { CutScope, Pruner } from "./pruner.js";
import type { Rescale } from "../methods/method.js";

export const GAMMA: Parameter = {
  type: "number",
  default: 0.01,
  min: 0,
  max: 1,
  per: "model",
  meaning: "share of largest entries dropped as outliers",
};

export const outliers: Pruner = {
  name: "outliers",
  title: "Model Breadcrumbs: drop the largest and the smallest entries",
  paper: {
    title: "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks",
    authors: "Davari, Belilovsky",
    where: "arXiv 2312.06795",
  },
  description: `Of the n entries in scope the trunc(gamma n) largest magnitudes are dropped, the trunc(density n) next are kept, the
rest is dropped. Where gamma is too large for the density, fewer outliers are dropped. Of equal magnitudes the one with
the lower index counts as the larger. The paper masks within each layer's tensors; \`scope: model\` ranks the whole
change.`,
  parameters: { density: DENSITY, gamma: GAMMA, rescale: rescaleParameter("none"), scope: SCOPE, vectors: VECTORS },

  cut(values, shape) {
    if (isSpared(values, shape)) return null;
    return {
      kind: "band",
      scope: values.scope as CutScope,
      density: Number(values.density),
      gamma: Number(values.gamma),
      least: 0,
      rescale: values.rescale as Rescale,
    };
  },
};
