import { inspectArtifact } from "../artifacts/inspect.js";
import type { ArtifactInspection } from "../artifacts/inspect.js";
import { evaluateModel } from "../evaluate/evaluate.js";
import type { EvaluateOptions, EvaluateProgress } from "../evaluate/evaluate.js";
import type { Task } from "../evaluate/task.js";
import { evaluateArtifact } from "../experts/evaluate.js";
import { mergeModels } from "../merge.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { foldersIn } from "../search/candidate.js";
import type { LineChart, LineSeries } from "../plots/chart.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { makesArtifact } from "../plan/artifact.js";
import type { Recipe } from "../recipe/recipe.js";
import type { SearchPlatform } from "../search/desk.js";
import type { Stages, Tell } from "../search/stages.js";
import { recipeWith } from "../search/field.js";
import type { Template } from "../search/field.js";
import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { pathsOf } from "./laboratory.js";
import type { Scored } from "./laboratory.js";
import { percent } from "./redundancy.js";

/** By the parameter that decides how much an expert keeps. */
const VALUES: Readonly<Record<string, readonly number[]>> = { rank: [4, 8, 16, 32], density: [0.02, 0.05, 0.1, 0.2] };

/** What a system stores, and how well it does. */
export interface StoragePoint extends Scored {
  /** Rank or density; absent of a recipe without experts. */
  readonly value?: number;
  /** Bytes with the shared model, heads not counted. */
  readonly stored: number;
}

/** Accuracy by what is stored: experts at several ranks, and whatever else recipes make. */
export const storage: CurveKind = {
  meaning: "accuracy by what is stored: experts at several ranks beside other recipes",
  work: (context) =>
    context.recipes.reduce((sum, { template }) => sum + valuesOf(context, template).length * context.tasks.length, 0),
  async run(context): Promise<Curve> {
    const { recipes, tasks, system, settings } = context;
    const lines: StorageLine[] = [];
    for (const { name, template } of recipes) {
      pathsOf(template.recipe);
      const points: StoragePoint[] = [];
      for (const value of valuesOf(context, template)) {
        const parameter = parameterOf(template.recipe);
        const recipe = value === null ? template.recipe : recipeWith(template, [[`parameters.${parameter}`, value]]);
        points.push({ ...(value !== null && { value }), ...(await system(recipe, tasks)) });
      }
      lines.push({ name, points });
    }
    const told = lines.map(({ name, points }) => {
      const each = points.map(({ stored, mean }) => `${megabytes(stored)} ${percent(mean)}`);
      return `${name}: ${each.join(", ")}`;
    });
    const description = `Mean score over ${tasks.length} tasks (${settings.split}), heads not counted. ${told.join("; ")}.`;
    return { chart: storageChart(lines, { description }), numbers: { recipes: lines } };
  },
};

export interface StorageLine {
  readonly name: string;
  readonly points: readonly { readonly stored: number; readonly mean: number }[];
}

export function storageChart(
  lines: readonly StorageLine[],
  { description, references }: { readonly description: string; readonly references?: LineChart["references"] },
): LineChart {
  const series = lines.map(({ name, points }): LineSeries => {
    return { name, points: points.map(({ stored, mean }) => ({ x: stored / 1e6, y: mean })) };
  });
  return {
    kind: "lines",
    title: "Accuracy by what is stored",
    description,
    x: { label: "stored, MB, heads not counted" },
    y: { label: "mean score", form: "percent" },
    series,
    ...(references && { references }),
  };
}

/** Of an artifact, its base included and its heads not. @param base bytes of the base's tensors that it is over. */
export function storedBytes({ bytes, tasks, base }: ArtifactInspection, baseBytes: number): number {
  const heads = tasks.reduce((sum, task) => sum + task.bytes.head, 0);
  return bytes - heads + (base.inside === null ? baseBytes : 0);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function parameterOf({ method }: Recipe): string | null {
  if (method.experts === undefined) return null;
  return Object.keys(VALUES).find((name) => Object.hasOwn(method.parameters, name)) ?? null;
}

function valuesOf({ settings }: CurveContext, { recipe }: Template): readonly (number | null)[] {
  const parameter = parameterOf(recipe);
  return parameter === null ? [null] : (settings.values ?? VALUES[parameter]!);
}

/**
 * Makes a recipe's result in memory and scores it: an artifact as its inputs find their experts (each task with its own where
 * nothing chooses), any other result as one model.
 * @param stages of the systems of one analysis.
 */
export async function scoreSystem(
  recipe: Recipe,
  tasks: readonly Task[],
  { evaluation, merging }: SearchPlatform,
  options: Pick<EvaluateOptions, "threads" | "heads" | "split">,
  tell: Tell,
  stages: Stages,
): Promise<Scored & { readonly stored: number }> {
  const label = "system";
  const isArtifact = makesArtifact(recipe.method);
  const { plan, results, platform } = await stages.run(
    tasks.length,
    tell,
    (progress) => mergeModels(recipe, merging, { out: label, threads: options.threads, progress }),
    async (made, tellScored) => {
      const openFolder = foldersIn(label, new Map(merging.output));
      const places = { ...evaluation, openFolder };
      const how = {
        ...options,
        progress: ({ task, done, total }: EvaluateProgress) => tellScored(task, done / total),
      };
      const scored = isArtifact
        ? await evaluateArtifact(label, tasks, places, how)
        : await evaluateModel(await openCheckpoint(label, openFolder(label)), tasks, evaluation, how);
      return { plan: made.plan, results: scored.tasks, platform: places };
    },
  );
  const scores = results.map(({ name, value, correct, total }) => ({ task: name, value, correct, total }));
  const mean = scores.reduce((sum, { value }) => sum + value, 0) / scores.length;
  const merged = plan.tensors.filter(({ action }) => action === "merge");
  if (!isArtifact) return { tasks: scores, mean, stored: merged.reduce((sum, { length }) => sum + length, 0) };
  const bases = new Map((plan.experts ?? merged).map(({ name, base, entries }) => [name, { base, entries }]));
  const base = [...bases.values()].reduce(
    (sum, one) => sum + (one.base === null ? 0 : one.entries * DTYPE_BYTES[one.base.dtype]),
    0,
  );
  return { tasks: scores, mean, stored: storedBytes(await inspectArtifact(label, platform), base) };
}
