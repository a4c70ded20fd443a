/** What follows from importances of partitions once all tensors are known: how much of each is kept. */
import type { Importance, Values } from "../methods/method.js";
import type { Recipe } from "../recipe/recipe.js";
import { checkRows, prunesItself } from "./prune.js";
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
  const kept = densitiesOf((values, parts) => method.densities!(values, parts), tensors, partitions);
  return tensors.map((tensor) => {
    const { name, tiedTo, inputs, shape, settings } = tensor;
    const own = partitions.get(tiedTo ?? name);
    if (settings === null || own === undefined) return tensor;
    const importance = inputs.map(({ model }, index): Importance => {
      const { partition, changes } = own[index]!;
      return { changes, densities: kept.get(`${model} ${partition}`)! };
    });
    const known = { ...settings, importance };
    const cuts = method.prune?.(known, shape) ?? [];
    if (cuts.every((cut) => cut === null)) return { ...tensor, settings: known };
    if (tensor.prune !== null) throw prunesItself(recipe, name);
    checkRows(recipe, name, shape, cuts);
    return { ...tensor, settings: known, prune: cuts };
  });
}

/** A partition, or rows under one name, each of so many entries. */
interface Size {
  entries: number;
  readonly changes: readonly number[];
}

/** By model and partition, one or one per row; tied copies are no entries of their own. */
function densitiesOf(
  densities: (
    values: Values,
    of: readonly { readonly entries: number; readonly change: number }[],
  ) => readonly number[],
  tensors: readonly Decided[],
  partitions: ReadonlyMap<string, readonly PartitionChange[]>,
): ReadonlyMap<string, readonly number[]> {
  const models = new Map<number, Map<string, Size>>();
  let values: Values = {};
  for (const { name, tiedTo, inputs, entries, settings } of tensors) {
    const own = partitions.get(name);
    if (own === undefined || tiedTo !== null) continue;
    values = settings!.global;
    for (const [index, { model }] of inputs.entries()) {
      const { partition, changes } = own[index]!;
      const known = models.get(model) ?? new Map<string, Size>();
      models.set(model, known);
      const size = entries / changes.length;
      const sum = known.get(partition);
      if (sum === undefined) known.set(partition, { entries: size, changes });
      else sum.entries += size;
    }
  }
  const found = new Map<string, readonly number[]>();
  for (const [model, known] of models) {
    const parts = [...known.values()].flatMap(({ entries, changes }) => changes.map((change) => ({ entries, change })));
    const shares = densities(values, parts);
    let next = 0;
    for (const [partition, { changes }] of known) {
      found.set(`${model} ${partition}`, shares.slice(next, (next += changes.length)));
    }
  }
  return found;
}
