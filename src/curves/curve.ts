/** The TIES paper's analyses: each kind is one file that turns a recipe and tasks into a chart and its numbers. */

import type { Comparison } from "../analyse/compare.js";
import type { Split, Task } from "../evaluate/task.js";
import type { Chart } from "../plots/chart.js";
import type { Template } from "../search/field.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Laboratory, Scored } from "./laboratory.js";

export interface CurveContext {
  /** Of one base; where one recipe is enough, the first. */
  readonly recipes: readonly NamedTemplate[];
  readonly tasks: readonly Task[];
  readonly laboratory: Laboratory;
  readonly compare: (
    base: string,
    models: readonly string[],
    density: number,
    exclude: readonly string[],
  ) => Promise<Comparison>;
  /** A recipe's result, scored as its inputs find their experts, and its bytes, heads not counted. */
  readonly system: (recipe: Recipe, tasks: readonly Task[]) => Promise<Scored & { readonly stored: number }>;
  readonly settings: CurveSettings;
}

export interface NamedTemplate {
  readonly name: string;
  readonly template: Template;
}

export interface CurveSettings {
  readonly split: Split;
  /** What is varied, where a kind varies something; `null`: the kind's own values. */
  readonly values: readonly number[] | null;
  /** Share of a task vector's entries that is trimmed to, where a kind trims. */
  readonly density: number;
  /** Random sets of models per number of models; the first is the first models in their order. */
  readonly subsets: number;
  readonly seed: number;
  /** Of `oracle`: a checkpoint trained on all tasks. */
  readonly oracle: string | null;
}

/** What a kind found: a picture, and all numbers. */
export interface Curve {
  readonly chart: Chart;
  /** By kind; every score behind the picture. */
  readonly numbers: unknown;
}

export interface CurveKind {
  /** One line for people. */
  readonly meaning: string;
  /** Scores of models, and comparisons, for progress. */
  readonly work: (context: CurveContext) => number;
  readonly run: (context: CurveContext) => Promise<Curve>;
}
