/** Looks for the best numbers of a recipe: candidates are merged in memory, scored and remembered. */

import { MergewrightError } from "../errors.js";
import type { EvaluateOptions } from "../evaluate/evaluate.js";
import type { Better, Split, Task } from "../evaluate/task.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import { type Axis, gridOf, valueAt } from "./axis.js";
import { Desk, type SearchPlatform } from "./desk.js";
import { expandAxes, recipeWith, type Template } from "./field.js";
import type { LedgerEntry, LedgerFile } from "./ledger.js";
import { checkIndividual, individualOf, isHigherBetter, type Objective, objectiveOf } from "./objective.js";
import type { Tell } from "./stages.js";
import { strategies, type StrategyName, usualBudget } from "./strategies/strategies.js";

export type { SearchPlatform } from "./desk.js";

export interface SearchOptions extends Pick<EvaluateOptions, "threads" | "backend" | "heads" | "store"> {
  /** Default: val. */
  readonly split?: Split;
  /** What is found on test data says nothing about other data. Default false: an error. */
  readonly allowTest?: boolean;
  /** Default: grid. */
  readonly method?: StrategyName;
  /** Candidates at most. Default: all of a grid and of `raise`, else 20 and 10 more per number varied. */
  readonly budget?: number;
  /** Of a strategy's randomness. Default 0. */
  readonly seed?: number;
  /** Default: mean. */
  readonly objective?: Objective;
  readonly ledger?: LedgerFile | null;
  readonly progress?: (progress: SearchProgress) => void;
}

export interface SearchProgress {
  /** From 1. */
  readonly candidate: number;
  /** The task that is scored, or `merging`. */
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
  readonly objective: Objective;
  readonly method: StrategyName | "greedy-soup";
  readonly seed: number;
  readonly over: readonly Axis[];
  /** In the order in which they were tried, each once. */
  readonly candidates: readonly Candidate[];
  readonly best: Candidate;
  /** Of a normalised search: what the tasks' values are divided by. */
  readonly individual: readonly { readonly name: string; readonly value: number }[] | null;
  /** The best candidate as YAML, complete. */
  readonly recipe: string;
  readonly seconds: number;
}

export interface Candidate extends Omit<LedgerEntry, "key" | "metric" | "better"> {
  /** What is made as good as possible. */
  readonly objective: number;
  /** Whether it was in the ledger. */
  readonly known: boolean;
}

/** A search that may begin: its data may be searched on. @throws search/test-split */
export function splitOf({ split = "val", allowTest = false }: Pick<SearchOptions, "split" | "allowTest">): Split {
  if (split === "test" && !allowTest) throw testRefused();
  return split;
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
  const split = splitOf(options);
  const { method = "grid", seed = 0, objective = "mean", heads = {} } = options;
  const axes = expandAxes(template, over);
  checkAxes(axes);
  checkAll(template, axes, method);
  const budget = options.budget ?? usualBudget(method, axes.length);
  const total = method === "grid" ? Math.min(gridOf(axes).length, budget ?? Infinity) : budget;
  const desk = new Desk(tasks, platform, { ...options, split });
  try {
    const tried = new Tried(total, options.progress);
    const individual =
      objective === "mean"
        ? null
        : await desk.individual((task) => individualOf(task, template.recipe, heads), tried.tell("individual"));
    const values = individual?.map(({ value }) => value) ?? null;
    if (values !== null) checkIndividual(values, tasks);
    const walk = strategies[method]({ axes, seed });
    // A strategy that sees no new points any more would go on for ever.
    let asked = 0;
    for (let step = walk.next(); !step.done && asked < MOST_ASKED; asked++) {
      const fields = axes.map((axis, at) => [axis.field, valueAt(axis, step.value![at]!)] as const);
      const key = JSON.stringify(fields);
      let found = tried.find(key);
      if (found === undefined) {
        if (budget !== null && tried.candidates.length >= budget) break;
        const recipe = recipeWith(template, fields);
        const { entry, known } = await desk.score(recipe, Object.fromEntries(fields), tried.tell());
        found = tried.add(key, recipe, entry, known, objectiveOf(entry, values));
      }
      step = walk.next((isHigherBetter(found.better, objective) ? 1 : -1) * found.candidate.objective);
    }
    const { candidate: best, recipe, metric, better } = tried.best(objective);
    return {
      split,
      onTestData: split === "test",
      metric,
      better,
      objective,
      method,
      seed,
      over: axes,
      candidates: tried.candidates,
      best,
      individual: individual?.map(({ name, value }) => ({ name, value })) ?? null,
      recipe: stringifyRecipe(recipe),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await desk.close();
  }
}

/** Points, those known already included. */
const MOST_ASKED = 200_000;

interface Found {
  readonly candidate: Candidate;
  readonly recipe: Recipe;
  readonly metric: string;
  readonly better: Better;
}

/** Candidates so far, by what they are known by. */
export class Tried {
  readonly #found = new Map<string, Found>();
  readonly #total: number | null;
  readonly #progress: SearchOptions["progress"];

  /** @param total candidates at most; `null` where that is not known. */
  constructor(total: number | null, progress: SearchOptions["progress"]) {
    this.#total = total;
    this.#progress = progress;
  }

  get candidates(): readonly Candidate[] {
    return [...this.#found.values()].map(({ candidate }) => candidate);
  }

  find(key: string): Found | undefined {
    return this.#found.get(key);
  }

  add(key: string, recipe: Recipe, entry: LedgerEntry, known: boolean, objective: number): Found {
    const { values, mean, tasks, metric, better } = entry;
    const found = { candidate: { values, mean, objective, tasks, known }, recipe, metric, better };
    this.#found.set(key, found);
    this.tell()("", 0);
    return found;
  }

  tell(name = ""): Tell {
    const done = this.#found.size;
    // Where nobody knows how many there will be, the next is taken to be the last.
    const total = Math.max(this.#total ?? 0, done + 1);
    return (task, share) =>
      this.#progress?.({
        candidate: done + 1,
        task: [name, task].filter((part) => part !== "").join(" "),
        done: Math.min(done + share, total),
        total,
      });
  }

  /** The first of equals. */
  best(objective: Objective): Found {
    return [...this.#found.values()].reduce((best, found) => {
      const sign = isHigherBetter(found.better, objective) ? 1 : -1;
      return sign * (found.candidate.objective - best.candidate.objective) > 0 ? found : best;
    });
  }
}

/** @throws usage where there is nothing to vary, or a number is varied twice. */
function checkAxes(axes: readonly Axis[]): void {
  const twice = axes.find(({ field }, at) => axes.findIndex((other) => other.field === field) !== at);
  if (axes.length > 0 && twice === undefined) return;
  throw new MergewrightError(twice === undefined ? "there is nothing to search over" : "a number is varied twice", {
    kind: "request",
    code: "usage",
    where: { key: twice === undefined ? "--over" : `--over ${twice.field}` },
    expected: "one or several fields, each once",
  });
}

/** Every candidate of a grid, the ends of every axis otherwise, must be a recipe. */
function checkAll(template: Template, axes: readonly Axis[], method: StrategyName): void {
  if (method === "grid") {
    for (const row of gridOf(axes)) {
      recipeWith(
        template,
        row.map((value, at) => [axes[at]!.field, value]),
      );
    }
    return;
  }
  for (const axis of axes) {
    const values = "values" in axis ? axis.values : [axis.from, axis.to];
    for (const value of values) recipeWith(template, [[axis.field, value]]);
  }
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
