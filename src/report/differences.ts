import type { Plan } from "../plan/types.js";
import { isGradient, type ModelSetting, type Recipe } from "../recipe/recipe.js";

/** Methods that mergekit 0.1.5 computes in f32 whatever its dtype, rounded once, as everything here. */
const ROUNDED_ONCE: ReadonlySet<string> = new Set(["linear", "average", "slerp", "passthrough"]);

/**
 * What mergekit 0.1.5 would do differently for a recipe of its own, one sentence each; none for other recipes.
 * @param plan `null` where the models are not at hand: then nothing is known of single tensors.
 */
export function mergekitDifferences(recipe: Recipe, plan: Plan | null): string[] {
  if (recipe.compat === "none") return [];
  return [...differencesAround(recipe), ...new Set(quirksOf(recipe, plan))];
}

/** Around the method. */
function differencesAround(recipe: Recipe): string[] {
  const { base, compat, input, layout, method, tokenizer } = recipe;
  const said: string[] = [];
  if (base === null) {
    said.push(
      "config and tokenizer come from the first model; mergekit takes those of a random one, another at each run",
    );
  }
  if (input.dtype !== null && !ROUNDED_ONCE.has(method.name)) {
    said.push(
      `inputs are rounded to dtype, then everything is float32 and rounded once; mergekit rounds at every step`,
    );
  }
  if (compat === "strict") return said;
  if (layout?.modules.some(({ slices }) => slices.length > 1) === true) {
    said.push("every list per layer in config.json follows the slices; mergekit corrects the number of layers alone");
  }
  if (tokenizer !== null && tokenizer.padToMultipleOf === null) {
    said.push("rows of embeddings without a token are kept; mergekit removes them");
  }
  return said;
}

/** Of the method, over the tensors that it merges. */
function quirksOf({ method }: Recipe, plan: Plan | null): string[] {
  if (method.quirk === undefined) return [];
  return (plan?.tensors ?? []).flatMap((tensor) => {
    const { action, settings } = tensor;
    return action === "copy" || settings === null ? [] : (method.quirk!(settings, tensor) ?? []);
  });
}

/** What the same values would mean without `compat`, for those who go on in our words. */
export function nativeDifferences(recipe: Recipe): string[] {
  if (recipe.compat === "none") return [];
  return [
    ...(hasGradient(recipe)
      ? ["gradients: what lies behind the layers (final norm, head) takes the first value; with compat: none the last"]
      : []),
    "a tensor that some model lacks is merged without it (missing: skip); left to itself, missing is error",
    ...(recipe.output.dtype === null
      ? ["every tensor is written in the format that holds all its inputs; with compat: none in the base's"]
      : []),
  ];
}

function hasGradient({ parameters, models, layout }: Recipe): boolean {
  const blocks: Readonly<Record<string, ModelSetting>>[] = [parameters, ...models.map((model) => model.parameters)];
  for (const module of layout?.modules ?? []) {
    blocks.push(module.parameters);
    for (const slice of module.slices)
      blocks.push(slice.parameters, ...slice.members.map((member) => member.parameters));
  }
  const settings = blocks.flatMap((block) => Object.values(block));
  return settings.some(({ value, patterns }) => isGradient(value) || patterns.some((one) => isGradient(one.value)));
}
