/**
 * Mergewright for Node.
 *
 * ```ts
 * import { merge } from "mergewright";
 *
 * const { provenance } = await merge(
 *   { method: "ties", base: "./base", models: ["./math", "./code"], parameters: { density: 0.2 } },
 *   { out: "./merged" },
 * );
 * console.log(provenance.counts.counters.conflicts);
 * ```
 */
import { readFile } from "node:fs/promises";
import type { Adapter } from "./adapters/adapter.js";
import { convertAdapter as convertOpened } from "./adapters/convert.js";
import type { AdapterFormat } from "./adapters/convert.js";
import { inspectAdapter as inspectOpened } from "./adapters/inspect.js";
import type { AdapterInspection } from "./adapters/inspect.js";
import { BaseNames } from "./adapters/target.js";
import type { UnfoldError } from "./adapters/unfolded.js";
import { inspectArtifact as inspectArtifactOf } from "./artifacts/inspect.js";
import type { ArtifactInspection } from "./artifacts/inspect.js";
import { materialize as materializeTask } from "./artifacts/materialize.js";
import type { Materialized, MaterializeOptions } from "./artifacts/materialize.js";
import { openArtifact as openArtifactOf } from "./artifacts/open.js";
import type { Artifact, OpenArtifactOptions } from "./artifacts/open.js";
import type { OpenRoutedOptions, RoutedNetwork } from "./experts/open_routed.js";
import { compareModels } from "./analyse/compare.js";
import type { Comparison, CompareOptions } from "./analyse/compare.js";
import { inspectModel } from "./analyse/inspect.js";
import type { Inspection, InspectOptions } from "./analyse/inspect.js";
import type { Verification, VerifyOptions } from "./analyse/verify.js";
import type { CoefficientOptions, CoefficientResult } from "./collect/coefficients.js";
import { evaluateIn, evaluateModel } from "./evaluate/evaluate.js";
import type { EvaluateOptions, Evaluation } from "./evaluate/evaluate.js";
import type { CurveName, CurveOptions, CurveResult } from "./curves/curves.js";
import { EvaluationSeries } from "./evaluate/series.js";
import type { SeriesOptions } from "./evaluate/series.js";
import { parseTasks } from "./evaluate/read_tasks.js";
import type { Task } from "./evaluate/task.js";
import type { ExportOptions, ExportReport } from "./experts/export_lora.js";
import { foldRecipe, measureUnfold } from "./fold.js";
import type { FoldRequest } from "./fold.js";
import { methods } from "./methods/catalogue.js";
import type { ResultStore } from "./evaluate/platform.js";
import { readTemplate } from "./search/field.js";
import type { Template } from "./search/field.js";
import { searchRecipe } from "./search/search.js";
import type { SearchOptions, SearchPlatform, SearchResult } from "./search/search.js";
import { greedySoup } from "./search/soup.js";
import type { SoupResult } from "./search/soup.js";
import { mergeModels, planMerge } from "./merge.js";
import type { MergeOptions, MergeResult } from "./merge.js";
import type { Checkpoint } from "./models/model.js";
import type { Plan } from "./plan/types.js";
import type { OwnMethod } from "./methods/define.js";
import type { Method } from "./methods/method.js";
import { openAdapterAt, writeFolder } from "./platform/node/adapters.js";
import type { ExtractReport, ExtractWish } from "./lora/extract.js";
import type { CombineReport } from "./lora/given.js";
import type { ExtractOptions, MergeAdaptersOptions } from "./platform/node/lora.js";
import { nodeMachine } from "./platform/node/machine.js";
import { loadMethods } from "./platform/node/own_methods.js";
import { defaultThreads, nodePlatform, platformWith } from "./platform/node/platform.js";
import type { Chart } from "./plots/chart.js";
import { checkRecipe } from "./preflight/check.js";
import type { CheckOptions, Preflight } from "./preflight/check.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "./runtime/network.js";
import { parseRecipe } from "./recipe/native.js";
import { readRecipe } from "./recipes.js";
import type { AdapterRecipeObject, RecipeObject } from "./recipes.js";

export * from "./common.js";
export { fileSink, fileSource } from "./platform/node/files.js";
export { openModel } from "./platform/node/platform.js";
export { weightsOf } from "./runtime/weights.js";
export { readRecipe };
export type {
  AdapterRecipeObject,
  Artifact,
  ArtifactInspection,
  Chart,
  CoefficientResult,
  Comparison,
  Inspection,
  Materialized,
  Preflight,
  RecipeObject,
  Verification,
};

/** Threads default to one per processor. */
type Threaded<T> = Omit<T, "threads"> & { readonly threads?: number };

function threaded<T extends { readonly threads: number }>(options: Threaded<T> = {} as Threaded<T>): T {
  return { threads: defaultThreads(), ...options } as unknown as T;
}

/** A model as a network that runs; `weightsOf` turns an open checkpoint into weights. Loaded when first asked for. */
export const openNetwork = async (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> =>
  (await import("./platform/node/network.js")).openNetwork(weights, options);

/** A plain object, or the path of a YAML file. */
async function recipeOf(recipe: string | RecipeObject, own: readonly Method[]) {
  if (typeof recipe !== "string") return readRecipe(recipe, undefined, own);
  return readRecipe(await readFile(recipe, "utf8"), recipe, own);
}

export interface UseOptions {
  /**
   * Methods of one's own: paths of modules (docs/own-methods.md), relative ones from the working directory; or methods
   * themselves, which no other thread can load, so that one thread does the work.
   */
  readonly use?: readonly (string | OwnMethod)[];
}

/**
 * Merges the models of a recipe into the folder `options.out`.
 * @param recipe a plain object, or the path of a YAML file.
 * @throws MergewrightError; `kind` says whether a retry can help.
 */
export async function merge(
  recipe: string | RecipeObject,
  options: Threaded<MergeOptions> & UseOptions,
): Promise<MergeResult> {
  const own = await loadMethods(options.use ?? []);
  return mergeModels(await recipeOf(recipe, own), platformWith(own), threaded(options));
}

/**
 * Merges adapters into one adapter, the folder `options.out`; without a method, into their exact weighted sum.
 * @param recipe a plain object, or the path of a YAML file.
 * @returns ranks and errors of every module.
 */
export async function mergeAdapters(
  recipe: string | AdapterRecipeObject,
  options: Omit<Threaded<MergeAdaptersOptions>, "own"> & UseOptions,
): Promise<CombineReport & { readonly out: string }> {
  const { mergeAdaptersAt } = await import("./platform/node/lora.js");
  const { adapterContext } = await import("./lora/context.js");
  const { readAdapterRecipe } = await import("./recipe/adapters.js");
  const { use = [], ...others } = options;
  const own = await loadMethods(use);
  const file = typeof recipe === "string" ? recipe : undefined;
  const text = typeof recipe === "string" ? await readFile(recipe, "utf8") : JSON.stringify(recipe);
  const context = { ...adapterContext([...methods, ...own]), ...(file !== undefined && { file }) };
  return mergeAdaptersAt(readAdapterRecipe(text, {}, {}, context), { ...threaded<MergeAdaptersOptions>(others), own });
}

/** How `extractAdapter` is called: `rank`, `energy` (with `rank` as the most) or `auto` says how much is kept. */
export type ExtractAdapterOptions = Partial<ExtractWish> & Omit<Threaded<ExtractOptions>, keyof ExtractWish>;

/** Writes what a fine-tune changed of its base as a LoRA, the folder `options.out`. */
export async function extractAdapter(
  model: string,
  base: string,
  options: ExtractAdapterOptions,
): Promise<ExtractReport & { readonly out: string }> {
  const { extractAt } = await import("./platform/node/lora.js");
  const { EXTRACT_DEFAULTS } = await import("./lora/extract.js");
  return extractAt(model, base, {
    ...EXTRACT_DEFAULTS,
    ...threaded<ExtractOptions>(options as Threaded<ExtractOptions>),
  });
}

/** What a merge would do, from headers alone. */
export async function plan(recipe: string | RecipeObject, { use = [] }: UseOptions = {}): Promise<Plan> {
  return planMerge(await recipeOf(recipe, await loadMethods(use)), nodePlatform);
}

/** What could go wrong with a merge: headers, configs, tokenizers and a small sample of the weights. Writes nothing. */
export async function check(
  recipe: string | RecipeObject,
  options: Threaded<CheckOptions> & UseOptions = {},
): Promise<Preflight> {
  const own = await loadMethods(options.use ?? []);
  const platform = { ...platformWith(own), ...nodeMachine };
  return checkRecipe(await recipeOf(recipe, own), platform, threaded<CheckOptions>(options));
}

/** Tensors, sizes and formats of a model; norms where asked for. */
export function inspect(model: string, options?: Threaded<InspectOptions>): Promise<Inspection> {
  return inspectModel(model, nodePlatform, threaded<InspectOptions>(options));
}

/** How `evaluate` is called. */
export interface EvaluateModelOptions extends Omit<Threaded<EvaluateOptions>, "store"> {
  /** A plain object with the keys of docs/tasks.md, or the path of a YAML file. */
  readonly tasks: string | { readonly tasks: readonly Readonly<Record<string, unknown>>[] };
  /** A folder in which outcomes are kept, so that the same weights on the same data are scored once; none by default. */
  readonly cache?: string;
}

/**
 * Scores a model on tasks: a path, an address, or an open checkpoint.
 * @throws MergewrightError naming the task, its file, or the line of the tasks file.
 */
export async function evaluate(
  model: string | Checkpoint,
  { tasks, cache, ...options }: EvaluateModelOptions,
): Promise<Evaluation> {
  const { evaluatePlatform, folderStore } = await import("./platform/node/evaluate.js");
  const store = cache === undefined ? null : folderStore(cache);
  return evaluateModel(model, await tasksOf(tasks), evaluatePlatform, threaded<EvaluateOptions>({ ...options, store }));
}

/** How `openEvaluation` is called. */
export type OpenEvaluationOptions = Omit<EvaluateModelOptions, "against" | "progress">;

/** Many models on the same tasks; data are read and networks opened once. */
export interface OpenedEvaluation {
  /** @param options `tasks`: the names of those to score; all by default. */
  score(
    model: string | Checkpoint,
    options?: { readonly tasks?: readonly string[]; readonly progress?: EvaluateOptions["progress"] },
  ): Promise<Evaluation>;
  close(): Promise<void>;
}

/** Scores one model after the other, faster than `evaluate` does each. */
export async function openEvaluation({
  tasks: given,
  cache,
  ...options
}: OpenEvaluationOptions): Promise<OpenedEvaluation> {
  const { evaluatePlatform, folderStore } = await import("./platform/node/evaluate.js");
  const tasks = await tasksOf(given);
  const store = cache === undefined ? null : folderStore(cache);
  const { split = "test" } = options;
  const series = new EvaluationSeries(evaluatePlatform, { ...threaded<SeriesOptions>({ ...options, split }), store });
  return {
    score(model, { tasks: names, progress } = {}) {
      const chosen = names === undefined ? tasks : tasks.filter(({ name }) => names.includes(name));
      return evaluateIn(series, model, chosen, evaluatePlatform, { split, progress });
    },
    close: () => series.close(),
  };
}

/** How `search` is called. */
export interface SearchRecipeOptions extends Omit<Threaded<SearchOptions>, "store" | "ledger">, UseOptions {
  readonly tasks: EvaluateModelOptions["tasks"];
  /** By field of the recipe its values, `{"parameters.lambda": [0.1, 0.2, 0.3]}`, or `{from, to}`; not of a grid. */
  readonly over: Readonly<Record<string, readonly number[] | { readonly from: number; readonly to: number }>>;
  /** A folder in which outcomes are kept; none by default. */
  readonly cache?: string;
}

/**
 * Merges candidates in memory, scores each on validation data, and tells the best recipe. All combinations of the values
 * are tried, unless another method is named.
 * @param recipe a plain object, or the path of a YAML file.
 */
export async function search(
  recipe: string | RecipeObject,
  { tasks, over, cache, use = [], ...options }: SearchRecipeOptions,
): Promise<SearchResult> {
  const [template, platform] = await searchOver(recipe, use);
  return searchRecipe(
    template,
    Object.entries(over).map(([field, range]) => ("from" in range ? { field, ...range } : { field, values: range })),
    await tasksOf(tasks),
    platform,
    threaded<SearchOptions>({ ...options, store: await storeOf(cache) }),
  );
}

/** The average of those of a recipe's models that is best on validation data; the recipe's method takes no part. */
export async function soup(
  recipe: string | RecipeObject,
  { tasks, cache, use = [], ...options }: Omit<SearchRecipeOptions, "over" | "method" | "budget" | "seed">,
): Promise<SoupResult> {
  const [template, platform] = await searchOver(recipe, use);
  const threads = threaded<SearchOptions>({ ...options, store: await storeOf(cache) });
  return greedySoup(template, "average", await tasksOf(tasks), platform, threads);
}

async function searchOver(
  recipe: string | RecipeObject,
  use: NonNullable<UseOptions["use"]>,
): Promise<[Template, SearchPlatform]> {
  const { evaluatePlatform } = await import("./platform/node/evaluate.js");
  const { mergingInMemory } = await import("./platform/node/in_memory.js");
  const own = await loadMethods(use);
  const file = typeof recipe === "string" ? recipe : undefined;
  const text = typeof recipe === "string" ? await readFile(recipe, "utf8") : JSON.stringify(recipe);
  const template = readTemplate(text, { methods: [...methods, ...own], ...(file !== undefined && { file }) });
  return [template, { evaluation: evaluatePlatform, merging: mergingInMemory(own) }];
}

async function storeOf(cache: string | undefined): Promise<ResultStore | null> {
  if (cache === undefined) return null;
  return (await import("./platform/node/evaluate.js")).folderStore(cache);
}

/** How `collectCoefficients` is called. */
export interface CollectCoefficientsOptions extends Omit<Threaded<CoefficientOptions>, "state">, UseOptions {
  readonly tasks: EvaluateModelOptions["tasks"];
}

/**
 * Learns a table of coefficients on the inputs of tasks (AdaMerging); `table` of the result is the file that a recipe
 * names with `coefficients:`.
 * @param recipe a plain object, or the path of a YAML file; a table that it names is not looked at.
 */
export async function collectCoefficients(
  recipe: string | RecipeObject,
  { tasks, use = [], ...options }: CollectCoefficientsOptions,
): Promise<CoefficientResult> {
  const { learnCoefficients } = await import("./collect/coefficients.js");
  const { collectPlatform } = await import("./platform/node/collect.js");
  const own = await loadMethods(use);
  const text = typeof recipe === "string" ? await readFile(recipe, "utf8") : JSON.stringify(recipe);
  const file = typeof recipe === "string" ? { file: recipe } : {};
  const read = parseRecipe(text, { methods: [...methods, ...own], withoutCoefficients: true, ...file });
  return learnCoefficients(read, await tasksOf(tasks), collectPlatform, threaded<CoefficientOptions>(options));
}

async function tasksOf(tasks: EvaluateModelOptions["tasks"]): Promise<Task[]> {
  return typeof tasks === "string"
    ? parseTasks(await readFile(tasks, "utf8"), tasks)
    : parseTasks(JSON.stringify(tasks));
}

/** How `curves` is called. */
export interface CurvesOptions extends Omit<Threaded<CurveOptions>, "store" | "ledger">, UseOptions {
  readonly tasks: EvaluateModelOptions["tasks"];
  /** A folder in which outcomes are kept; none by default. */
  readonly cache?: string;
}

/**
 * One of the TIES paper's analyses: a chart, to be drawn with `drawChart`, and all its numbers.
 * @param recipes paths of YAML files, whose names stand in the chart.
 */
export async function curves(
  kind: CurveName,
  recipes: readonly string[],
  { tasks, cache, use = [], ...options }: CurvesOptions,
): Promise<CurveResult> {
  const { drawCurve } = await import("./curves/curves.js");
  const named = [];
  for (const file of recipes) {
    const [template, platform] = await searchOver(file, use);
    named.push({ name: file.replace(/^.*[\\/]|\.ya?ml$/g, ""), template, platform });
  }
  const { platform } = named[0]!;
  const reading = { ...platform, reading: nodePlatform };
  const store = await storeOf(cache);
  return drawCurve(kind, named, await tasksOf(tasks), reading, threaded<CurveOptions>({ ...options, store }));
}

/** A chart as an SVG file's text. */
export const drawChart = async (chart: Chart): Promise<string> => (await import("./plots/draw.js")).drawChart(chart);

/** Task vectors beside each other: norms, cosines, sign conflicts. */
export function compare(
  base: string,
  models: readonly string[],
  options?: Threaded<CompareOptions>,
): Promise<Comparison> {
  return compareModels(base, models, nodePlatform, threaded<CompareOptions>(options));
}

/** Checks an output folder against its provenance; of an artifact also its manifest, gates and router. */
export async function verify(folder: string, options?: Threaded<VerifyOptions>): Promise<Verification> {
  const { verifyResult } = await import("./experts/verify.js");
  return verifyResult(folder, nodePlatform, threaded<VerifyOptions>(options));
}

/**
 * Opens an artifact, such as a merge with `emr` writes: `readTensor(task, name)` gives any tensor of any task's model.
 * @throws MergewrightError: artifact/manifest, artifact/base, artifact/damaged
 */
export function openArtifact(folder: string, options?: OpenArtifactOptions): Promise<Artifact> {
  return openArtifactOf(folder, nodePlatform, options);
}

/**
 * Opens an artifact of `twin` or `smile` as a network that routes: logits of a batch, with the router's weights or the gates'
 * shares. Of any artifact with `routing: "oracle"`.
 */
export async function openRouted(folder: string, options: Threaded<OpenRoutedOptions> = {}): Promise<RoutedNetwork> {
  const { openRouted: open } = await import("./experts/open_routed.js");
  return open(folder, { ...nodePlatform, openNetwork }, threaded<OpenRoutedOptions>(options));
}

/** Tasks, sizes and mask densities of an artifact; its base is not needed. */
export function inspectArtifact(folder: string): Promise<ArtifactInspection> {
  return inspectArtifactOf(folder, nodePlatform);
}

/** Writes the model of one task of an artifact into the folder `options.out`. */
export function materialize(folder: string, options: Threaded<MaterializeOptions>): Promise<Materialized> {
  return materializeTask(folder, nodePlatform, threaded(options));
}

/** Writes the experts of an artifact as LoRA adapters into folders of `options.out`, one per task. */
export const exportLora = async (folder: string, options: ExportOptions): Promise<ExportReport> =>
  (await import("./experts/export_lora.js")).exportLora(folder, nodePlatform, options);

/** Opens an adapter: a folder of PEFT's, a `.safetensors` file of kohya's layout, or an address. */
export const openAdapter = (label: string): Promise<Adapter> => openAdapterAt(label);

/** Kinds, ranks, scalings and norms of an adapter's modules; its base is not needed. */
export async function inspectAdapter(label: string): Promise<AdapterInspection> {
  const adapter = await openAdapterAt(label);
  try {
    return await inspectOpened(adapter);
  } finally {
    await adapter.close();
  }
}

export interface ConvertAdapterOptions {
  readonly to: AdapterFormat;
  readonly out: string;
  /** The base, to find the modules in whose paths are joined with underscores. */
  readonly base?: string;
  /** Of kohya's module names. Default `lora_unet`. */
  readonly prefix?: string;
  /** Replace what is there. Default false. */
  readonly force?: boolean;
}

/** Writes an adapter in another layout. @throws adapter/kind, adapter/base for what cannot be represented. */
export async function convertAdapter(label: string, options: ConvertAdapterOptions): Promise<void> {
  const { to, out, base, prefix, force = false } = options;
  const checkpoint = base === undefined ? null : await nodePlatform.openModel(base);
  const names = checkpoint === null ? null : new BaseNames(checkpoint.tensors.keys());
  await checkpoint?.close();
  const adapter = await openAdapterAt(label);
  try {
    writeFolder(out, await convertOpened(adapter, { to, names, ...(prefix !== undefined && { prefix }) }), { force });
  } finally {
    await adapter.close();
  }
}

/** Writes a base with adapters added into its weights: `fold({ model: "base", adapters: ["lora"] }, { out: "folded" })`. */
export function fold(request: FoldRequest, options: Threaded<MergeOptions>): Promise<MergeResult> {
  return merge(foldRecipe(request), options);
}

/** Takes adapters out of a folded model again. @param options base: measures what is recovered against it. */
export async function unfold(
  request: FoldRequest,
  options: Threaded<MergeOptions> & { readonly base?: string },
): Promise<MergeResult & { readonly error: UnfoldError }> {
  const { base = null, ...others } = options;
  const result = await merge(foldRecipe(request, true), others);
  return { ...result, error: await measureUnfold({ ...request, out: options.out, base }, nodePlatform.openModel) };
}
