/**
 * The two methods that only adapters have: the weighted sum of their updates, exactly or at a lower rank. They are
 * declared like any method, so that recipes, weights and patterns work alike; the updates themselves are summed in
 * factors (recompress.ts), and `combine` only ever sees what has no factors, such as biases.
 */
import { MergewrightError } from "../errors.js";
import { taskArithmetic } from "../methods/task_arithmetic.js";
import type { Arguments, TileMethod } from "../methods/method.js";
import type { Recipe } from "../recipe/recipe.js";

const { fround } = Math;

const sum: Omit<TileMethod, "name" | "title" | "description"> = {
  paper: null,
  base: "required",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, per: "model", meaning: "what an adapter's update is multiplied by" },
  },
  dialects: {},
  inputs: "changes",
  grain: "tile",
  counters: {},
  needs: () => null,
  bind: ({ models }): Arguments => ({
    scalars: { lambda: 1 },
    columns: { weight: models.map(({ weight }) => fround(Number(weight))) },
  }),
  combine: (tile, args) => taskArithmetic.combine(tile, args),
  kernel: (args) => taskArithmetic.kernel(args),
};

export const cat: TileMethod = {
  ...sum,
  name: "cat",
  title: "The exact weighted sum of LoRA updates",
  description: `theta = theta_0 + w_1 ΔW_1 + … + w_n ΔW_n

The factors are stacked, A' = [w_1 s_1 A_1; …; w_n s_n A_n] and B' = [B_1 … B_n], so the rank is the sum of the ranks and
nothing is lost.`,
};

export const svd: TileMethod = {
  ...sum,
  name: "svd",
  title: "The weighted sum of LoRA updates at a lower rank",
  description: `theta = theta_0 + the best approximation of w_1 ΔW_1 + … + w_n ΔW_n of a given rank or energy

Best in the Frobenius norm, module by module; the error is told.`,
};

/** Whether the result is the weighted sum, which needs no basis. */
export function isSum({ name }: { readonly name: string }): boolean {
  return name === cat.name || name === svd.name;
}

/** Values of `--weights`, in the order of the models. */
export function withWeights(recipe: Recipe, weights: readonly number[]): Recipe {
  const { method, models } = recipe;
  const wrong =
    weights.length !== models.length
      ? `${weights.length} weights for ${models.length} adapters`
      : method.parameters["weight"] === undefined
        ? `${method.name}, which takes no weights`
        : weights.some((weight) => !Number.isFinite(Math.fround(weight)))
          ? "a weight that is no number"
          : null;
  if (wrong !== null) {
    throw new MergewrightError("--weights does not fit", {
      kind: "request",
      code: "usage",
      where: { key: "--weights" },
      expected: `${models.length} numbers separated by commas, e.g. 0.5,0.8`,
      found: wrong,
    });
  }
  const weighted = models.map((model, index) => {
    return { ...model, parameters: { ...model.parameters, weight: { value: weights[index]!, patterns: [] } } };
  });
  return { ...recipe, models: weighted };
}
