import { MergewrightError } from "../errors.js";
import type { Method } from "../methods/method.js";
import { tiedGroups } from "../models/families.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { DTYPE_BYTES, entriesOf, isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import { dropsFor, isExcluded, settingsFor, whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { isMerged } from "./streams.js";
import type { PlannedTensor, SkippedTensor, Stream } from "./types.js";

/** A planned tensor before it has a place in a file. */
export type Unplaced = Omit<PlannedTensor, "file" | "offset" | "length">;

export interface Accounted {
  /** The merged backbone, in the order of the reference checkpoint's bytes. */
  readonly backbone: readonly Unplaced[];
  /** With `heads: separate`: per model, its own copies of the excluded tensors. */
  readonly heads: readonly { readonly model: number; readonly tensors: readonly Unplaced[] }[];
  readonly skipped: readonly SkippedTensor[];
  readonly warnings: readonly string[];
}

/** Finds the stream of a stored tensor; index of its shard's source in the plan. */
export type StreamOf = (checkpoint: Checkpoint, tensor: StoredTensor) => Stream;

interface Context {
  readonly recipe: Recipe;
  readonly base: Checkpoint | null;
  readonly models: readonly Checkpoint[];
  /** Checkpoints named by parameters, by role. */
  readonly extra: Readonly<Record<string, Checkpoint>>;
  readonly streamOf: StreamOf;
  /** False for a merge that is only an input; see PlanOptions. */
  readonly isWritten: boolean;
}

/** Decides what happens to every tensor of every input. */
export function accountTensors(context: Context): Accounted {
  const { recipe, base, models, isWritten } = context;
  const reference = base ?? models[0]!;
  const tied = tiesOf(reference, models);
  const warnings: string[] = [];
  const excluded = new Set<string>();
  const backbone: Unplaced[] = [];
  for (const tensor of inFileOrder(reference)) {
    if (isExcluded(recipe, tensor.name)) {
      excluded.add(tensor.name);
      if (recipe.heads === "base")
        backbone.push(copyOf(context, tensor, "excluded by the recipe; copied from the base"));
    } else if (!isFloat(tensor.dtype)) {
      backbone.push(copyOf(context, tensor, `${tensor.dtype} is not merged; copied from the base`));
    } else {
      backbone.push(mergeOf(context, tensor, tied, warnings));
    }
  }
  const skipped = models.flatMap((model, index) => skippedOf(context, model, index, tied));
  warnings.push(...warnOfSkipped(skipped), ...warnOfNarrowing(context, backbone));
  return { backbone, heads: isWritten && recipe.heads === "separate" ? headsOf(context) : [], skipped, warnings };
}

interface Ties {
  readonly primaryOf: ReadonlyMap<string, string>;
  readonly groupOf: ReadonlyMap<string, readonly string[]>;
}

/** By the reference's config, over the names of all: a copy that only some models store has its group too. */
function tiesOf(reference: Checkpoint, models: readonly Checkpoint[]): Ties {
  const primaryOf = new Map<string, string>();
  const groupOf = new Map<string, readonly string[]>();
  const names = new Set([reference, ...models].flatMap(({ tensors }) => [...tensors.keys()]));
  for (const { primary, aliases } of tiedGroups(reference.config, names)) {
    const group = [primary, ...aliases];
    for (const name of group) groupOf.set(name, group);
    const present = group.filter((name) => reference.tensors.has(name));
    for (const name of present.slice(1)) primaryOf.set(name, present[0]!);
  }
  return { primaryOf, groupOf };
}

/** By shard and position, so that a merge reads its inputs from front to back. */
function inFileOrder(checkpoint: Checkpoint): StoredTensor[] {
  return [...checkpoint.tensors.values()].sort((a, b) => a.shard - b.shard || a.offset - b.offset);
}

function copyOf({ base, models, streamOf }: Context, tensor: StoredTensor, reason: string): Unplaced {
  const reference = base ?? models[0]!;
  return {
    name: tensor.name,
    shape: tensor.shape,
    entries: entriesOf(tensor.shape),
    dtype: tensor.dtype,
    action: "copy",
    reason: base === null ? reason.replace("the base", "the first model") : reason,
    base: null,
    inputs: [{ model: base === null ? 0 : -1, stream: streamOf(reference, tensor) }],
    extra: {},
    settings: null,
    drop: null,
    tiedTo: null,
  };
}

function mergeOf(context: Context, tensor: StoredTensor, tied: Ties, warnings: string[]): Unplaced {
  const { recipe, base, models, extra, streamOf, isWritten } = context;
  const { name, shape } = tensor;
  const inputs: { model: number; stream: Stream }[] = [];
  const lacking: string[] = [];
  for (const [index, model] of models.entries()) {
    const found = findTensor(model, name, tied);
    if (found === null) {
      if (recipe.missing === "error") throw missingTensor(context, model, index, name);
      lacking.push(recipe.models[index]!.name);
      continue;
    }
    checkAgainst(context, tensor, found, model, index);
    inputs.push({ model: index, stream: streamOf(model, found) });
  }
  if (inputs.length === 0) return copyOf(context, tensor, "no model has it; copied from the base");
  const entries = entriesOf(shape);
  if (entries === 0) return copyOf(context, tensor, "it has no entries; copied from the base");
  const indices = inputs.map(({ model }) => model);
  const settings = settingsFor(recipe, name, indices);
  const fault = recipe.method.check?.(settings) ?? null;
  if (fault !== null) {
    throw new MergewrightError(fault, {
      kind: "request",
      code: "recipe/out-of-range",
      where: { ...whereOf(recipe, "parameters"), tensor: name },
    });
  }
  const extraStreams: Record<string, Stream> = {};
  for (const [role, checkpoint] of Object.entries(extra)) {
    const found = findTensor(checkpoint, name, tied);
    if (found === null) throw missingTensor(context, checkpoint, -1, name);
    checkAgainst(context, tensor, found, checkpoint, -1);
    extraStreams[role] = streamOf(checkpoint, found);
  }
  const tiedTo = tied.primaryOf.get(name) ?? null;
  const reasons = [
    ...(lacking.length > 0 ? [`not in ${lacking.join(", ")} (missing: skip)`] : []),
    ...(tiedTo === null ? [] : [`tied to ${tiedTo}; counted once`]),
  ];
  if (lacking.length > 0) warnings.push(`${name} is merged without ${lacking.join(", ")}, which lack it`);
  return {
    name,
    shape,
    entries,
    dtype: recipe.output.dtype ?? (isWritten ? (tensor.finalDtype ?? tensor.dtype) : "F32"),
    action: "merge",
    reason: reasons.join("; "),
    base: base !== null && needsBase(recipe.method) ? streamOf(base, tensor) : null,
    inputs,
    extra: extraStreams,
    settings,
    drop: dropsFor(recipe, name, indices),
    tiedTo,
  };
}

function needsBase(method: Method): boolean {
  return method.inputs === "changes";
}

/** A model's own copy, or the copy of a tensor that it is tied to. */
function findTensor(model: Checkpoint, name: string, { groupOf }: Ties): StoredTensor | null {
  const own = model.tensors.get(name);
  if (own !== undefined) return own;
  for (const other of groupOf.get(name) ?? []) {
    const stored = model.tensors.get(other);
    if (stored !== undefined) return stored;
  }
  return null;
}

function missingTensor({ recipe, base }: Context, model: Checkpoint, index: number, name: string): MergewrightError {
  return new MergewrightError(
    `a tensor of ${base === null ? "the first model" : "the base"} is missing in ${model.label}`,
    {
      kind: "request",
      code: "plan/missing-tensor",
      where: { ...(index >= 0 && whereOf(recipe, `models.${index}`)), tensor: name },
      advice: "exclude the tensor, or write missing: skip to merge it from the models that have it",
    },
  );
}

function checkAgainst(
  { recipe }: Context,
  wanted: StoredTensor,
  found: StoredTensor,
  model: Checkpoint,
  index: number,
): void {
  const where = { ...(index >= 0 && whereOf(recipe, `models.${index}`)), tensor: wanted.name };
  if (!isFloat(found.dtype)) {
    throw new MergewrightError(`a tensor of ${model.label} has a format that cannot be merged`, {
      kind: "request",
      code: "plan/dtype",
      where,
      expected: `floating point, as the base's ${wanted.dtype}`,
      found: found.dtype,
      advice: "dequantise the model first, or exclude the tensor",
    });
  }
  if (wanted.shape.length === found.shape.length && wanted.shape.every((size, axis) => size === found.shape[axis]))
    return;
  throw new MergewrightError(`a tensor of ${model.label} has another shape`, {
    kind: "request",
    code: "plan/shape",
    where,
    expected: `[${wanted.shape.join(", ")}]`,
    found: `[${found.shape.join(", ")}]`,
    advice:
      "exclude it (exclude: [pattern]); for a classification head, heads: separate keeps each model's own beside the merge",
  });
}

function skippedOf(
  { recipe, base, models }: Context,
  model: Checkpoint,
  index: number,
  { groupOf }: Ties,
): SkippedTensor[] {
  const reference = base ?? models[0]!;
  const label = recipe.models[index]!.name;
  return inFileOrder(model).flatMap(({ name }) => {
    if (isExcluded(recipe, name)) {
      if (recipe.heads === "separate") return [];
      return [{ model: label, name, reason: "excluded by the recipe" }];
    }
    const stored = reference.tensors.get(name);
    if (stored !== undefined) {
      return isFloat(stored.dtype) ? [] : [{ model: label, name, reason: `${stored.dtype} is taken from the base` }];
    }
    const twin = groupOf.get(name)?.find((other) => reference.tensors.has(other));
    if (twin !== undefined) return [{ model: label, name, reason: `tied to ${twin}, which stands for it` }];
    return [{ model: label, name, reason: base === null ? "not in the first model" : "not in the base" }];
  });
}

function warnOfSkipped(skipped: readonly SkippedTensor[]): string[] {
  const extra = new Map<string, string[]>();
  for (const { model, name, reason } of skipped) {
    if (reason.startsWith("not in")) extra.set(model, [...(extra.get(model) ?? []), name]);
  }
  return [...extra].map(([model, names]) => {
    const shown = names.slice(0, 3).join(", ");
    return `${model} has ${names.length} tensors that the base lacks; they are not in the result: ${shown}${names.length > 3 ? ", …" : ""}`;
  });
}

function warnOfNarrowing({ recipe, models }: Context, tensors: readonly Unplaced[]): string[] {
  const merged = tensors.filter(({ action }) => action === "merge");
  const isWide = ({ base, inputs }: Unplaced) =>
    [base, ...inputs.map(({ stream }) => stream)].some((s) => s?.dtype === "F64");
  const wide = merged.filter(isWide).length;
  const bytes = (dtype: Dtype) => DTYPE_BYTES[dtype];
  const narrowed = merged.filter(({ dtype, inputs }) =>
    inputs.some(({ model, stream }) => bytes(stream.dtype) > bytes(dtype) && !isMerged(models[model]!)),
  );
  return [
    ...(wide > 0 ? [`${wide} tensors are F64; their entries are rounded to f32 before merging`] : []),
    ...(narrowed.length > 0 && recipe.output.dtype === null
      ? [`${narrowed.length} tensors are stored in fewer bits than in some model; set output.dtype to keep them`]
      : []),
  ];
}

/** Each model's own excluded tensors. */
function headsOf(context: Context): { model: number; tensors: Unplaced[] }[] {
  return context.models.map((model, index) => ({
    model: index,
    tensors: inFileOrder(model)
      .filter(({ name }) => isExcluded(context.recipe, name))
      .map((tensor) => ({
        ...copyOf(context, tensor, "excluded by the recipe; the model's own, written beside the merge"),
        inputs: [{ model: index, stream: context.streamOf(model, tensor) }],
      })),
  }));
}
