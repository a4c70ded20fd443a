/**
 * LiNeS' alpha where it does not follow from the recipe: the merge is made once with lambda 1, as an inner merge that nobody
 * writes, and read beside its models for two L1 norms.
 */
import { MergewrightError } from "../errors.js";
import { taskArithmetic } from "../methods/task_arithmetic.js";
import { sumOf } from "../numbers/sums.js";
import { mergedCheckpoint, planIntermediate } from "../plan/intermediate.js";
import { measuresAlpha } from "../plan/lines.js";
import { makePlan } from "../plan/plan.js";
import type { OpenInputs, Plan } from "../plan/types.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe, RecipeModel } from "../recipe/recipe.js";
import { blocksOf } from "./blocks.js";
import type { Journal } from "./journal.js";
import { meterStatistics } from "./meter.js";
import type { RunOptions } from "./run.js";
import { setupOf } from "./setup.js";
import type { Settled, Tuning } from "./setup.js";

/** The label of the merge with lambda 1. */
const MERGED = "the merge before lines";
/** The journal's key. */
const NOTE = "alpha of lines";

/** Sums of magnitudes over all merged tensors. */
interface LineNorms {
  /** Of the sum of the models' changes. */
  readonly sum: number;
  /** Of the merged change with lambda 1. */
  readonly merged: number;
}

/** The models and their merge side by side: what is read to measure alpha; `null` where nothing is to be measured. */
export function planMeasuring(recipe: Recipe, inputs: OpenInputs): Plan | null {
  if (!measuresAlpha(recipe)) return null;
  const merge = planIntermediate(unscaled(recipe), inputs);
  const plain = ({ model, name }: Pick<RecipeModel, "model" | "name">): RecipeModel => {
    return { model, name, parameters: {}, prune: {} };
  };
  const parameters = Object.entries(taskArithmetic.parameters).map(
    ([name, { default: value }]) => [name, { value, patterns: [] }] as const,
  );
  const beside: Recipe = {
    ...recipe,
    method: taskArithmetic,
    dialect: Object.keys(taskArithmetic.dialects)[0]!,
    models: [...recipe.models.map(plain), plain({ model: MERGED, name: MERGED })],
    parameters: Object.fromEntries(parameters),
    ...{ prune: null, lines: null, coefficients: null, tokenizer: null, notes: [] },
  };
  const open: OpenInputs = {
    base: inputs.base,
    models: [...inputs.models, mergedCheckpoint(merge, MERGED)],
    extra: {},
    merges: [...inputs.merges, merge],
  };
  return makePlan(beside, open, { isWritten: false });
}

/** With lambda 1 in every tensor, whatever the recipe says of it. */
function unscaled(recipe: Recipe): Recipe {
  const without = (model: RecipeModel): RecipeModel => {
    const { lambda: _, ...parameters } = model.parameters;
    return { ...model, parameters };
  };
  return {
    ...recipe,
    models: recipe.models.map(without),
    parameters: { ...recipe.parameters, lambda: { value: 1, patterns: [] } },
    output: { ...recipe.output, dtype: "F32" },
    ...{ lines: null, notes: [] },
  };
}

export interface MeasureOptions extends Pick<RunOptions, "createCrew" | "progress"> {
  readonly tuning?: Tuning;
  readonly settled: ReadonlyMap<string, Settled>;
}

/**
 * The recipe with its alpha, and a sentence on where that comes from.
 * @param plan by `planMeasuring`.
 * @throws values/no-mixture where one of the norms is zero.
 */
export async function withMeasuredAlpha(
  recipe: Recipe,
  plan: Plan,
  journal: Journal,
  options: MeasureOptions,
): Promise<{ readonly recipe: Recipe; readonly told: string }> {
  const norms = (journal.notes.get(NOTE) as LineNorms | undefined) ?? (await measure(plan, options));
  if (!journal.notes.has(NOTE)) journal.recordNote(NOTE, norms);
  const count = recipe.models.length;
  const alpha = norms.sum / norms.merged / count;
  if (norms.sum === 0 || norms.merged === 0) throw nothingToMeasure(recipe, norms);
  const told =
    `alpha of lines is ${alpha}: the L1 norm ${norms.sum.toPrecision(6)} of the sum of the changes over ${norms.merged.toPrecision(6)} of the merged ` +
    `change with lambda 1, divided by ${count}`;
  return { recipe: { ...recipe, lines: { ...recipe.lines!, alpha } }, told };
}

async function measure(plan: Plan, { createCrew, progress, tuning, settled }: MeasureOptions): Promise<LineNorms> {
  const setup = setupOf({ ...plan, files: [] }, (file) => file, tuning, settled);
  const crew = meterStatistics(await createCrew(setup, 0), setup, progress);
  try {
    const blocks = plan.tensors.flatMap(({ action, tiedTo, entries }, index) =>
      action === "merge" && tiedTo === null ? blocksOf(index, entries) : [],
    );
    const parts = await crew.run({ job: "lineNorms", blocks, args: null });
    return { sum: sumOf(parts.map(([sum]) => sum)), merged: sumOf(parts.map(([, merged]) => merged)) };
  } finally {
    await crew.close();
  }
}

function nothingToMeasure(recipe: Recipe, { sum, merged }: LineNorms): MergewrightError {
  return new MergewrightError("alpha of lines has no value for this merge", {
    kind: "request",
    code: "values/no-mixture",
    where: whereOf(recipe, "lines"),
    found: merged === 0 ? "a merged change of nothing but zeros" : `changes whose sum is ${sum} everywhere`,
    advice: "write lines: {alpha: …, beta: …}, or check that the models differ from the base",
  });
}
