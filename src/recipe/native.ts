/** Recipes in YAML: Mergewright's own and mergekit's; the grammar for users is docs/recipes.md. */

import { buildRecipe, isMergekit } from "./build.js";
import type { RecipeContext } from "./context.js";
import { readMergekitDocuments } from "./mergekit/documents.js";
import type { Recipe } from "./recipe.js";
import type { Node } from "./tree.js";
import { readYaml, readYamlDocuments } from "./yaml.js";

export type { RecipeContext } from "./context.js";

/** @throws MergewrightError with line and column of everything wrong. */
export function parseRecipe(text: string, context: RecipeContext): Recipe {
  const root = readTree(text, context.file);
  return keepText(buildRecipe(root, context), root, text);
}

/** Several documents are mergekit's alone. */
export function readTree(text: string, file: string | undefined): Node {
  const documents = readYamlDocuments(text, file);
  if (documents.length > 1 && documents.some(isMergekit)) return readMergekitDocuments(documents);
  return documents.length > 1 ? readYaml(text, file) : documents[0]!;
}

/** A recipe of mergekit travels with its result as it was written. */
export function keepText(recipe: Recipe, root: Node, text: string): Recipe {
  return isMergekit(root) ? { ...recipe, mergekit: text } : recipe;
}
