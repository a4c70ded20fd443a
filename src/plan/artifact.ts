/** How the parts of an artifact lie in its folder; docs/artifacts.md describes the whole. */
import { MergewrightError } from "../errors.js";
import { whereOf } from "../recipe/pattern.js";
import type { Method, Settings } from "../methods/method.js";
import { layerPathOf } from "../models/families.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Accounted, Unplaced } from "./tensors.js";
import type { PlannedTensor, SkippedTensor } from "./types.js";

/** Whether the result of a method is an artifact, not a checkpoint. */
export function makesArtifact({ masking, packing }: Pick<Method, "masking" | "packing">): boolean {
  return masking !== undefined || packing !== undefined;
}

/**
 * An artifact is read over the very tensors of a base that is stored somewhere.
 * @throws recipe/unsupported where a recipe asks for something else.
 */
export function checkArtifact(recipe: Recipe, isWritten: boolean): void {
  const { method, base, merges, layout, input, tokenizer, prune } = recipe;
  if (!makesArtifact(method)) return;
  const wrong =
    (!isWritten && "be the input of another merge; write it, and name a task of it as the model: ARTIFACT#TASK") ||
    (base !== null &&
      Object.hasOwn(merges, base) &&
      "be made over a merge that is not written; write the base first") ||
    (layout !== null && "be put together from slices") ||
    (input.dtype !== null && "be made of rounded inputs; leave out the dtype of the inputs") ||
    (prune !== null && method.packing !== undefined && "be pruned twice; leave out prune") ||
    (tokenizer !== null && "have another vocabulary than its base; merge the vocabularies first");
  if (wrong === false) return;
  throw new MergewrightError(`the result of ${method.name} is an artifact, which cannot ${wrong}`, {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, "method"),
  });
}

/** The vector that all tasks share. */
export const SHARED_FOLDER = "vectors/shared";

/** What every task has of its own, as `masks/TASK`. */
export function folderOf(part: "heads" | "masks" | "starts" | "vectors", task: string): string {
  return `${part}/${task}`;
}

/**
 * The masks of a model over the shared tensors that it has: one bit per entry.
 * @param shared the first tensors of the plan, in their order.
 */
export function masksOver(shared: readonly Unplaced[], model: number): Part[] {
  return shared.flatMap(({ name, entries, inputs }, over) => {
    const input = inputs.findIndex((candidate) => candidate.model === model);
    return input < 0 ? [] : [maskOver(name, entries, { over, input })];
  });
}

type Part = Unplaced & Pick<PlannedTensor, "mask" | "starts" | "packed">;

function maskOver(name: string, entries: number, mask: NonNullable<PlannedTensor["mask"]>): Part {
  return { ...partOf(name, "mask", "U8", Math.ceil(entries / 8)), mask };
}

function partOf(name: string, action: "mask" | "starts", dtype: "U8" | "U64", entries: number): Part {
  return {
    ...{ name, shape: [entries], entries, dtype, action },
    ...{ reason: "", base: null, inputs: [], extra: {}, settings: null, prune: null, tiedTo: null },
  };
}

/** How many entries of a model's pruned tensor are stored. */
export type KeptOf = (model: number, tensor: string) => number;

/** The parts of one model's changes where they are pruned and packed. */
export interface PackedParts {
  readonly vectors: readonly Part[];
  readonly masks: readonly Part[];
  readonly starts: readonly Part[];
}

/**
 * @param first index of the first vector in the plan.
 * @param keptOf `null` where nothing is known yet: the sizes are then what the method expects.
 */
export function packedParts(
  merged: readonly Unplaced[],
  { packing }: Method,
  model: number,
  first: number,
  keptOf: KeptOf | null,
): PackedParts {
  const vectors: Part[] = [];
  const masks: Part[] = [];
  const starts: Part[] = [];
  for (const tensor of merged) {
    const at = tensor.inputs.findIndex((candidate) => candidate.model === model);
    if (at < 0) continue;
    const { name, shape, entries } = tensor;
    const settings: Settings = { global: tensor.settings!.global, models: [tensor.settings!.models[at]!] };
    const own = { ...tensor, inputs: [tensor.inputs[at]!], settings };
    const layer = shape.length === 2 ? layerPathOf(name) : null;
    if (layer === null) {
      vectors.push(own);
      continue;
    }
    const over = first + vectors.length;
    const kept = keptOf === null ? Math.round(entries * packing!.expected(settings)) : keptOf(model, name);
    vectors.push({ ...own, shape: [kept], entries: kept, packed: { shape, entries, layer } });
    masks.push(maskOver(name, entries, { over, input: 0 }));
    starts.push({ ...partOf(name, "starts", "U64", Math.ceil(entries / ENTRIES_PER_START)), starts: { over } });
  }
  return { vectors, masks, starts };
}

/** Entries of a tensor between two starts of its packed vector: those of a block. */
const ENTRIES_PER_START = 262_144;

/** An artifact repeats nothing of the base: what is not merged comes from there when a task's model is made. */
export function leftToBase({ backbone }: Accounted, { method, base }: Recipe): SkippedTensor[] {
  if (!makesArtifact(method)) return [];
  return backbone
    .filter(({ action }) => action === "copy")
    .map(({ name, reason }) => ({
      model: base!,
      name,
      reason: reason.replace("copied from the base", "taken from the base when a task's model is made"),
    }));
}
