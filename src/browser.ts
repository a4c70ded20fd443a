/**
 * Mergewright for the browser: models from picked files, Blobs or HTTP ranges; the result as Blobs. Runs in the calling
 * thread, best a Worker's.
 *
 * ```ts
 * const { files } = await merge({ method: "ties", base: "base", models: ["a", "b"] }, { base: {…}, a: {…}, b: {…} });
 * ```
 */
import { defineMethod } from "./methods/define.js";
import type { OwnMethod } from "./methods/define.js";
import { mergeModels } from "./merge.js";
import type { MergeOptions, MergeResult } from "./merge.js";
import { memoryPlatform } from "./platform/memory/platform.js";
import type { ModelFiles } from "./platform/memory/platform.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "./runtime/network.js";
import { readRecipe } from "./recipes.js";
import type { RecipeObject } from "./recipes.js";

export * from "./common.js";
export type { ModelFiles, RecipeObject };
export { readRecipe };
export { weightsOf } from "./runtime/weights.js";

/** A model as a network that runs in the calling thread. Loaded when first asked for. */
export const openNetwork = async (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> =>
  (await import("./platform/memory/network.js")).openNetwork(weights, options);

/**
 * @param models files by name, under the labels that the recipe uses; labels that are addresses need no entry.
 * @param options use: methods of one's own.
 */
export async function merge(
  recipe: RecipeObject,
  models: Readonly<Record<string, ModelFiles>>,
  options: Pick<MergeOptions, "strict" | "progress"> & { readonly use?: readonly OwnMethod[] } = {},
): Promise<MergeResult & { readonly files: ReadonlyMap<string, Blob> }> {
  const own = (options.use ?? []).map((method) => defineMethod(method));
  const platform = memoryPlatform(models, own);
  const result = await mergeModels(readRecipe(recipe, undefined, own), platform, {
    ...options,
    out: "memory",
    threads: 1,
  });
  return { ...result, files: platform.output };
}
