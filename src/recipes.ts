import { methods } from "./methods/catalogue.js";
import type { Method } from "./methods/method.js";
import type { AdapterWish } from "./recipe/adapters.js";
import { parseRecipe } from "./recipe/native.js";
import type { Recipe } from "./recipe/recipe.js";

/** A recipe as a plain object: the keys and values of the YAML form (docs/recipes.md). */
export interface RecipeObject {
  readonly method: string;
  readonly dialect?: string;
  readonly base?: string | { readonly merge: RecipeObject };
  readonly models: readonly (string | Readonly<Record<string, unknown>>)[];
  readonly parameters?: Readonly<Record<string, unknown>>;
  readonly coefficients?: string;
  readonly prune?: Readonly<Record<string, unknown>>;
  readonly dare?: Readonly<Record<string, unknown>>;
  readonly lines?: Readonly<Record<string, unknown>>;
  readonly exclude?: readonly string[];
  readonly heads?: "base" | "separate";
  readonly missing?: "error" | "skip";
  readonly seed?: number;
  readonly output?: Readonly<Record<string, unknown>>;
  readonly allow_duplicates?: boolean;
  readonly tokenizer?: string | Readonly<Record<string, unknown>>;
  readonly chat_template?: string;
  readonly compat?: "none" | "mergekit" | "strict";
}

/** A recipe whose models are adapters: docs/adapters.md. */
export interface AdapterRecipeObject extends Partial<Omit<RecipeObject, "models">> {
  readonly models: RecipeObject["models"];
  readonly adapter?: Partial<AdapterWish>;
}

/**
 * Reads a recipe from YAML text or a plain object; both go through the same checks.
 * @param file for messages.
 * @param own methods beside those of the catalogue; see defineMethod.
 * @throws MergewrightError naming line, column and key of everything wrong.
 */
export function readRecipe(recipe: string | RecipeObject, file?: string, own: readonly Method[] = []): Recipe {
  // JSON is YAML, so an object needs no second validator.
  const text = typeof recipe === "string" ? recipe : JSON.stringify(recipe, null, 2);
  return parseRecipe(text, { methods: [...methods, ...own], ...(file !== undefined && { file }) });
}
