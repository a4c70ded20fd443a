/** How the parts of an artifact lie in its folder; docs/artifacts.md describes the whole. */
import { MergewrightError } from "../errors.js";
import { whereOf } from "../recipe/pattern.js";
import type { ExpertForm, Method, Settings } from "../methods/method.js";
import { layerPathOf } from "../models/families.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Accounted, PlannedTensor, SkippedTensor, Unplaced } from "./types.js";

/** Whether the result of a method is an artifact, not a checkpoint. */
export function makesArtifact({ masking, packing, experts }: Pick<Method, "masking" | "packing" | "experts">): boolean {
  return masking !== undefined || packing !== undefined || experts !== undefined;
}

/**
 * An artifact is read over the very tensors of a base that is stored somewhere.
 * @throws recipe/unsupported where a recipe asks for something else.
 */
export function checkArtifact(recipe: Recipe, isWritten: boolean): void {
  const { method, base, merges, layout, input, tokenizer, prune } = recipe;
  if (!makesArtifact(method)) return;
  const wrong =
    (!isWritten &&
      !isOneModel(recipe) &&
      "be the input of another merge, because it holds a model for each task; write it, and name one of them as the model: ARTIFACT#TASK") ||
    (base !== null &&
      Object.hasOwn(merges, base) &&
      "be made over a merge that is not written; write the base first") ||
    (layout !== null && "be put together from slices") ||
    (input.dtype !== null && "be made of rounded inputs; leave out the dtype of the inputs") ||
    (prune !== null && method.experts !== undefined && "be made of pruned changes; leave out prune") ||
    (method.experts !== undefined &&
      recipe.models.some(({ model }) => Object.hasOwn(merges, model)) &&
      "be made of merges that are not written; write them first") ||
    (prune !== null && method.packing !== undefined && "be pruned twice; leave out prune") ||
    (tokenizer !== null && "have another vocabulary than its base; merge the vocabularies first");
  if (wrong === false) return;
  throw new MergewrightError(`the result of ${method.name} is an artifact, which cannot ${wrong}`, {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, "method"),
  });
}

/** Whether it is plain which model an artifact stands for: the only one, whose packed change is added to the base. */
function isOneModel({ method, models }: Recipe): boolean {
  return method.packing !== undefined && models.length === 1;
}

/** The shared model that experts are added to. */
export const MODEL_FOLDER = "models/shared";

/** The vector that all tasks share. */
export const SHARED_FOLDER = "vectors/shared";

/** What every task has of its own, as `masks/TASK`. */
export function folderOf(part: "heads" | ExpertPart, task: string): string {
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

/** What of an expert lies in which folder. */
export type ExpertPart = "vectors" | "masks" | "starts" | "left" | "values" | "right" | "gates";
export const EXPERT_PARTS: readonly ExpertPart[] = ["vectors", "masks", "starts", "left", "values", "right", "gates"];

/** How one tensor of an expert is stored. */
export interface ExpertSize {
  readonly kind: "none" | "whole" | "factors" | "packed";
  /** Of the factors. */
  readonly rank: number;
  /** Rows of the gate; 0: there is none. */
  readonly gate: number;
  /** Entries under the mask, where it is packed. */
  readonly kept: number;
}

/** How each tensor of each expert is stored, once it is known. */
export type ExpertOf = (model: number, tensor: string) => ExpertSize;

/** The form in which a method keeps the change of each tensor. */
export function expertForms(merged: readonly Unplaced[], recipe: Recipe): ReadonlyMap<string, ExpertForm> {
  const isMatrix = ({ name, shape }: Pick<Unplaced, "name" | "shape">) =>
    shape.length === 2 && layerPathOf(name) !== null;
  const matrices = new Set(merged.filter(isMatrix).map(({ name }) => name));
  return new Map(
    merged.map((tensor) => {
      const { name, shape, settings } = tensor;
      const isBias = name.endsWith(".bias") && matrices.has(`${name.slice(0, -".bias".length)}.weight`);
      const layerPart = matrices.has(name) ? "matrix" : isBias ? "bias" : null;
      const form = recipe.method.experts!.form(settings!, { name, shape, layerPart });
      checkRanks(form, tensor, recipe);
      return [name, form] as const;
    }),
  );
}

/** @throws recipe/out-of-range for ranks that a matrix does not have. */
function checkRanks(form: ExpertForm, { name, shape }: Unplaced, recipe: Recipe): void {
  const asked: (readonly [string, number])[] = [];
  if (form.kind === "factors" && typeof form.rank === "number") asked.push(["rank", form.rank]);
  if ((form.kind === "factors" || form.kind === "whole") && form.gate !== undefined)
    asked.push(["gate_rank", form.gate]);
  const most = Math.min(...shape);
  for (const [parameter, rank] of asked) {
    if (rank <= most) continue;
    throw new MergewrightError(`${parameter} is beyond the rank of a matrix`, {
      kind: "request",
      code: "recipe/out-of-range",
      where: { ...whereOf(recipe, `parameters.${parameter}`), tensor: name },
      expected: `at most ${most}, the smaller side of ${shape.join(" x ")}`,
      found: String(rank),
      advice: `lower it, or give this tensor a value of its own: ${parameter}: { "${name}": ${most}, default: ${rank} }`,
    });
  }
}

/** What is expected of a tensor before it is read. */
export function expectedSize(form: ExpertForm, { shape, entries }: Pick<Unplaced, "shape" | "entries">): ExpertSize {
  const none = { rank: 0, gate: 0, kept: 0 };
  switch (form.kind) {
    case "none":
      return { kind: "none", ...none };
    case "whole":
      return { kind: "whole", ...none, gate: form.gate ?? 0 };
    case "factors": {
      // How many a share of the energy takes is not known yet; half of the share of the full rank is a fair guess.
      const rank = typeof form.rank === "number" ? form.rank : Math.ceil((form.rank.energy / 2) * Math.min(...shape));
      return { kind: "factors", ...none, rank, gate: form.gate };
    }
    case "largest":
      return { kind: "packed", ...none, kept: form.kept };
    case "chance":
      return { kind: "packed", ...none, kept: Math.round(entries * form.density) };
  }
}

/** The parts of one model's expert, by folder. @param expertOf `null`: before anything is read. */
export function expertParts(
  merged: readonly Unplaced[],
  forms: ReadonlyMap<string, ExpertForm>,
  model: number,
  expertOf: ExpertOf | null,
): Readonly<Record<ExpertPart, readonly Unplaced[]>> {
  const parts: Record<ExpertPart, Unplaced[]> = {
    ...{ vectors: [], masks: [], starts: [] },
    ...{ left: [], values: [], right: [], gates: [] },
  };
  for (const tensor of merged) {
    if (!tensor.inputs.some((candidate) => candidate.model === model)) continue;
    const { name, shape, entries, dtype } = tensor;
    const size = expertOf?.(model, name) ?? expectedSize(forms.get(name)!, tensor);
    const put = (part: ExpertPart, ownShape: readonly number[], own: Dtype) =>
      parts[part].push(expertPart(tensor, ownShape, own, model));
    const [rows = 0, columns = 0] = shape;
    if (size.kind === "whole") put("vectors", shape, dtype);
    if (size.kind === "packed") {
      put("vectors", [size.kept], dtype);
      put("masks", [Math.ceil(entries / 8)], "U8");
      put("starts", [Math.ceil(entries / ENTRIES_PER_START)], "U64");
    }
    if (size.kind === "factors") {
      put("left", [rows, size.rank], dtype);
      put("values", [size.rank], "F32");
      put("right", [size.rank, columns], dtype);
    }
    if (size.gate > 0) put("gates", [size.gate, columns], dtype);
  }
  return parts;
}

function expertPart(tensor: Unplaced, shape: readonly number[], dtype: Dtype, model: number): Unplaced {
  const { name, base, inputs, tiedTo } = tensor;
  return {
    ...{ name, shape, entries: entriesOf(shape), dtype, action: "expert", reason: "", base, tiedTo },
    inputs: inputs.filter((input) => input.model === model),
    ...{ extra: {}, settings: null, prune: null },
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
    const layer = prunedIn(tensor);
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

/** The layer of a matrix that packing prunes; `null` for a tensor that stays whole. */
function prunedIn({ name, shape }: Unplaced): string | null {
  return shape.length === 2 ? layerPathOf(name) : null;
}

/** The tensors of a packing merge that is an input: those that are pruned say so, and all have their own shape. */
export function unpackedTensors(backbone: readonly Unplaced[]): Part[] {
  return backbone.map((tensor) => {
    const layer = tensor.action === "merge" ? prunedIn(tensor) : null;
    const { shape, entries } = tensor;
    return layer === null ? tensor : { ...tensor, packed: { shape, entries, layer } };
  });
}

/** Entries of a tensor between two starts of its packed vector: those of a block. */
const ENTRIES_PER_START = 262_144;

/** An artifact repeats nothing of the base: what is not merged comes from there when a task's model is made. */
export function leftToBase({ backbone }: Accounted, recipe: Recipe, isWritten: boolean): SkippedTensor[] {
  const { method, base } = recipe;
  if (!isWritten || !makesArtifact(method) || method.experts?.over === "merge") return [];
  if (method.experts !== undefined) return unchanged(backbone, recipe);
  return backbone
    .filter(({ action }) => action === "copy")
    .map(({ name, reason }) => ({
      model: base!,
      name,
      reason: reason.replace("copied from the base", "taken from the base when a task's model is made"),
    }));
}

/** What experts over the base leave out. */
function unchanged(backbone: readonly Unplaced[], recipe: Recipe): SkippedTensor[] {
  const merged = backbone.filter(({ action }) => action === "merge");
  const forms = expertForms(merged, recipe);
  return backbone.flatMap(({ name, action, reason }) => {
    if (action !== "merge") return [{ model: recipe.base!, name, reason: reason.replace("copied", "taken") }];
    return forms.get(name)!.kind === "none"
      ? [{ model: recipe.base!, name, reason: "no linear layer inside the network; stays the base's" }]
      : [];
  });
}
