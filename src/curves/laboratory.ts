/** Merges that are made to be measured: derived from a recipe, kept in memory, scored on some tasks. */

import { MergewrightError } from "../errors.js";
import type { Task } from "../evaluate/task.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Desk } from "../search/desk.js";
import { readTemplate, type Template } from "../search/field.js";

export interface TaskScore {
  readonly task: string;
  readonly value: number;
  readonly correct: number | null;
  readonly total: number;
}

export interface Scored {
  readonly tasks: readonly TaskScore[];
  readonly mean: number;
}

export interface LaboratoryProgress {
  readonly name: string;
  readonly done: number;
  readonly total: number;
}

export class Laboratory {
  readonly #desk: Desk;
  readonly #progress: ((progress: LaboratoryProgress) => void) | undefined;
  #total = 0;
  #done = 0;

  constructor(desk: Desk, progress?: (progress: LaboratoryProgress) => void) {
    this.#desk = desk;
    this.#progress = progress;
  }

  /** @param scores tasks that will be scored, all models together. */
  plan(scores: number): void {
    [this.#total, this.#done] = [scores, 0];
  }

  async score(recipe: Recipe, tasks: readonly Task[]): Promise<Scored> {
    const { entry } = await this.#desk.score(recipe, {}, (task, share) => this.tell(task, share * tasks.length), tasks);
    this.#done += tasks.length;
    const scores = entry.tasks.map(({ name, ...rest }) => ({ task: name, ...rest }));
    return { tasks: scores, mean: entry.mean };
  }

  /** A model of its own for each task. */
  async individual(labelOf: (task: Task) => string, tasks: readonly Task[]): Promise<Scored> {
    const tell = (task: string, share: number) => this.tell(task, share * tasks.length);
    const results = await this.#desk.individual(labelOf, tell, tasks);
    this.#done += tasks.length;
    const scores = results.map(({ name, value, correct, total }) => ({ task: name, value, correct, total }));
    return { tasks: scores, mean: scores.reduce((sum, { value }) => sum + value, 0) / scores.length };
  }

  /** A result that is scored elsewhere. @param score told how to tell which task is at work, and its share done. */
  async system<T>(
    tasks: readonly Task[],
    score: (tell: (task: string, share: number) => void) => Promise<T>,
  ): Promise<T> {
    const result = await score((task, share) => this.tell(task, share * tasks.length));
    this.#done += tasks.length;
    return result;
  }

  /** @param scored of what was planned and begun, and is not done yet. */
  tell(name: string, scored: number): void {
    this.#progress?.({ name, done: Math.min(this.#done + scored, this.#total), total: this.#total });
  }
}

/** A recipe as an object, with what all recipes of an analysis share: base, exclusions, exact results. */
export function derive(template: Template, parts: Readonly<Record<string, unknown>>): Recipe {
  return readTemplate(JSON.stringify({ ...shared(template.recipe), ...parts }), template.context).recipe;
}

function shared({ base, exclude, missing, seed }: Recipe): Record<string, unknown> {
  return { base, exclude, missing, seed, output: { dtype: "float32" } };
}

/** Paths of the recipe's models. @throws usage where one is a merge, or there is no base. */
export function pathsOf({ base, models, merges, layout }: Recipe): string[] {
  const merged = [base ?? "", ...models.map(({ model }) => model)].find((label) => Object.hasOwn(merges, label));
  if (base !== null && merged === undefined && layout === null) return models.map(({ model }) => model);
  throw new MergewrightError("an analysis looks at fine-tuned models and their base", {
    kind: "request",
    code: "usage",
    where: { key: "mergewright curves" },
    expected: "a recipe with base: and models: that are checkpoints",
    found: base === null ? "no base" : layout !== null ? "slices" : "a merge as an input",
    advice: "write a recipe with the plain models",
  });
}

/** The task of a model, by name. @throws usage where there is none. */
export function taskOfModel(name: string, tasks: readonly Task[]): Task {
  const task = tasks.find((one) => one.name === name);
  if (task !== undefined) return task;
  throw new MergewrightError("a model has no task of its own", {
    kind: "request",
    code: "usage",
    where: { key: `model ${name}` },
    expected: `a task of that name; there are ${tasks.map((one) => one.name).join(", ")}`,
    advice: "name tasks as the models: name: in the tasks file or in the recipe",
  });
}
