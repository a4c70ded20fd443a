import type { Checkpoint } from "./models/model.js";
import { openCoefficients } from "./plan/coefficients.js";
import { mergedCheckpoint, mergeKey, planIntermediate } from "./plan/intermediate.js";
import { withOwnHeads } from "./models/untied.js";
import { openStatistics } from "./plan/open_statistics.js";
import type { OpenInputs, OpenMerge } from "./plan/types.js";
import type { Recipe } from "./recipe/recipe.js";
import { withVocabulary } from "./tokenizers/wrap.js";

/**
 * Opens a checkpoint by what the user wrote: a path, an address, or `ARTIFACT#TASK` for a task's model.
 * @param base what an artifact is read over, instead of the base that it names.
 */
export type OpenModel = (label: string, base?: string | null) => Promise<Checkpoint>;

/**
 * Opens every checkpoint that a recipe names; the headers of all are read and checked. Merges that stand in the place of
 * checkpoints are planned, equal ones once.
 */
export async function openInputs(recipe: Recipe, open: OpenModel): Promise<OpenInputs & { close(): Promise<void> }> {
  const opened: Checkpoint[] = [];
  const close = async () => {
    for (const checkpoint of opened) await checkpoint.close();
  };
  const openStored: OpenModel = async (label, over) => {
    const checkpoint = await open(label, over);
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    return { ...(await openAll(recipe, openStored, new Map())), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @param known merges opened so far, by key. */
async function openAll(recipe: Recipe, openStored: OpenModel, known: Map<string, OpenMerge>): Promise<OpenInputs> {
  const merges = new Set<OpenMerge>();
  const storedBase = recipe.base !== null && !Object.hasOwn(recipe.merges, recipe.base) ? recipe.base : null;
  const openOne = async (label: string) => {
    if (!Object.hasOwn(recipe.merges, label)) return openStored(label, label === recipe.base ? null : storedBase);
    const merge = await openMerge(recipe.merges[label]!, openStored, known);
    for (const inner of merge.inputs.merges) merges.add(inner);
    merges.add(merge);
    return mergedCheckpoint(merge, label);
  };
  const all: Checkpoint[] = [];
  for (const label of [...(recipe.base === null ? [] : [recipe.base]), ...recipe.models.map(({ model }) => model)]) {
    all.push(await openOne(label));
  }
  const seen = recipe.compat === "strict" ? all : withOwnHeads(all);
  const base = recipe.base === null ? null : seen[0]!;
  const models = recipe.base === null ? seen : seen.slice(1);
  const extra: Record<string, Checkpoint> = {};
  for (const [name, { value }] of Object.entries(recipe.parameters)) {
    if (recipe.method.parameters[name]?.type === "checkpoint" && value !== null)
      extra[name] = await openOne(String(value));
  }
  const coefficients =
    recipe.coefficients === null ? null : await openCoefficients(recipe, { base, models }, openStored);
  const statistics = await openStatistics(recipe, { base, models }, openStored);
  const own = { base, models, extra, merges: [...merges], coefficients };
  return { ...(await withVocabulary(recipe, own, openOne)), ...(statistics !== null && { statistics }) };
}

async function openMerge(recipe: Recipe, openStored: OpenModel, known: Map<string, OpenMerge>): Promise<OpenMerge> {
  const key = mergeKey(recipe);
  const merge = known.get(key) ?? planIntermediate(recipe, await openAll(recipe, openStored, known));
  known.set(key, merge);
  return merge;
}
