/** What follows from importances of partitions once all tensors are known: how much of each is kept. */
import type { Importance } from "../methods/method.js";
import type { Recipe } from "../recipe/recipe.js";
import { prunesItself } from "./prune.js";
import type { PartitionChange } from "./statistics.js";
import type { PlannedTensor } from "./types.js";

type Decided = Omit<PlannedTensor, "file" | "offset" | "length">;

/**
 * @param partitions by a tensor's name, one per element of its inputs.
 * @returns the tensors with importances among their settings, pruned as the method says of those.
 */
export function withImportances<T extends Decided>(
  recipe: Recipe,
  tensors: readonly T[],
  partitions: ReadonlyMap<string, readonly PartitionChange[]>,
): T[] {
  const { method } = recipe;
  if (method.grain !== "tile" || method.densities === undefined || partitions.size === 0) return [...tensors];
  const densities = densitiesOf(method.densities.bind(method), tensors, partitions);
  return tensors.map((tensor) => {
    const { name, tiedTo, inputs, shape, settings } = tensor;
    const own = partitions.get(tiedTo ?? name);
    if (settings === null || own === undefined) return tensor;
    const importance = inputs.map(({ model }, index): Importance => {
      const { partition, change } = own[index]!;
      return { change, density: densities.get(`${model} ${partition}`)! };
    });
    const known = { ...settings, importance };
    const cuts = method.prune?.(known, shape) ?? [];
    if (cuts.every((cut) => cut === null)) return { ...tensor, settings: known };
    if (tensor.prune !== null) throw prunesItself(recipe, name);
    return { ...tensor, settings: known, prune: cuts };
  });
}

/** By model and partition; tied copies are no entries of their own. */
function densitiesOf(
  densities: (
    values: NonNullable<Decided["settings"]>["global"],
    of: readonly { readonly entries: number; readonly change: number }[],
  ) => readonly number[],
  tensors: readonly Decided[],
  partitions: ReadonlyMap<string, readonly PartitionChange[]>,
): ReadonlyMap<string, number> {
  const models = new Map<number, Map<string, { entries: number; readonly change: number }>>();
  let values: NonNullable<Decided["settings"]>["global"] = {};
  for (const { name, tiedTo, inputs, entries, settings } of tensors) {
    const own = partitions.get(name);
    if (own === undefined || tiedTo !== null) continue;
    values = settings!.global;
    for (const [index, { model }] of inputs.entries()) {
      const { partition, change } = own[index]!;
      const known = models.get(model) ?? new Map<string, { entries: number; readonly change: number }>();
      models.set(model, known);
      const sum = known.get(partition);
      if (sum === undefined) known.set(partition, { entries, change });
      else sum.entries += entries;
    }
  }
  const found = new Map<string, number>();
  for (const [model, known] of models) {
    const shares = densities(values, [...known.values()]);
    for (const [index, partition] of [...known.keys()].entries()) found.set(`${model} ${partition}`, shares[index]!);
  }
  return found;
}
