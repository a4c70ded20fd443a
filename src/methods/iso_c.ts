import type { MatrixMethod } from "./method.js";
import {
  applied,
  lambdaParameter,
  meanOfChanges,
  polarFactor,
  sumOfChanges,
  takesMatrices,
  wholeParameter,
} from "./whole_matrices.js";

export const isoC: MatrixMethod = {
  name: "iso_c",
  title: "Every direction of the summed change with the same strength",
  paper: {
    title: "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
    authors: "Marczak et al.",
    where: "ICML 2025, arXiv 2502.04959",
  },
  description: `theta = theta_0 + lambda s U V^T,   U S V^T = tau_1 + … + tau_n,   s = mean of the singular values

Matrices only: the sum of the changes keeps its singular vectors, and all its singular values become their mean, so that
tasks whose directions are weak in the sum are heard as well as the others. The paper takes lambda 1.4 to 1.5 for eight
vision models; the best value depends on the models and is worth a search.

A sum of rank r below the smaller side (adapters, say) has no directions for its zeros: they stay zeros and s is the mean of
the r singular values that are more than rounding. The released code counts all of them and fills the rest with whatever
directions its decomposition returns; on matrices of full rank both are the same.

Tensors that are not matrices, and matrices with \`whole: false\`, get lambda times the mean of the changes. Time grows with
the cube of the smaller side: a second for 1,024, a minute or more for 4,096.`,
  base: "required",
  models: { min: 1 },
  parameters: { lambda: lambdaParameter, whole: wholeParameter },
  dialects: { paper: { meaning: "the paper's rule; lambda 1", values: {} } },
  inputs: "changes",
  grain: "matrix",
  counters: {},
  takes: takesMatrices,
  otherwise: meanOfChanges,

  async solve(task, settings, algebra) {
    const { factor, s, rank } = polarFactor(algebra, await sumOfChanges(task));
    const mean = rank === 0 ? 0 : s.slice(0, rank).reduce((sum, value) => sum + value, 0) / rank;
    const change = { ...factor, data: factor.data.map((value) => mean * value) };
    return applied(task, settings, change, { rank: [rank], "mean singular value": [mean] });
  },
};
