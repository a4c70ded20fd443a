/** Where candidates are merged, scored and remembered: one after the other, on the same tasks. */

import type { Checkpoint } from "../models/model.js";
import { type Evaluation, evaluateIn, type EvaluateOptions } from "../evaluate/evaluate.js";
import { sha256 } from "../evaluate/fingerprint.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import { EvaluationSeries } from "../evaluate/series.js";
import type { Split, Task } from "../evaluate/task.js";
import { planMerge } from "../merge.js";
import { storedSources } from "../plan/streams.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import { VERSION } from "../version.js";
import { type MemoryMerging, mergeInMemory, SharedStatistics } from "./candidate.js";
import { Ledger, type LedgerEntry, type LedgerFile } from "./ledger.js";
import { scoresOf } from "./objective.js";
import { Stages, type Tell } from "./stages.js";

export interface SearchPlatform {
  readonly evaluation: EvaluatePlatform;
  readonly merging: MemoryMerging;
}

export interface DeskOptions extends Pick<EvaluateOptions, "threads" | "backend" | "heads" | "store"> {
  readonly split: Split;
  readonly ledger?: LedgerFile | null;
}

export class Desk {
  readonly tasks: readonly Task[];
  readonly #platform: SearchPlatform;
  readonly #options: DeskOptions;
  readonly #ledger: Ledger;
  readonly #series: EvaluationSeries;
  readonly #statistics = new SharedStatistics();
  readonly #stages = new Stages();
  #data: Promise<unknown> | null = null;

  constructor(tasks: readonly Task[], platform: SearchPlatform, options: DeskOptions) {
    this.tasks = tasks;
    this.#platform = platform;
    this.#options = options;
    this.#ledger = new Ledger(options.ledger ?? null);
    this.#series = new EvaluationSeries(platform.evaluation, options);
  }

  /**
   * @param values what the candidate is known by to a reader of the ledger.
   * @param tasks some of the desk's; all by default.
   */
  async score(
    recipe: Recipe,
    values: Readonly<Record<string, number>>,
    tell: Tell,
    tasks: readonly Task[] = this.tasks,
  ): Promise<{ readonly entry: LedgerEntry; readonly known: boolean }> {
    const { heads = {}, split, backend = "own" } = this.#options;
    this.#data ??= dataKey(this.tasks, heads, this.#platform.evaluation);
    const key = await sha256(
      JSON.stringify([
        VERSION,
        backend,
        await recipeKey(recipe, this.#platform.merging),
        await this.#data,
        split,
        tasks.map(({ name }) => name),
      ]),
    );
    const known = this.#ledger.find(key);
    if (known !== undefined) return { entry: { ...known, values }, known: true };
    const evaluation = await this.#stages.run(
      tasks.length,
      tell,
      (progress) => mergeInMemory(recipe, this.#platform.merging, "candidate", this.#statistics, progress),
      async (merged, tellScored) => {
        try {
          return await this.#evaluate(tasks, (task) => merged.modelFor(task), tellScored);
        } finally {
          await merged.close();
        }
      },
    );
    const entry = { key, values, ...scoresOf(evaluation) };
    this.#ledger.add(entry);
    return { entry, known: false };
  }

  /** The value of a model of its own on each task. */
  async individual(
    labelOf: (task: Task) => string,
    tell: Tell,
    tasks: readonly Task[] = this.tasks,
  ): Promise<Evaluation["tasks"]> {
    const { openModel } = this.#platform.evaluation;
    const opened = new Map<string, Checkpoint>();
    const open = async (label: string) => {
      const model = opened.get(label) ?? (await openModel(label));
      opened.set(label, model);
      return model;
    };
    try {
      return (await this.#evaluate(tasks, (task) => open(labelOf(task)), tell)).tasks;
    } finally {
      for (const model of opened.values()) await model.close();
    }
  }

  close(): Promise<void> {
    return this.#series.close();
  }

  async #evaluate(
    tasks: readonly Task[],
    modelFor: (task: Task) => Promise<Checkpoint>,
    tell: Tell,
  ): Promise<Pick<Evaluation, "tasks" | "mean" | "metric">> {
    const results = [];
    for (const [index, task] of tasks.entries()) {
      const evaluation = await evaluateIn(this.#series, await modelFor(task), [task], this.#platform.evaluation, {
        split: this.#options.split,
        progress: ({ done, total }) => tell(task.name, (index + done / total) / tasks.length),
      });
      results.push(evaluation.tasks[0]!);
    }
    const metrics = new Set(results.map(({ metric }) => metric));
    const [metric = null] = metrics.size === 1 ? metrics : [];
    const mean = metric === null ? null : results.reduce((sum, { value }) => sum + value, 0) / results.length;
    return { tasks: results, mean, metric };
  }
}

/** Recipe and inputs; files by size and time of change, since reading all of them takes as long. */
async function recipeKey(recipe: Recipe, merging: MemoryMerging): Promise<unknown> {
  const plan = await planMerge(recipe, merging);
  return [stringifyRecipe(recipe), storedSources(plan).map(({ stamp, headerHash }) => [stamp, headerHash])];
}

/** What the data and heads of the tasks are, in the same way. */
async function dataKey(
  tasks: readonly Task[],
  heads: Readonly<Record<string, string>>,
  { openFile, openModel, listFolder }: EvaluatePlatform,
): Promise<unknown> {
  const stamps = [];
  for (const task of tasks) {
    if (!("data" in task)) continue;
    const inside = await listFolder(task.data);
    for (const file of inside === null ? [task.data] : inside.map((name) => `${task.data}/${name}`)) {
      const source = await openFile(file);
      stamps.push(source.stamp);
      await source.close();
    }
    const head = heads[task.name] ?? ("head" in task ? task.head : null);
    if (head === null) continue;
    const model = await openModel(head);
    stamps.push(model.shards.map(({ source: { stamp } }) => stamp));
    await model.close();
  }
  return [tasks, heads, stamps];
}
