/**
 * Mergewright for the browser: models from picked files, Blobs or HTTP ranges; the result as Blobs. Runs in the calling
 * thread, best a Worker's.
 *
 * ```ts
 * const { files } = await merge({ method: "ties", base: "base", models: ["a", "b"] }, { base: {…}, a: {…}, b: {…} });
 * ```
 */
import type { Adapter } from "./adapters/adapter.js";
import type { AdapterInspection } from "./adapters/inspect.js";
import { openAdapter as openOver } from "./adapters/open.js";
import type { UnfoldError } from "./adapters/unfolded.js";
import type { AdapterFiles } from "./adapters/write.js";
import { foldRecipe, measureUnfold } from "./fold.js";
import type { OpenRoutedOptions, RoutedNetwork } from "./experts/open_routed.js";
import type { FoldRequest } from "./fold.js";
import type { CombineOptions } from "./lora/combine.js";
import type { ExtractReport, ExtractWish } from "./lora/extract.js";
import type { AdapterProgress, CombineReport } from "./lora/given.js";
import { defineMethod } from "./methods/define.js";
import type { OwnMethod } from "./methods/define.js";
import { mergeModels } from "./merge.js";
import type { MergeOptions, MergeResult } from "./merge.js";
import { memoryFolder } from "./models/folder.js";
import type { ConvertInMemory } from "./platform/memory/adapters.js";
import { memoryPlatform } from "./platform/memory/platform.js";
import type { ModelFiles } from "./platform/memory/platform.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "./runtime/network.js";
import type { EvaluateOptions, Evaluation } from "./evaluate/evaluate.js";
import { readRecipe } from "./recipes.js";
import type { AdapterRecipeObject, RecipeObject } from "./recipes.js";

export * from "./common.js";
export type { AdapterRecipeObject, ConvertInMemory, ModelFiles, RecipeObject };
export { readRecipe };
export { weightsOf } from "./runtime/weights.js";

/** A model as a network that runs in the calling thread. Loaded when first asked for. */
export const openNetwork = async (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> =>
  (await import("./platform/memory/network.js")).openNetwork(weights, options);

/**
 * Opens an artifact of `twin` or `smile` as a network that routes, in the calling thread.
 * @param folder a label of `models`, or an address.
 * @param models files by name, those of an artifact with their folders (`left/TASK/model.safetensors`), under the labels
 * that the call uses; the base of `smile` under the label that the artifact names, or that `base` does.
 */
export async function openRouted(
  folder: string,
  models: Readonly<Record<string, ModelFiles>>,
  options: Omit<OpenRoutedOptions, "threads"> = {},
): Promise<RoutedNetwork> {
  const { openRouted: open } = await import("./experts/open_routed.js");
  return open(folder, { ...memoryPlatform(models), openNetwork }, { ...options, threads: 1 });
}

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

/** How `evaluate` is called in the browser. */
export interface EvaluateInMemory extends Omit<EvaluateOptions, "threads"> {
  /** As in docs/tasks.md: a plain object, or YAML. */
  readonly tasks: string | { readonly tasks: readonly Readonly<Record<string, unknown>>[] };
  /** Files of data by the paths that the tasks have; addresses need no entry. */
  readonly data: Readonly<Record<string, Uint8Array | Blob>>;
}

/**
 * Scores a model on tasks, in the calling thread.
 * @param model a label of `models`, or an address.
 * @param models files by name, under the labels that the call and the tasks' heads use.
 * @throws MergewrightError naming the task and what is wrong with it.
 */
export async function evaluate(
  model: string,
  models: Readonly<Record<string, ModelFiles>>,
  { tasks, data, ...options }: EvaluateInMemory,
): Promise<Evaluation> {
  const { evaluateModel } = await import("./evaluate/evaluate.js");
  const { parseTasks } = await import("./evaluate/read_tasks.js");
  const { memoryEvaluation } = await import("./platform/memory/evaluate.js");
  const read = parseTasks(typeof tasks === "string" ? tasks : JSON.stringify(tasks));
  return evaluateModel(model, read, memoryEvaluation(models, data), { ...options, threads: 1 });
}

/** Opens an adapter from its files: those of a PEFT folder, or one file of kohya's layout. */
export function openAdapter(label: string, files: ModelFiles): Promise<Adapter> {
  return openOver(label, memoryFolder(files));
}

/** A base with adapters added into its weights. @param models files of base and adapters, by the labels of the request. */
export function fold(
  request: FoldRequest,
  models: Readonly<Record<string, ModelFiles>>,
  options: Pick<MergeOptions, "strict" | "progress"> = {},
): Promise<MergeResult & { readonly files: ReadonlyMap<string, Blob> }> {
  return merge(foldRecipe(request), models, options);
}

/** Takes adapters out of a folded model again. @param options base: a label; what is recovered is measured against it. */
export async function unfold(
  request: FoldRequest,
  models: Readonly<Record<string, ModelFiles>>,
  { base = null, ...options }: Pick<MergeOptions, "strict" | "progress"> & { readonly base?: string | null } = {},
): Promise<MergeResult & { readonly files: ReadonlyMap<string, Blob>; readonly error: UnfoldError }> {
  const result = await merge(foldRecipe(request, true), models, options);
  const out = "(unfolded)";
  const { openModel } = memoryPlatform({ ...models, [out]: Object.fromEntries(result.files) });
  return { ...result, error: await measureUnfold({ ...request, out, base }, openModel) };
}

/**
 * Merges adapters into one adapter; without a method, into their exact weighted sum.
 * @param models files of the adapters, and of the base where one is named, by the recipe's labels.
 * @returns the files of a PEFT folder; ranks and errors of every module.
 */
export async function mergeAdapters(
  recipe: string | AdapterRecipeObject,
  models: Readonly<Record<string, ModelFiles>>,
  { use = [], ...options }: CombineOptions & { readonly use?: readonly OwnMethod[] } = {},
): Promise<CombineReport & { readonly files: AdapterFiles }> {
  const { mergeAdaptersInMemory } = await import("./platform/memory/adapters.js");
  const own = use.map((method) => defineMethod(method));
  return mergeAdaptersInMemory(typeof recipe === "string" ? recipe : JSON.stringify(recipe), models, own, options);
}

/** What a fine-tune changed of its base as a LoRA; `rank`, `energy` or `auto` says how much is kept. */
export async function extractAdapter(
  model: string,
  base: string,
  models: Readonly<Record<string, ModelFiles>>,
  { progress, ...wish }: Partial<ExtractWish> & { readonly progress?: (progress: AdapterProgress) => void } = {},
): Promise<ExtractReport & { readonly files: AdapterFiles }> {
  const { extractInMemory } = await import("./platform/memory/adapters.js");
  return extractInMemory({ model, base }, models, wish, progress);
}

/** An adapter in another layout, no value changed. @throws adapter/kind, adapter/base for what cannot be represented. */
export async function convertAdapter(
  label: string,
  models: Readonly<Record<string, ModelFiles>>,
  options: ConvertInMemory,
): Promise<AdapterFiles> {
  return (await import("./platform/memory/adapters.js")).convertInMemory(label, models, options);
}

/** Kinds, ranks, scalings and norms of an adapter's modules; its base is not needed. */
export async function inspectAdapter(
  label: string,
  models: Readonly<Record<string, ModelFiles>>,
): Promise<AdapterInspection> {
  return (await import("./platform/memory/adapters.js")).inspectInMemory(label, models);
}
