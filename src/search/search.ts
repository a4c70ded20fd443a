/** Tries every combination of some values in a recipe, each merged in memory and scored, and finds the best. */

import { MergewrightError } from "../errors.js";
import { evaluateModel, type EvaluateOptions, type Evaluation } from "../evaluate/evaluate.js";
import { sha256 } from "../evaluate/fingerprint.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import type { Better, Split, Task } from "../evaluate/task.js";
import { planMerge } from "../merge.js";
import { storedSources } from "../plan/streams.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import { VERSION } from "../version.js";
import { type Axis, gridOf } from "./axis.js";
import { type MemoryMerging, mergeInMemory } from "./candidate.js";
import { recipeWith, type Template } from "./field.js";
import { Ledger, type LedgerEntry, type LedgerFile } from "./ledger.js";

export interface SearchPlatform {
  readonly evaluation: EvaluatePlatform;
  readonly merging: MemoryMerging;
}

export interface SearchOptions extends Pick<EvaluateOptions, "threads" | "heads" | "store"> {
  /** Default: val. */
  readonly split?: Split;
  /** What is found on test data says nothing about other data. Default false: an error. */
  readonly allowTest?: boolean;
  readonly ledger?: LedgerFile | null;
  readonly progress?: (progress: SearchProgress) => void;
}

export interface SearchProgress {
  /** From 1. */
  readonly candidate: number;
  readonly task: string;
  /** Candidates, parts of them included. */
  readonly done: number;
  readonly total: number;
}

export interface SearchResult {
  readonly split: Split;
  /** Whether the numbers were found on the data that are to judge them. */
  readonly onTestData: boolean;
  readonly metric: string;
  readonly better: Better;
  readonly over: readonly Axis[];
  /** In the grid's order. */
  readonly candidates: readonly Candidate[];
  readonly best: Candidate;
  /** The best candidate as YAML, complete. */
  readonly recipe: string;
  readonly seconds: number;
}

export interface Candidate extends Omit<LedgerEntry, "key" | "metric" | "better"> {
  /** Whether it was in the ledger. */
  readonly known: boolean;
}

/** @throws MergewrightError for a field or value that the recipe cannot have, before anything is merged. */
export async function searchRecipe(
  template: Template,
  over: readonly Axis[],
  tasks: readonly Task[],
  platform: SearchPlatform,
  options: SearchOptions,
): Promise<SearchResult> {
  const started = performance.now();
  const { split = "val", ledger: file = null, progress } = options;
  if (split === "test" && options.allowTest !== true) throw testRefused();
  const grid = gridOf(over);
  const recipes = grid.map((values) =>
    recipeWith(
      template,
      values.map((value, at) => [over[at]!.field, value]),
    ),
  );
  const ledger = new Ledger(file);
  const entries: { readonly entry: LedgerEntry; readonly known: boolean }[] = [];
  for (const [index, recipe] of recipes.entries()) {
    const key = await keyOf(recipe, tasks, split, platform, options);
    const known = ledger.find(key);
    const tell = (task: string, share: number) =>
      progress?.({ candidate: index + 1, task, done: index + share, total: recipes.length });
    if (known === undefined) {
      const values = Object.fromEntries(over.map(({ field }, at) => [field, grid[index]![at]!]));
      const scored = await score(recipe, tasks, split, platform, options, tell);
      ledger.add({ key, values, ...scored });
    }
    entries.push({ entry: ledger.find(key)!, known: known !== undefined });
    tell("", 1);
  }
  const candidates = entries.map(({ entry: { values, mean, tasks: scores }, known }) => {
    return { values, mean, tasks: scores, known };
  });
  const { metric, better } = entries[0]!.entry;
  const best = bestOf(candidates, better);
  return {
    split,
    onTestData: split === "test",
    metric,
    better,
    over,
    candidates,
    best,
    recipe: stringifyRecipe(recipes[candidates.indexOf(best)]!),
    seconds: (performance.now() - started) / 1000,
  };
}

/** The first of equals. */
function bestOf(candidates: readonly Candidate[], better: Better): Candidate {
  const sign = better === "higher" ? 1 : -1;
  return candidates.reduce((best, candidate) => (sign * (candidate.mean - best.mean) > 0 ? candidate : best));
}

async function score(
  recipe: Recipe,
  tasks: readonly Task[],
  split: Split,
  { evaluation, merging }: SearchPlatform,
  { threads, heads, store }: SearchOptions,
  tell: (task: string, share: number) => void,
): Promise<Omit<LedgerEntry, "key" | "values">> {
  const model = await mergeInMemory(recipe, merging, "candidate");
  try {
    const result = await evaluateModel(model, tasks, evaluation, {
      split,
      threads,
      ...(heads !== undefined && { heads }),
      ...(store !== undefined && { store }),
      progress: ({ task, done, total }) => tell(task, done / total),
    });
    return scoresOf(result);
  } finally {
    await model.close();
  }
}

function scoresOf({ tasks, mean, metric }: Evaluation): Omit<LedgerEntry, "key" | "values"> {
  if (mean === null || metric === null) {
    throw new MergewrightError("a search needs tasks of one metric", {
      kind: "request",
      code: "usage",
      where: { key: "--tasks" },
      expected: "tasks whose values have a mean",
      found: tasks.map((task) => `${task.name}: ${task.metric}`).join(", "),
      advice: "keep the tasks of one metric in a file of their own",
    });
  }
  const scores = tasks.map(({ name, value, correct, total }) => ({ name, value, correct, total }));
  return { mean, metric, better: tasks[0]!.better, tasks: scores };
}

/** Recipe, inputs, tasks, data and split; files by size and time of change, since reading all of them takes as long. */
async function keyOf(
  recipe: Recipe,
  tasks: readonly Task[],
  split: Split,
  { evaluation, merging }: SearchPlatform,
  { heads = {} }: SearchOptions,
): Promise<string> {
  const plan = await planMerge(recipe, merging);
  const inputs = storedSources(plan).map(({ stamp, headerHash }) => [stamp, headerHash]);
  const data = [];
  for (const task of tasks) {
    if (!("data" in task)) continue;
    const source = await evaluation.openFile(task.data);
    data.push(source.stamp);
    await source.close();
    const head = heads[task.name] ?? ("head" in task ? task.head : null);
    if (head === null) continue;
    const model = await evaluation.openModel(head);
    data.push(model.shards.map(({ source: { stamp } }) => stamp));
    await model.close();
  }
  return sha256(JSON.stringify([VERSION, stringifyRecipe(recipe), inputs, tasks, heads, data, split]));
}

function testRefused(): MergewrightError {
  return new MergewrightError("a search on test data is refused", {
    kind: "request",
    code: "search/test-split",
    where: { key: "--split test" },
    expected: "a split that judges nothing afterwards, such as val",
    advice: "search on --split val; --allow-test does it all the same, and the report says so",
  });
}
