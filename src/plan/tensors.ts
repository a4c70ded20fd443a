import { MergewrightError } from "../errors.js";
import type { Method, ParameterValue, Partitioning, Settings } from "../methods/method.js";
import { roleOf, tiedGroups } from "../models/families.js";
import type { Statistics } from "../collected/statistics.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { strangerError } from "../models/related.js";
import { DTYPE_BYTES, entriesOf, isFloat } from "../numbers/dtypes.js";
import type { Dtype, FloatDtype } from "../numbers/dtypes.js";
import { isExcluded, isUniform, type Place, type PlaceMember, settingsFor, whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { type CoefficientTable, withCoefficients } from "./coefficients.js";
import { layerScale, scaleLambda } from "./lines.js";
import type { LayerScale } from "./lines.js";
import { cutsOf } from "./prune.js";
import { withImportances } from "./importances.js";
import { StatisticsTable, withNorms } from "./statistics.js";
import type { PartitionChange } from "./statistics.js";
import { isComputed } from "./streams.js";
import type { Accounted, PlannedTensor, SkippedTensor, Stream, Unplaced } from "./types.js";
import { inFileOrder, type Wanted } from "./wanted.js";

/** Finds the stream of a stored tensor; index of its shard's source in the plan. */
export type StreamOf = (checkpoint: Checkpoint, tensor: StoredTensor) => Stream;

interface Context {
  readonly recipe: Recipe;
  readonly base: Checkpoint | null;
  readonly models: readonly Checkpoint[];
  /** Checkpoints named by parameters, by role. */
  readonly extra: Readonly<Record<string, Checkpoint>>;
  readonly coefficients?: CoefficientTable | null;
  /** Per model, where the method needs them. */
  readonly statistics?: readonly Statistics[];
  readonly streamOf: StreamOf;
  /** False for a merge that is only an input; see PlanOptions. */
  readonly isWritten: boolean;
  /** The tensors of the result, in its order. */
  readonly wanted: readonly Wanted[];
}

/** Decides what happens to every tensor of every input. */
export function accountTensors(context: Context): Accounted {
  const { recipe, models, isWritten } = context;
  const work = new Accounting(context);
  const decided = withNorms(context.wanted.flatMap((wanted) => work.decide(wanted) ?? []));
  const backbone = withImportances(recipe, decided, work.partitions);
  const skipped = work.skipped();
  const warnings = [...work.warnings, ...warnOfSkipped(skipped), ...warnOfNarrowing(context, backbone)];
  const heads = isWritten && recipe.heads === "separate" ? models.map((_, model) => work.headOf(model)) : [];
  return { backbone, heads, skipped, warnings };
}

/** A checkpoint's copy of a tensor. */
interface Found {
  readonly checkpoint: Checkpoint;
  /** Index, or -1 for the recipe's base. */
  readonly model: number;
  readonly tensor: StoredTensor;
}

class Accounting {
  readonly warnings: string[] = [];
  readonly #context: Context;
  readonly #statistics: StatisticsTable | null;
  /** What has an importance, where the method wants to know. */
  readonly #per: Partitioning | null;
  /** By a merged tensor's name, per member. */
  readonly partitions = new Map<string, readonly PartitionChange[]>();
  readonly #ties: Ties;
  readonly #scaleOf: LayerScale;
  /** Whether values depend on nothing but which models have a tensor, and its layer's scale. */
  readonly #isUniform: boolean;
  /** By that. */
  readonly #settings = new Map<string, Settings>();
  /** What reaches the result, per checkpoint. */
  readonly #used = new Map<Checkpoint, Set<string>>();

  constructor(context: Context) {
    this.#context = context;
    const { statistics, streamOf } = context;
    const { method, parameters } = context.recipe;
    const given = Object.entries(parameters).map(([name, { value }]) => [name, value as ParameterValue] as const);
    this.#per = method.statistics?.importance?.(Object.fromEntries(given)).per ?? null;
    this.#statistics = statistics === undefined ? null : new StatisticsTable(statistics, streamOf, this.#per);
    this.#scaleOf = layerScale(
      context.recipe,
      context.wanted.map(({ name }) => name),
      context.isWritten,
    );
    this.#isUniform = isUniform(context.recipe) && (context.coefficients ?? null) === null;
    this.#ties = new Ties(context.recipe, context.base === null ? context.models : [context.base, ...context.models]);
  }

  /** `null`: it has no place in the result. */
  decide(wanted: Wanted): Unplaced | null {
    const { recipe } = this.#context;
    const { name } = wanted;
    const reference = this.#referenceOf(wanted);
    if (reference === null) return null;
    if (isExcluded(recipe, name)) {
      return recipe.heads === "base"
        ? this.#copy(name, reference, "excluded by the recipe; copied from the base")
        : null;
    }
    if (wanted.copy !== null) return this.#copy(name, reference, wanted.copy);
    const { dtype, shape } = reference.tensor;
    if (!isFloat(dtype)) return this.#copy(name, reference, `${dtype} is not merged; copied from the base`);
    if (entriesOf(shape) === 0) return this.#copy(name, reference, "it has no entries; copied from the base");
    return this.#merge(wanted, reference);
  }

  /** Each model's own excluded tensors. */
  headOf(model: number): { readonly model: number; readonly tensors: readonly Unplaced[] } {
    const checkpoint = this.#context.models[model]!;
    const tensors = inFileOrder(checkpoint)
      .filter(({ name }) => isExcluded(this.#context.recipe, name))
      .map((tensor) => {
        const reason = "excluded by the recipe; the model's own, written beside the merge";
        return this.#copy(tensor.name, { checkpoint, model, tensor }, reason);
      });
    return { model, tensors };
  }

  skipped(): SkippedTensor[] {
    const { recipe, base, models } = this.#context;
    const skipped = models.flatMap((model, index) => this.#skippedOf(model, recipe.models[index]!.name));
    return base === null ? skipped : [...this.#unusedOf(base), ...skipped];
  }

  /** The base's copy, or the first member's that there is. */
  #referenceOf({ base, members }: Wanted): Found | null {
    const places = base === null ? members : [base, ...members];
    for (const place of places) {
      const found = this.#find(place.model, place.name);
      if (found !== null) return found;
    }
    return null;
  }

  #find(model: number, name: string): Found | null {
    const checkpoint = model === -1 ? this.#context.base! : this.#context.models[model]!;
    const tensor = this.#ties.find(checkpoint, name);
    return tensor === null ? null : { checkpoint, model, tensor };
  }

  #stream({ checkpoint, tensor }: Found): Stream {
    const used = this.#used.get(checkpoint) ?? new Set<string>();
    this.#used.set(checkpoint, used.add(tensor.name));
    return this.#context.streamOf(checkpoint, tensor);
  }

  #copy(name: string, found: Found, reason: string): Unplaced {
    const { recipe } = this.#context;
    const { shape, dtype } = found.tensor;
    const source = found.model === -1 ? "the base" : found.model === 0 ? "the first model" : found.checkpoint.label;
    return {
      name,
      shape,
      entries: entriesOf(shape),
      dtype: recipe.compat !== "none" && isFloat(dtype) ? (recipe.output.dtype ?? dtype) : dtype,
      action: "copy",
      reason: reason.replace("the base", source),
      base: null,
      inputs: [{ model: found.model, stream: this.#stream(found) }],
      extra: {},
      settings: null,
      prune: null,
      tiedTo: null,
    };
  }

  /** `null`: in a recipe of mergekit, a tensor that the base lacks and that is a change of nothing. */
  #merge(wanted: Wanted, reference: Found): Unplaced | null {
    const { recipe, isWritten } = this.#context;
    const { name } = wanted;
    const base = wanted.base === null ? null : this.#find(wanted.base.model, wanted.base.name);
    const { found, places, lacking } = this.#members(wanted, reference);
    const baseless = wanted.base !== null && base === null && needsBase(recipe.method);
    if (baseless && recipe.compat !== "none" && recipe.method.models.max !== 1 && recipe.method.base !== "member")
      return null;
    const alone = this.#alone(wanted, base, found);
    if (alone !== null) return alone;
    if (lacking.length > 0) this.warnings.push(`${name} is merged without ${lacking.join(", ")}, which lack it`);
    const place = { ...wanted, members: places };
    const tiedTo = this.#ties.primaryOf.get(name) ?? null;
    const settings = this.#settingsOf(place, tiedTo ?? name);
    const reasons = [
      ...(lacking.length > 0 ? [`not in ${lacking.join(", ")} (missing: skip)`] : []),
      ...(tiedTo === null ? [] : [`tied to ${tiedTo}; counted once`]),
    ];
    const all = [...(base === null ? [] : [base]), ...found];
    const members = found.map((one) => ({ model: one.model, name: one.tensor.name }));
    const isTile = recipe.method.grain === "tile";
    const isImportance = this.#per !== null;
    const partitions = isImportance ? (this.#statistics?.importance(members, reference.tensor.shape) ?? null) : null;
    if (partitions !== null) this.partitions.set(name, partitions);
    const fisher = isTile && !isImportance ? (this.#statistics?.fisher(members) ?? null) : null;
    const layer = isTile ? null : (this.#statistics?.layer(members) ?? null);
    if (this.#statistics !== null && fisher === null && layer === null && partitions === null) {
      reasons.push(`no statistics of it; ${isImportance ? "kept whole and weighed evenly" : "averaged"}`);
    }
    return {
      name,
      shape: reference.tensor.shape,
      entries: entriesOf(reference.tensor.shape),
      dtype: recipe.output.dtype ?? (isWritten ? this.#dtypeOf(reference, all) : "F32"),
      action: "merge",
      reason: reasons.join("; "),
      base: base !== null && needsBase(recipe.method) ? this.#stream(base) : null,
      inputs: found.map((one) => ({ model: one.model, stream: this.#stream(one) })),
      extra: { ...this.#extra(name, reference), ...fisher?.extra },
      ...(fisher !== null && { collected: fisher.collected }),
      ...(layer !== null && { statistics: layer }),
      settings,
      prune: cutsOf(recipe, place, reference.tensor.shape, settings),
      tiedTo,
    };
  }

  /** Checked. Tensors with equal values share one object, so that what follows from them is found out once. */
  #settingsOf(place: Place, primary: string): Settings {
    const factor = this.#scaleOf(primary);
    const key = this.#isUniform ? `${factor} ${place.members.map(({ model }) => model).join()}` : null;
    const known = key === null ? undefined : this.#settings.get(key);
    if (known !== undefined) return known;
    const given = scaleLambda(settingsFor(this.#context.recipe, place), factor);
    const settings = this.#withCoefficients(given, primary, place.members);
    this.#check(settings, place.name);
    if (key !== null) this.#settings.set(key, settings);
    return settings;
  }

  #withCoefficients(settings: Settings, name: string, places: readonly PlaceMember[]): Settings {
    const { coefficients, recipe } = this.#context;
    if (coefficients === undefined || coefficients === null) return settings;
    return withCoefficients(coefficients, recipe, settings, { name, models: places.map(({ model }) => model) });
  }

  #dtypeOf({ tensor }: Found, all: readonly Found[]): Dtype {
    return this.#context.recipe.compat === "none" ? (tensor.finalDtype ?? tensor.dtype) : promoted(all);
  }

  /** The members that have a tensor, and the names of those that lack it. */
  #members({ name, members }: Wanted, reference: Found) {
    const { recipe, models } = this.#context;
    const found: Found[] = [];
    const places: PlaceMember[] = [];
    const lacking: string[] = [];
    for (const member of members) {
      const one = this.#find(member.model, member.name);
      if (one === null) {
        if (recipe.missing === "error") throw this.#missing(models[member.model]!, member.model, name);
        lacking.push(recipe.models[member.model]!.name);
        continue;
      }
      this.#checkAgainst(reference, one, name);
      found.push(one);
      places.push(member);
    }
    return { found, places, lacking };
  }

  /** What becomes of a tensor that too few checkpoints have; `null`: enough have it. */
  #alone({ name, base: wantedBase }: Wanted, base: Found | null, found: readonly Found[]): Unplaced | null {
    const { method } = this.#context.recipe;
    if (base !== null && found.length === 0) return this.#copy(name, base, "no model has it; copied from the base");
    const isMember = method.base === "member";
    const baseless = wantedBase !== null && base === null && needsBase(method) && !isMember;
    const members = found.length + (isMember && base !== null ? 1 : 0);
    if (!baseless && members >= method.models.min) return null;
    const [only, ...others] = found;
    if (others.length === 0 && (method.models.max === 1 || !baseless)) {
      const from = base ?? only!;
      if (base !== null) this.warnings.push(`${name} is the base's: too few models have it for ${method.name}`);
      return this.#copy(name, from, "too few models have it; copied from the base");
    }
    throw this.#missing(this.#context.base ?? this.#context.models[0]!, -1, name);
  }

  #check(settings: Settings, tensor: string): void {
    const { recipe } = this.#context;
    const fault = recipe.method.check?.(settings) ?? null;
    if (fault === null) return;
    throw new MergewrightError(fault, {
      kind: "request",
      code: "recipe/out-of-range",
      where: { ...whereOf(recipe, "parameters"), tensor },
    });
  }

  #extra(name: string, reference: Found): Record<string, Stream> {
    const streams: Record<string, Stream> = {};
    for (const [role, checkpoint] of Object.entries(this.#context.extra)) {
      const tensor = this.#ties.find(checkpoint, name);
      if (tensor === null) throw this.#missing(checkpoint, -1, name);
      const found = { checkpoint, model: -1, tensor };
      this.#checkAgainst(reference, found, name);
      streams[role] = this.#stream(found);
    }
    return streams;
  }

  #missing(checkpoint: Checkpoint, index: number, name: string): MergewrightError {
    const { recipe, base, models } = this.#context;
    const place = index >= 0 ? whereOf(recipe, `models.${index}`) : {};
    const what = base === null ? "the first model" : "the base";
    const stranger = strangerError({ reference: base ?? models[0]!, model: checkpoint, what }, place);
    if (stranger !== null && recipe.layout === null) return stranger;
    return new MergewrightError(`a tensor of ${what} is missing in ${checkpoint.label}`, {
      kind: "request",
      code: "plan/missing-tensor",
      where: { ...place, tensor: name },
      advice: "exclude the tensor, or write missing: skip to merge it from the models that have it",
    });
  }

  #checkAgainst({ tensor: wanted }: Found, { tensor: found, checkpoint, model }: Found, name: string): void {
    const { recipe } = this.#context;
    const where = { ...(model >= 0 && whereOf(recipe, `models.${model}`)), tensor: name };
    if (!isFloat(found.dtype)) {
      throw new MergewrightError(`a tensor of ${checkpoint.label} has a format that cannot be merged`, {
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
    throw new MergewrightError(`a tensor of ${checkpoint.label} has another shape`, {
      kind: "request",
      code: "plan/shape",
      where,
      expected: `[${wanted.shape.join(", ")}]`,
      found: `[${found.shape.join(", ")}]`,
      advice: adviseShape(wanted, found),
    });
  }

  #skippedOf(model: Checkpoint, label: string): SkippedTensor[] {
    const { recipe, base, models } = this.#context;
    if (recipe.layout !== null) return this.#unusedOf(model);
    const reference = base ?? models[0]!;
    const used = this.#used.get(model);
    return inFileOrder(model).flatMap(({ name }) => {
      if (isExcluded(recipe, name)) {
        if (recipe.heads === "separate") return [];
        return [{ model: label, name, reason: "excluded by the recipe" }];
      }
      const stored = reference.tensors.get(name);
      if (stored !== undefined) {
        if (isFloat(stored.dtype)) return [];
        return [{ model: label, name, reason: `${stored.dtype} is taken from the base` }];
      }
      if (recipe.compat !== "none" && used?.has(name) === true) return [];
      const twin = this.#ties.groupOf(reference, name).find((other) => reference.tensors.has(other));
      if (twin !== undefined) return [{ model: label, name, reason: `tied to ${twin}, which stands for it` }];
      return [{ model: label, name, reason: base === null ? "not in the first model" : "not in the base" }];
    });
  }

  /** With a layout: what no slice takes. */
  #unusedOf(checkpoint: Checkpoint): SkippedTensor[] {
    const { recipe, base, models } = this.#context;
    if (recipe.layout === null) return [];
    const label = checkpoint === base ? "base" : recipe.models[models.indexOf(checkpoint)]!.name;
    const used = this.#used.get(checkpoint);
    return inFileOrder(checkpoint)
      .filter(({ name }) => used?.has(name) !== true)
      .map(({ name }) => ({ model: label, name, reason: "in no slice of the recipe" }));
  }
}

/** Which tensors are one and the same. */
class Ties {
  /** Alias to the tensor that stands for it. */
  readonly primaryOf = new Map<string, string>();
  readonly #groups = new Map<Checkpoint, ReadonlyMap<string, readonly string[]>>();
  readonly #own: boolean;
  readonly #reference: Checkpoint;

  /**
   * By the reference's config, over the names of all: a copy that only some models store has its group too. In recipes of
   * mergekit every checkpoint's own config counts, and only what all of them share is one.
   */
  constructor({ compat }: Recipe, checkpoints: readonly Checkpoint[]) {
    this.#reference = checkpoints[0]!;
    this.#own = compat !== "none";
    const names = new Set(checkpoints.flatMap(({ tensors }) => [...tensors.keys()]));
    for (const checkpoint of this.#own ? checkpoints : checkpoints.slice(0, 1)) {
      const groups = new Map<string, readonly string[]>();
      for (const { primary, aliases } of tiedGroups(checkpoint.config, names)) {
        const group = [primary, ...aliases];
        for (const name of group) groups.set(name, group);
      }
      this.#groups.set(checkpoint, groups);
    }
    const shared = [...this.#groups.values()];
    for (const group of new Set(shared[0]!.values())) {
      const present = group.filter((name) => this.#reference.tensors.has(name));
      const isCommon = (name: string) => shared.every((groups) => groups.get(name)?.includes(present[0]!) === true);
      for (const name of present.slice(1)) if (isCommon(name)) this.primaryOf.set(name, present[0]!);
    }
  }

  groupOf(checkpoint: Checkpoint, name: string): readonly string[] {
    const groups = this.#groups.get(this.#own ? checkpoint : this.#reference) ?? this.#groups.get(this.#reference);
    return groups!.get(name) ?? [];
  }

  /** A checkpoint's own copy, or the copy of a tensor that it is tied to. */
  find(checkpoint: Checkpoint, name: string): StoredTensor | null {
    const own = checkpoint.tensors.get(name);
    if (own !== undefined) return own;
    for (const other of this.groupOf(checkpoint, name)) {
      const stored = checkpoint.tensors.get(other);
      if (stored !== undefined) return stored;
    }
    return null;
  }
}

function adviseShape(wanted: StoredTensor, found: StoredTensor): string {
  const rowsOnly = wanted.shape.slice(1).join() === found.shape.slice(1).join();
  if (rowsOnly && roleOf(wanted.name) === "vocabulary") {
    return "the vocabularies differ: write tokenizer: {source: union}, or source: base, to bring them together";
  }
  return "exclude it (exclude: [pattern]); for a classification head, heads: separate keeps each model's own beside the merge";
}

function needsBase(method: Method): boolean {
  if (method.grain === "matrix") return method.base !== "unused";
  return method.inputs === "changes" || method.base === "member" || method.base === "required";
}

/** The format that holds the values of all. */
function promoted(all: readonly Found[]): FloatDtype {
  const dtypes = new Set(all.map(({ tensor }) => (tensor.finalDtype ?? tensor.dtype) as FloatDtype));
  if (dtypes.size === 1) return [...dtypes][0]!;
  if (dtypes.has("F64")) return "F64";
  if (dtypes.has("F32") || (dtypes.has("F16") && dtypes.has("BF16"))) return "F32";
  return dtypes.has("F16") ? "F16" : "BF16";
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
  // What is computed on the way is wider than what it is computed from.
  const asStored = (name: string, { model, stream }: PlannedTensor["inputs"][number]) =>
    models[model]!.tensors.get(name)?.finalDtype ?? stream.dtype;
  const isStored = models.map((model) => !isComputed(model));
  const narrowed = merged.filter(({ name, dtype, inputs }) =>
    inputs.some(
      (input) =>
        isStored[input.model]! &&
        bytes(input.stream.dtype) > bytes(dtype) &&
        bytes(asStored(name, input)) > bytes(dtype),
    ),
  );
  return [
    ...(wide > 0 ? [`${wide} tensors are F64; their entries are rounded to f32 before merging`] : []),
    ...(narrowed.length > 0 && recipe.output.dtype === null
      ? [`${narrowed.length} tensors are stored in fewer bits than in some model; set output.dtype to keep them`]
      : []),
  ];
}
