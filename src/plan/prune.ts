/** What is cut from each model's change of a tensor, by the recipe's pruning or by the method's own. */
import { MergewrightError } from "../errors.js";
import type { Settings } from "../methods/method.js";
import { layerPartitionOf } from "../models/families.js";
import { cutScope, ranksRows, rowLength } from "../pruners/pruner.js";
import type { Cut } from "../methods/method.js";
import { type Place, pruningFor, whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import type { PlannedTensor } from "./types.js";

/** Rows that are pruned by rank are whole in the memory of a thread. */
const LONGEST_ROW = 2 ** 20;

/** @returns one per model, or `null` where nothing is cut from any. */
export function cutsOf(
  recipe: Recipe,
  place: Place,
  shape: readonly number[],
  settings: Settings,
): readonly (Cut | null)[] | null {
  const { name } = place;
  const { method } = recipe;
  const own = method.grain === "tile" ? method.prune?.(settings, shape) : undefined;
  const asked = wanted(recipe, place, shape);
  if (asked !== null && own?.some((cut) => cut !== null)) throw prunesItself(recipe, name);
  const cuts = asked ?? own ?? [];
  if (cuts.every((cut) => cut === null)) return null;
  if (method.grain !== "tile" && cutScope(cuts) !== null) throw unknownToMixtures(recipe, name);
  checkRows(recipe, name, shape, cuts);
  return cuts;
}

/** @throws plan/shape where rows do not fit into a thread's memory. */
export function checkRows(
  recipe: Recipe,
  tensor: string,
  shape: readonly number[],
  cuts: readonly (Cut | null)[],
): void {
  const ranked = cuts.some((cut) => cut !== null && (cut.kind === "rank" || ranksRows(cut, shape)));
  if (!ranked || rowLength(shape) <= LONGEST_ROW) return;
  throw new MergewrightError("a tensor has rows too long to be pruned by rank", {
    kind: "request",
    code: "plan/shape",
    where: { ...whereOf(recipe, "prune"), tensor },
    expected: `rows of at most ${LONGEST_ROW} entries`,
    found: `[${shape.join(", ")}]`,
    advice: "give its pattern a density of 1, or exclude it",
  });
}

export function prunesItself(recipe: Recipe, tensor: string): MergewrightError {
  return new MergewrightError(`${recipe.method.name} prunes by itself`, {
    kind: "request",
    code: "recipe/unsupported",
    where: { ...whereOf(recipe, "prune"), tensor },
    advice: "set the method's own parameters instead",
  });
}

/** What mixes reads runs of a tensor that are no blocks, so nothing that is known per block can be applied to them. */
function unknownToMixtures(recipe: Recipe, tensor: string): MergewrightError {
  return new MergewrightError(`${recipe.method.name} cannot be pruned this way`, {
    kind: "request",
    code: "recipe/unsupported",
    where: { ...whereOf(recipe, "prune"), tensor },
    expected: "prune by random or rank, with rescale none or inverse",
  });
}

function wanted(recipe: Recipe, place: Place, shape: readonly number[]) {
  const { prune } = recipe;
  const values = pruningFor(recipe, place);
  if (prune === null || values === null) return null;
  return values.map((one) => {
    const fault = prune.pruner.check?.(one) ?? null;
    if (fault === null) return prune.pruner.cut(one, shape);
    throw new MergewrightError(fault, {
      kind: "request",
      code: "recipe/out-of-range",
      where: { ...whereOf(recipe, "prune"), tensor: place.name },
    });
  });
}

/**
 * Ranks over a model's whole change, or a layer's, follow from values that hold for all of its tensors.
 * @returns the first tensor where they differ, or `null`.
 */
export function unevenCut(
  merged: readonly Pick<PlannedTensor, "name" | "inputs" | "prune" | "tiedTo">[],
): string | null {
  const bands = new Map<string, string>();
  for (const { name, inputs, prune, tiedTo } of merged) {
    if (tiedTo !== null) continue;
    for (const [input, { model }] of inputs.entries()) {
      const cut = prune?.[input];
      if (cut?.kind !== "band" || cut.scope === "tensor") continue;
      const text = JSON.stringify(cut);
      const key = `${model} ${cut.scope === "layer" ? layerPartitionOf(name) : ""}`;
      if ((bands.get(key) ?? text) !== text) return name;
      bands.set(key, text);
    }
  }
  return null;
}

/** Passes over the inputs that finding out what the cuts need takes. */
export function cutPasses(merged: readonly Pick<PlannedTensor, "prune">[]): number {
  const cuts = merged.flatMap(({ prune }) => prune ?? []);
  const bands = cuts.some((cut) => cut?.kind === "band") ? 2 : 0;
  return bands + (cuts.some((cut) => cut?.rescale === "norm") ? 1 : 0);
}
