/** Tensors that stand for the base and the models of a recipe over adapters. */
import { NO_BASE } from "../recipe/adapters.js";
import type { Recipe } from "../recipe/recipe.js";
import type { TensorSet } from "./merging.js";

/** Labels of sets: the recipe's own for models, so that values of single models hold. */
export function setsOf(
  { recipe }: { readonly recipe: Recipe },
  tensorsOf: (model: number) => TensorSet,
  base: TensorSet,
): ReadonlyMap<string, TensorSet> {
  const models = recipe.models.map(({ model }, index) => [model, tensorsOf(index)] as const);
  return new Map([...models, ...(recipe.base === null ? [] : [[NO_BASE, base] as const])]);
}

/** The recipe without what was applied before. */
export function withoutExclude(recipe: Recipe): Recipe {
  return { ...recipe, exclude: [], heads: "base" };
}
