/** Mergewright's own recipes in YAML; the grammar for users is docs/recipes.md. */

import { buildRecipe, type RecipeContext } from "./build.js";
import { refuseMergekit } from "./mergekit.js";
import type { Recipe } from "./recipe.js";
import { readYaml } from "./yaml.js";

export type { RecipeContext } from "./build.js";

/** @throws MergewrightError with line and column of everything wrong. */
export function parseRecipe(text: string, context: RecipeContext): Recipe {
  const root = readYaml(text, context.file);
  refuseMergekit(root, context);
  return buildRecipe(root, context);
}
