/**
 * How fine-tuned models relate to their base and to each other: how far each went, in which directions, and how often
 * their signs disagree before and after the TIES trim. Everything is taken over the tensors that a merge with the same
 * exclusions would merge; the plan of such a merge does the accounting.
 */
import { MergewrightError } from "../errors.js";
import type { Crew } from "../execute/crew.js";
import { Gatherer, statisticsBytes } from "../execute/gather.js";
import { setupOf } from "../execute/setup.js";
import type { Tuning, WorkSetup } from "../execute/setup.js";
import { openInputs } from "../inputs.js";
import type { Relations, SignCounts } from "../kernels/relations/definition.js";
import { methods } from "../methods/catalogue.js";
import type { ThresholdValue } from "../methods/method.js";
import { layerOf, roleOf } from "../models/families.js";
import type { TensorRole } from "../models/families.js";
import { CompensatedSum } from "../numbers/sums.js";
import { makePlan } from "../plan/plan.js";
import type { Plan, SkippedTensor } from "../plan/types.js";
import { recipeFromOptions } from "../recipe/options.js";
import type { Recipe } from "../recipe/recipe.js";
import type { AnalysisOptions, ReadingPlatform } from "./platform.js";
import { metered, runOver } from "./reading.js";

export interface CompareOptions extends AnalysisOptions {
  /** Share of every task vector's entries that the trim keeps, the largest; default 0.2. */
  readonly density?: number;
  /** Patterns of tensors to leave out, e.g. `classifier.*`. */
  readonly exclude?: readonly string[];
  readonly tuning?: Tuning;
}

export interface Comparison {
  /** As the caller wrote it. */
  readonly base: string;
  readonly models: readonly ComparedModel[];
  /** Compared tensors in the order of the base's bytes; tied copies are counted once. */
  readonly tensors: readonly ComparedTensor[];
  /** Entries of all compared tensors: the columns of the sign counts. */
  readonly entries: number;
  readonly density: number;
  /** Dot products of the task vectors, in model order. */
  readonly gram: readonly (readonly number[])[];
  /** gram[i][j] / (norm i · norm j); NaN where a task vector is zero or holds NaN. */
  readonly cosine: readonly (readonly number[])[];
  /** For the first 2, 3, … models. */
  readonly signs: readonly SignFigures[];
  /** Tensors of the base that are not compared, and why. */
  readonly leftOut: readonly { readonly name: string; readonly reason: string }[];
  /** Tensors of models that are not compared, and why. */
  readonly skipped: readonly SkippedTensor[];
  readonly warnings: readonly string[];
}

/** Figures of a task vector, or of its part in one tensor. */
export interface ChangeFigures {
  /** L2. */
  readonly norm: number;
  /** Entries that are exactly zero. */
  readonly zeros: number;
  /** Largest |entry|; NaN where there is a NaN. */
  readonly largest: number;
  readonly nonFinite: number;
}

export interface ComparedModel extends ChangeFigures {
  readonly name: string;
  /** As the caller wrote it. */
  readonly label: string;
  /** Zero entries in all entries. */
  readonly zeroShare: number;
  /** Of the trim: the smallest magnitude kept, the entries kept, and the share of the squared norm that they hold (NaN of nothing). */
  readonly threshold: number;
  readonly kept: number;
  readonly keptEnergy: number;
}

export interface ComparedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly entries: number;
  readonly layer: number | null;
  readonly role: TensorRole;
  /** In model order. */
  readonly models: readonly ChangeFigures[];
}

export interface SignFigures {
  /** How many models, from the first on. */
  readonly models: number;
  readonly untrimmed: ConflictFigures;
  readonly trimmed: ConflictFigures;
}

export interface ConflictFigures {
  /** Columns that hold both signs. */
  readonly conflicts: number;
  /** Columns with a sign in two or more models. */
  readonly shared: number;
  /** conflicts in all columns. */
  readonly share: number;
  /** conflicts in shared columns; 0 where there are none. */
  readonly shareOfShared: number;
}

/** Pairs are kept in kernel memory; 128 models have 8256. */
const MOST_MODELS = 128;
export const DEFAULT_DENSITY = 0.2;

/**
 * @param base label of the checkpoint that the models were fine-tuned from.
 * @param models their labels; results are in this order.
 * @throws plan/missing-tensor, plan/shape, plan/dtype, plan/nothing-to-merge, recipe/models, recipe/out-of-range,
 * recipe/pattern, and whatever opening a checkpoint throws.
 */
export async function compareModels(
  base: string,
  models: readonly string[],
  platform: ReadingPlatform,
  options: CompareOptions,
): Promise<Comparison> {
  if (models.length > MOST_MODELS) {
    throw new MergewrightError("these are more models than can be compared at once", {
      kind: "request",
      code: "recipe/models",
      expected: `at most ${MOST_MODELS}`,
      found: String(models.length),
      advice: "compare them in groups",
    });
  }
  const recipe = recipeOf(base, models, options);
  const inputs = await openInputs(recipe, platform.openModel);
  try {
    const plan = makePlan(recipe, inputs);
    const setup = setupOf(plan, (file) => file, options.tuning);
    const measured = await measure(plan, setup, recipe, platform, options);
    return figuresOf(plan, recipe, measured);
  } finally {
    await inputs.close();
  }
}

/** The merge that these models would have: TIES as in the paper. */
function recipeOf(
  base: string,
  models: readonly string[],
  { density = DEFAULT_DENSITY, exclude }: CompareOptions,
): Recipe {
  return recipeFromOptions(
    // Results are not written, so no format of theirs needs a warning.
    { method: "ties/paper", base, models, exclude, parameters: [`density=${density}`], dtype: "float32" },
    { methods },
  );
}

interface Measured {
  /** Indices into the plan's tensors. */
  readonly compared: readonly number[];
  readonly threshold: ThresholdValue;
  /** Per compared tensor, per block. */
  readonly parts: readonly (readonly Relations[])[];
}

async function measure(
  plan: Plan,
  setup: WorkSetup,
  recipe: Recipe,
  platform: ReadingPlatform,
  { threads, progress }: CompareOptions,
): Promise<Measured> {
  const compared = [...plan.tensors.keys()].filter((index) => isCompared(plan, index));
  const models = recipe.models.length;
  const bytes = statisticsBytes(models, "model");
  const crew = await platform.createCrew(setup, threads, bytes);
  try {
    const watched = metered(crew, setup, { tensors: compared, passes: 2, phase: "statistics" }, progress);
    const threshold = await findThresholds(plan, setup, recipe, compared, watched);
    const parts = await runOver(watched, setup, compared, "relations", { thresholds: threshold.thresholds });
    return { compared, threshold, parts };
  } finally {
    await crew.close();
  }
}

function isCompared({ tensors }: Plan, index: number): boolean {
  return tensors[index]!.action === "merge" && tensors[index]!.tiedTo === null;
}

async function findThresholds(
  plan: Plan,
  setup: WorkSetup,
  { method, models }: Recipe,
  compared: readonly number[],
  crew: Crew,
): Promise<ThresholdValue> {
  if (method.grain !== "tile") throw new RangeError("ties is made of tiles");
  const need = method.needs(plan.tensors[compared[0]!]!.settings!, {});
  if (need?.statistic !== "threshold") throw new RangeError("the trim of ties begins with a threshold");
  const gatherer = new Gatherer(crew, setup.tensors, { tensors: compared }, models.length, "model", crew.statistics);
  const { known } = await gatherer.gather((known) => (known.threshold === undefined ? need : null));
  return known.threshold!;
}

function figuresOf(plan: Plan, recipe: Recipe, { compared, threshold, parts }: Measured): Comparison {
  const all = parts.flat();
  const entries = compared.reduce((sum, index) => sum + plan.tensors[index]!.entries, 0);
  const gram = gramOf(all, recipe.models.length);
  const models = recipe.models.map(({ name, model }, i): ComparedModel => {
    const figures = changeFigures(all, i, recipe.models.length);
    const keptEnergy = sumParts(all, (part) => part.models[i]!.keptEnergy) / gram[i]![i]!;
    return {
      name,
      label: model,
      ...figures,
      zeroShare: figures.zeros / entries,
      threshold: threshold.thresholds[i]!,
      kept: threshold.kept[i]!,
      keptEnergy,
    };
  });
  const tensors = compared.map((index, at): ComparedTensor => {
    const { name, shape, entries } = plan.tensors[index]!;
    const figures = recipe.models.map((_, i) => changeFigures(parts[at]!, i, recipe.models.length));
    return { name, shape, entries, layer: layerOf(name), role: roleOf(name), models: figures };
  });
  return {
    base: recipe.base!,
    models,
    tensors,
    entries,
    density: Number(recipe.parameters.density!.value),
    gram,
    cosine: gram.map((row, i) => row.map((_, j) => cosineOf(gram, i, j))),
    signs: signFigures(all, recipe.models.length, entries),
    leftOut: leftOut(plan),
    skipped: plan.skipped,
    warnings: [...plan.warnings, ...warnOfNonFinite(models)],
  };
}

/** Blocks in order, so that the last bit depends on neither threads nor tiles. */
function sumParts(parts: readonly Relations[], valueOf: (part: Relations) => number): number {
  const sum = new CompensatedSum();
  for (const part of parts) sum.add(valueOf(part));
  return sum.value;
}

function gramOf(parts: readonly Relations[], models: number): number[][] {
  const gram = Array.from({ length: models }, () => Array.from({ length: models }, () => 0));
  for (let i = 0; i < models; i++) {
    for (let j = i; j < models; j++) {
      gram[i]![j] = gram[j]![i] = sumParts(parts, ({ dots }) => dots[pairIndex(i, j, models)]!);
    }
  }
  return gram;
}

function cosineOf(gram: readonly (readonly number[])[], i: number, j: number): number {
  const [a, b] = [gram[i]![i]!, gram[j]![j]!];
  // Two roots would make a vector's cosine with itself miss 1 in the last bit.
  return i === j ? a / b : gram[i]![j]! / (Math.sqrt(a) * Math.sqrt(b));
}

/** Place of (i, j), i ≤ j, among the pairs row by row. */
function pairIndex(i: number, j: number, models: number): number {
  return i * models - (i * (i - 1)) / 2 + (j - i);
}

function changeFigures(parts: readonly Relations[], model: number, models: number): ChangeFigures {
  let [zeros, largest, nonFinite] = [0, 0, 0];
  for (const part of parts) {
    const own = part.models[model]!;
    zeros += own.zeros;
    nonFinite += own.nonFinite;
    largest = Math.max(largest, own.largest);
  }
  const pair = pairIndex(model, model, models);
  return { norm: Math.sqrt(sumParts(parts, ({ dots }) => dots[pair]!)), zeros, largest, nonFinite };
}

function signFigures(parts: readonly Relations[], models: number, columns: number): SignFigures[] {
  return Array.from({ length: models - 1 }, (_, at) => {
    const last = at + 1;
    return {
      models: last + 1,
      untrimmed: conflictFigures(
        parts.map((part) => part.models[last]!.signs),
        columns,
      ),
      trimmed: conflictFigures(
        parts.map((part) => part.models[last]!.keptSigns),
        columns,
      ),
    };
  });
}

function conflictFigures(counts: readonly SignCounts[], columns: number): ConflictFigures {
  const conflicts = counts.reduce((sum, count) => sum + count.conflicts, 0);
  const shared = counts.reduce((sum, count) => sum + count.shared, 0);
  return { conflicts, shared, share: conflicts / columns, shareOfShared: shared === 0 ? 0 : conflicts / shared };
}

function leftOut(plan: Plan): { name: string; reason: string }[] {
  return plan.tensors.flatMap(({ name, reason }, index) =>
    // The rest of the reason tells what a merge would do with the tensor.
    isCompared(plan, index) ? [] : [{ name, reason: reason.split("; ")[0]! }],
  );
}

function warnOfNonFinite(models: readonly ComparedModel[]): string[] {
  return models.flatMap(({ name, nonFinite }) =>
    nonFinite === 0
      ? []
      : [`${name}: ${nonFinite} changes are NaN or infinite; figures that they enter are not finite`],
  );
}
