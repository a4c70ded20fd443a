/** One number of a candidate's scores on all tasks. */

import { MergewrightError } from "../errors.js";
import type { Evaluation } from "../evaluate/evaluate.js";
import type { Better, Task } from "../evaluate/task.js";
import type { Recipe } from "../recipe/recipe.js";
import type { LedgerEntry } from "./ledger.js";

/** `mean` of the tasks' values; `normalised`: each is divided by that of the task's individual model first. */
export type Objective = "mean" | "normalised";

/** What a candidate did, as it is kept. */
export type Scores = Omit<LedgerEntry, "key" | "values">;

/** @throws usage where the tasks' values have no mean. */
export function scoresOf({ tasks, mean, metric }: Pick<Evaluation, "tasks" | "mean" | "metric">): Scores {
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

/**
 * @param individual a value per task; `null`: the plain mean.
 * @returns the objective, which is better when higher only if normalised or the metric is.
 */
export function objectiveOf(
  { mean, better, tasks }: Omit<Scores, "metric">,
  individual: readonly number[] | null,
): number {
  if (individual === null) return mean;
  const shares = tasks.map(({ value }, index) => normalised(value, individual[index]!, better));
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** 1 where a model is as good as the individual one; higher is better whatever the metric. */
export function normalised(value: number, individual: number, better: Better): number {
  return better === "higher" ? value / individual : individual / value;
}

/** Whether higher objectives are better. */
export function isHigherBetter(better: Better, objective: Objective): boolean {
  return objective === "normalised" || better === "higher";
}

/**
 * The individual model of a task: the recipe's model of that name, else the model whose head the task takes.
 * @throws usage where there is neither.
 */
export function individualOf(task: Task, recipe: Recipe, heads: Readonly<Record<string, string>>): string {
  const own = recipe.models.find(({ name, model }) => name === task.name && !Object.hasOwn(recipe.merges, model));
  const found = own?.model ?? heads[task.name] ?? ("head" in task ? task.head : null);
  if (found !== null) return found;
  throw new MergewrightError("a task's individual model is not known", {
    kind: "request",
    code: "usage",
    where: { key: `task ${task.name}` },
    expected: "a model of the recipe with the task's name, or a task with a head",
    found: `models ${recipe.models.map(({ name }) => name).join(", ")}`,
    advice: "name the task as its model, or search for the plain mean",
  });
}

/** @throws usage for a value that nothing can be divided by. */
export function checkIndividual(values: readonly number[], tasks: readonly Task[]): void {
  const zero = values.findIndex((value) => !(value > 0));
  if (zero === -1) return;
  throw new MergewrightError("a task's individual model scores nothing", {
    kind: "request",
    code: "usage",
    where: { key: `task ${tasks[zero]!.name}` },
    expected: "a value above 0 to divide by",
    found: String(values[zero]),
    advice: "look at the task's data and head, or search for the plain mean",
  });
}
