import { describePlace, MergewrightError } from "../errors.js";
import { layoutHeader, shardTensors } from "../formats/safetensors/index.js";
import { SINGLE_FILE } from "../formats/safetensors/shard.js";
import type {
  MatrixMethod,
  Method,
  MixtureMethod,
  Need,
  RowScores,
  ScoresValue,
  TileMethod,
} from "../methods/method.js";
import { vectorsOf } from "../methods/mixture.js";
import type { Checkpoint } from "../models/model.js";
import { FLOAT_BITS, isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import { type PatternUse, unmatchedPattern, unmatchedPatterns, whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import {
  checkArtifact,
  EXPERT_PARTS,
  expertForms,
  expertParts,
  folderOf,
  leftToBase,
  masksOver,
  MODEL_FOLDER,
  packedParts,
  SHARED_FOLDER,
  unpackedTensors,
} from "./artifact.js";
import type { ExpertOf, KeptOf } from "./artifact.js";
import { entryCosts } from "./streams.js";
import { rowCount } from "../statistics/score_rows.js";
import { isSolved } from "./matrices.js";
import { cutPasses, unevenCut } from "./prune.js";
import { measuresAlpha, noteOnAlpha } from "./lines.js";
import { planSideFiles } from "./side_files.js";
import { accountTensors } from "./tensors.js";
import { type Wanted, wantedTensors } from "./wanted.js";
import type {
  Accounted,
  OpenInputs,
  OpenMerge,
  Plan,
  PlannedExpert,
  PlannedFile,
  PlannedInput,
  PlannedMerge,
  PlannedSource,
  PlannedTensor,
  Unplaced,
} from "./types.js";

export interface PlanOptions {
  /** False for a merge that is only an input: one file without separate heads, merged tensors in F32. Default true. */
  readonly isWritten?: boolean;
  /** Where the method packs what it keeps, and it is known how much that is. Default: what the method expects. */
  readonly keptOf?: KeptOf;
  /** Where the method makes experts, and it is known how each is stored. Default: what their forms lead one to expect. */
  readonly expertOf?: ExpertOf;
}

/**
 * Makes the plan from the recipe and the headers; reads no weights.
 * @throws plan/missing-tensor, plan/shape, plan/dtype, plan/nothing-to-merge, recipe/pattern, recipe/out-of-range,
 * recipe/unsupported
 */
export function makePlan(recipe: Recipe, open: OpenInputs, { isWritten = true, ...known }: PlanOptions = {}): Plan {
  checkArtifact(recipe, isWritten);
  const list = listInputs(recipe, open);
  const sources: PlannedSource[] = [];
  const firstSource = new Map<Checkpoint, number>();
  for (const [input, { checkpoint }] of list.entries()) {
    firstSource.set(checkpoint, sources.length);
    for (const { source, header } of checkpoint.shards) {
      const { label, address, stamp } = source;
      sources.push({ input, file: label, address, stamp, headerHash: header.hash });
    }
  }
  const wanted = wantedTensors(recipe, open);
  const unmatched = checkPatterns(recipe, open, wanted.tensors);
  const accounted = accountTensors({
    recipe,
    isWritten,
    ...open,
    wanted: wanted.tensors,
    streamOf: (checkpoint, { shard, offset, dtype }) => ({
      source: firstSource.get(checkpoint)! + shard,
      offset,
      dtype,
      ...(roundsTo(recipe, dtype) && { round: recipe.input.dtype! }),
    }),
  });
  const merged = accounted.backbone.filter(({ action }) => action === "merge");
  if (merged.length === 0) throw nothingToMerge(recipe);
  const side = planSideFiles(recipe, open, wanted);
  const placed = isWritten ? place(accounted, recipe, recipe.output.shardSize, known) : placeInner(accounted, recipe);
  // Where alpha of lines is measured, the merge is made once more.
  const passes = checkNeeds(recipe, merged) * (measuresAlpha(recipe) ? 2 : 1);
  const merges = open.merges.map(({ key, recipe: inner, plan }): PlannedMerge => {
    return { key, dialect: inner.dialect, recipe: stringifyRecipe(inner), plan };
  });
  const statisticsBytes = open.merges.reduce((sum, merge) => sum + statisticsReads(merge), 0);
  return {
    method: recipe.method.name,
    methodHash: recipe.method.origin?.hash ?? null,
    inputs: list.map(
      ({ role, name, checkpoint: { label, location } }): PlannedInput => ({ role, name, label, location }),
    ),
    sources,
    tensors: placed.tensors,
    skipped: [...accounted.skipped, ...leftToBase(accounted, recipe, isWritten)],
    files: placed.files,
    sideFiles: [...placed.indexes, ...side.files],
    merges,
    warnings: [
      ...recipe.notes,
      ...(open.notes ?? []),
      ...noteOfHeld(open.merges),
      ...noteOnAlpha(recipe),
      ...warnOfCoefficients(open, merged),
      ...unmatched,
      ...warnOfInputs(recipe, open),
      ...accounted.warnings,
      ...side.warnings,
    ],
    estimate: {
      outputBytes: placed.files.reduce((sum, { size }) => sum + size, 0),
      readBytes: readBytes({ sources, merges }, placed.tensors, passes) + statisticsBytes,
      mergedEntries: merged.reduce((sum, { entries, tiedTo }) => sum + (tiedTo === null ? entries : 0), 0),
      passes,
    },
    measured: recipe.method.grain === "tile" && recipe.method.rows !== undefined,
    scores: scoreRoom(recipe.method, placed.tensors),
    ...(recipe.method.experts !== undefined && { experts: plannedExperts(merged, recipe) }),
    seed: recipe.seed,
  };
}

function plannedExperts(merged: readonly Unplaced[], recipe: Recipe): PlannedExpert[] {
  const forms = expertForms(merged, recipe);
  return merged.map(({ name, shape, entries, dtype, base, inputs, settings }) => {
    return { name, shape, entries, dtype, base, inputs, settings: settings!, form: forms.get(name)! };
  });
}

function scoreRoom(method: Method, tensors: readonly PlannedTensor[]): Plan["scores"] {
  const models = Math.max(0, ...new Set(tensors.map(({ inputs }) => inputs.length)));
  const all = Object.values((method.grain === "tile" ? method.scores : null) ?? {});
  return {
    rows: Math.max(0, ...all.map(({ per }) => rowCount(per, models))),
    ranks: Math.max(0, ...all.map(({ ranks }) => ranks)),
  };
}

/** Base, models, extras: the order of `Plan.inputs`. */
function listInputs({ models: entries }: Recipe, { base, models, extra, statistics = [] }: OpenInputs) {
  return [
    ...(base === null ? [] : [{ role: "base" as const, name: base.name, checkpoint: base }]),
    ...models.map((checkpoint, index) => ({ role: "model" as const, name: entries[index]!.name, checkpoint })),
    ...Object.entries(extra).map(([name, checkpoint]) => ({ role: "extra" as const, name, checkpoint })),
    ...statistics.map(({ file }, index) => ({
      role: "statistics" as const,
      name: entries[index]!.name,
      checkpoint: file,
    })),
  ];
}

/** Whether `input.dtype` changes entries of this format: it cannot hold all of their values. */
function roundsTo({ input: { dtype } }: Recipe, stored: Dtype): boolean {
  if (dtype === null || dtype === stored || !isFloat(stored)) return false;
  const { exponent, mantissa } = FLOAT_BITS[dtype];
  return FLOAT_BITS[stored].exponent > exponent || FLOAT_BITS[stored].mantissa > mantissa;
}

/**
 * A pattern that matches nothing is a mistake, not a wish. In recipes of mergekit, which say nothing about it, it is a
 * warning.
 */
function checkPatterns(recipe: Recipe, { base, models }: OpenInputs, wanted: readonly Wanted[]): string[] {
  // Where nothing matches, patterns that there are do not.
  if (unmatchedPatterns(recipe, new Set()).length === 0) return [];
  const stored = [base, ...models].flatMap((checkpoint) => [...(checkpoint?.tensors.keys() ?? [])]);
  const names = new Set([...stored, ...wanted.map(({ name }) => name)]);
  const unmatched = unmatchedPatterns(recipe, names);
  const isOurs = ({ path, where }: PatternUse) => path.startsWith("exclude") || where.line === undefined;
  const wrong = recipe.compat === "none" ? unmatched[0] : unmatched.find(isOurs);
  if (wrong !== undefined) throw unmatchedPattern(wrong, names);
  return unmatched.map(({ pattern, where }) => `${describePlace(where)}: ${pattern} matches no tensor`);
}

function nothingToMerge(recipe: Recipe): MergewrightError {
  return new MergewrightError("no tensor is left to merge", {
    kind: "request",
    code: "plan/nothing-to-merge",
    where: whereOf(recipe, "exclude"),
    advice: "narrow the exclude patterns; mergewright inspect MODEL lists the tensors",
  });
}

interface Placed {
  readonly tensors: readonly PlannedTensor[];
  readonly files: readonly PlannedFile[];
  readonly indexes: readonly { readonly name: string; readonly text: string }[];
}

/** Gives every tensor its file and its bytes. */
function place(
  accounted: Accounted,
  recipe: Recipe,
  shardSize: number,
  { keptOf = null, expertOf = null }: { readonly keptOf?: KeptOf | null; readonly expertOf?: ExpertOf | null },
): Placed {
  const tensors: PlannedTensor[] = [];
  const files: PlannedFile[] = [];
  const indexes: { name: string; text: string }[] = [];
  const add = (folder: string, group: readonly Unplaced[], maxBytes: number) => {
    const shards = shardTensors(group, maxBytes);
    for (const shard of shards.files) {
      const layout = layoutHeader(shard.tensors, { format: "pt" });
      const file = files.length;
      files.push({ name: folder + shard.name, size: layout.fileSize, header: layout.header });
      for (const [index, { offset, length }] of layout.tensors.entries()) {
        tensors.push({ ...shard.tensors[index]!, file, offset, length });
      }
    }
    if (shards.index !== null) indexes.push({ name: folder + shards.index.name, text: shards.index.text });
  };
  const merged = accounted.backbone.filter(({ action }) => action === "merge");
  if (recipe.method.masking !== undefined) {
    add(`${SHARED_FOLDER}/`, merged, shardSize);
    for (const [model, { name }] of recipe.models.entries()) {
      const group = masksOver(merged, model);
      if (group.length > 0) add(`${folderOf("masks", name)}/`, group, shardSize);
    }
  } else if (recipe.method.packing !== undefined) {
    for (const [model, { name }] of recipe.models.entries()) {
      const parts = packedParts(merged, recipe.method, model, tensors.length, keptOf);
      for (const part of ["vectors", "masks", "starts"] as const) {
        if (parts[part].length > 0) add(`${folderOf(part, name)}/`, parts[part], shardSize);
      }
    }
  } else if (recipe.method.experts !== undefined) {
    if (recipe.method.experts.over === "merge") add(`${MODEL_FOLDER}/`, accounted.backbone, shardSize);
    const forms = expertForms(merged, recipe);
    for (const [model, { name }] of recipe.models.entries()) {
      const parts = expertParts(merged, forms, model, expertOf);
      for (const part of EXPERT_PARTS) {
        if (parts[part].length > 0) add(`${folderOf(part, name)}/`, parts[part], shardSize);
      }
    }
  } else add("", accounted.backbone, shardSize);
  for (const { model, tensors: group } of accounted.heads) {
    if (group.length > 0) add(`${folderOf("heads", recipe.models[model]!.name)}/`, group, shardSize);
  }
  return { tensors, files, indexes };
}

/** One file, which is never written. */
function placeInner({ backbone }: Accounted, { method }: Recipe): Placed {
  const own = method.packing === undefined ? backbone : unpackedTensors(backbone);
  const layout = layoutHeader(own, { format: "pt" });
  const tensors = layout.tensors.map(({ offset, length }, index) => ({ ...own[index]!, file: 0, offset, length }));
  return { tensors, files: [{ name: SINGLE_FILE, size: layout.fileSize, header: layout.header }], indexes: [] };
}

/**
 * How often the inputs are read; also checks that what is known of a whole model follows from values that hold for the
 * whole model.
 */
function checkNeeds(recipe: Recipe, merged: readonly Unplaced[]): number {
  const { method } = recipe;
  // Tensors that are solved are read as often as their method asks for them, which it does once where memory allows.
  if (method.grain === "matrix") return 1;
  if (method.grain === "mixture") return merged.every((tensor) => readsOnce(method, tensor)) ? 1 : 2;
  const own = merged.filter(({ tiedTo }) => tiedTo === null);
  const uneven = unevenCut(merged);
  if (uneven !== null) throw unevenNeed(recipe, uneven, "scope: tensor");
  return cutPasses(merged) + methodPasses(recipe, method, own);
}

/** Means, outliers, thresholds, what is kept, and the last one, which writes. */
const PACKING_PASSES = 5;

function methodPasses(recipe: Recipe, method: TileMethod, own: readonly Unplaced[]): number {
  if (method.packing !== undefined) return PACKING_PASSES;
  const first = method.needs(own[0]!.settings!, {});
  if (first === null) return 1;
  if (first.scope === "model") {
    const keys = new Map<number, string>();
    const seen = new Set<Unplaced["settings"]>();
    for (const { name, inputs, settings } of own) {
      // One object for all tensors of the same models with equal values.
      if (seen.has(settings)) continue;
      seen.add(settings);
      for (const [model, key] of needKeys(method, settings!).entries()) {
        const known = keys.get(inputs[model]!.model);
        if (known === undefined) keys.set(inputs[model]!.model, key);
        else if (known !== key) throw unevenNeed(recipe, name, "trim: tensor");
      }
    }
  }
  return first.statistic === "scores" ? scorePasses(method, own[0]!.settings!) : 2;
}

/** One pass for each question about scores, and the last one. */
function scorePasses(method: TileMethod, settings: NonNullable<Unplaced["settings"]>): number {
  const row: RowScores = { scores: 1, positive: 1, least: 0, most: 1, ranked: [0, 0, 0, 0], sum: 1 };
  const known: { scores: Record<string, ScoresValue> } = { scores: {} };
  let passes = 1;
  for (let need = method.needs(settings, known); need?.statistic === "scores"; need = method.needs(settings, known)) {
    const { per } = method.scores![need.score]!;
    const rows = Array.from({ length: rowCount(per, settings.models.length) }, () => row);
    known.scores[need.key] = { per, rows };
    passes++;
  }
  return passes;
}

/** Rows are short enough to be looked at and mixed at once. */
function readsOnce(method: MixtureMethod, { settings, shape }: Unplaced): boolean {
  return vectorsOf(method, settings!, shape) === "row";
}

/** What a method needs of each model, as text that is equal for equal needs. */
function needKeys(method: TileMethod, settings: NonNullable<Unplaced["settings"]>): string[] {
  const need: Need | null = method.needs(settings, {});
  return settings.models.map((_, i) => {
    if (need === null) return "nothing";
    const parts: unknown[] = [need.statistic, need.scope];
    if (need.statistic === "threshold") parts.push(need.ranks[i]!(1e9), need.ranks[i]!(1001));
    if (need.statistic === "norm-share") parts.push(need.shares[i]);
    if (need.statistic === "overlap") parts.push(need.thresholds[i]);
    if (need.statistic === "scores") parts.push(need.score, ...need.ranks.map((rank) => rank(1e9, 9e8)));
    return JSON.stringify(parts);
  });
}

function unevenNeed(recipe: Recipe, tensor: string, setting: string): MergewrightError {
  return new MergewrightError("a parameter that trims a whole model differs between tensors", {
    kind: "request",
    code: "recipe/pattern",
    where: { ...whereOf(recipe, "parameters"), tensor },
    expected: "one density for all tensors of a model, since one threshold holds for all of them",
    advice: `set ${setting} to choose them per tensor, or remove the pattern`,
  });
}

function readBytes(plan: Pick<Plan, "sources" | "merges">, tensors: readonly PlannedTensor[], passes: number): number {
  const cost = entryCosts(plan);
  return tensors.reduce((sum, tensor) => {
    const { action, entries, packed } = tensor;
    return sum + (packed?.entries ?? entries) * cost(tensor) * (action === "copy" ? 1 : passes);
  }, 0);
}

/** Bytes read for what must be known of a merge before its entries can be handed on; a majority takes a pass. */
function statisticsReads({ recipe: { method }, plan: { estimate, tensors } }: OpenMerge): number {
  // What a merge reads once to hand its entries on is not counted here, nor is the second look at its rows.
  if (method.grain === "matrix") return tensors.some((tensor) => isHeld(method, tensor)) ? estimate.readBytes : 0;
  if (method.grain === "mixture") return (estimate.readBytes / estimate.passes) * (estimate.passes - 1);
  // What is kept is counted for an artifact's files alone.
  if (method.packing !== undefined) return (estimate.readBytes / estimate.passes) * (estimate.passes - 2);
  const { settings } = tensors.find(({ action }) => action === "merge")!;
  const votes = (method.majority?.(settings!) ?? null) === null ? 0 : 1;
  return (estimate.readBytes / estimate.passes) * (estimate.passes - 1 + votes);
}

function isHeld(method: MatrixMethod, tensor: PlannedTensor): boolean {
  return tensor.action === "merge" && isSolved(method, tensor);
}

/** What merges of whole matrices among the inputs need of the disk until the result is done. */
function noteOfHeld(merges: readonly OpenMerge[]): string[] {
  return merges.flatMap(({ recipe: { method }, plan }) => {
    if (method.grain !== "matrix") return [];
    const held = plan.tensors.filter((tensor) => isHeld(method, tensor));
    if (held.length === 0) return [];
    const bytes = held.reduce((sum, { length }) => sum + length, 0);
    return [
      `${held.length} matrices of the merge by ${method.name} among the inputs are solved first; ` +
        `${Math.ceil(bytes / 1e6)} MB beside the result hold them until it is done`,
    ];
  });
}

function warnOfCoefficients({ coefficients }: OpenInputs, merged: readonly Unplaced[]): readonly string[] {
  if (coefficients === undefined || coefficients === null) return [];
  const names = new Set(merged.map(({ name }) => name));
  const unused = [...coefficients.values.keys()].filter((name) => !names.has(name));
  const found =
    unused.length === 0
      ? []
      : [`${coefficients.label} has coefficients for ${unused.length} tensors that are not merged`];
  return [...coefficients.notes, ...found];
}

function warnOfInputs(recipe: Recipe, { base, models }: OpenInputs): string[] {
  const warnings: string[] = [];
  const all = [...(base === null ? [] : [base]), ...models];
  for (const checkpoint of all) warnings.push(...checkpoint.notes.map((note) => `${checkpoint.label}: ${note}`));
  for (const [index, model] of models.entries()) {
    if (recipe.method.inputs === "weights" && recipe.compat !== "none") continue;
    if (base !== null && base.location !== "" && base.location === model.location) {
      warnings.push(`${recipe.models[index]!.name} is the base itself: its task vector is zero`);
    }
  }
  const types = new Set(all.map(({ config }) => config?.["model_type"]).filter((type) => typeof type === "string"));
  if (types.size > 1) warnings.push(`the configs name different model types: ${[...types].join(", ")}`);
  return warnings;
}
