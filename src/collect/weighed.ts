/**
 * The models of a recipe as a sum that is cheap to make again and again: the base and what is weighed of each model's
 * change lie in memory in f32. Takes 4 bytes per entry of the base, of every model and of the result.
 */
import { MergewrightError } from "../errors.js";
import type { Known, Settings, TileMethod, Weighing } from "../methods/method.js";
import type { Checkpoint } from "../models/model.js";
import type { OpenInputs, PlannedTensor } from "../plan/types.js";
import { makePlan } from "../plan/plan.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import type { WeightSource } from "../runtime/network.js";
import { weightsOf } from "../runtime/weights.js";
import { magnitudeOfRank } from "../statistics/rank.js";

const { fround } = Math;

export interface WeighedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly base: Float32Array;
  /** Per model what is weighed of its change. */
  readonly parts: readonly Float32Array[];
  /** base + Σ coefficient · part, as `weigh` made it last. */
  readonly merged: Float32Array;
  /** Per model the coefficient where learning begins. */
  readonly start: readonly number[];
}

/** A recipe whose method weighs; see `checkWeighing`. */
export interface WeighingRecipe extends Recipe {
  readonly method: TileMethod & { readonly weighing: Weighing };
}

/**
 * @throws recipe/unsupported for a recipe whose coefficients cannot be learnt here.
 */
export function checkWeighing(recipe: Recipe): asserts recipe is WeighingRecipe {
  const { method } = recipe;
  const refuse = (what: string, key: string, advice: string): never => {
    throw new MergewrightError(`coefficients cannot be learnt for ${what}`, {
      kind: "request",
      code: "recipe/unsupported",
      where: whereOf(recipe, key),
      advice,
    });
  };
  if (method.grain !== "tile" || method.weighing === undefined) {
    refuse(`the method ${method.name}`, "method", "write method: adamerging, or adamerging/plus-plus");
  }
  if (Object.keys(recipe.merges).length > 0)
    refuse("merges as inputs", "models", "write the inner merge first and name its folder");
  if (recipe.layout !== null) refuse("a result put together from slices", "slices", "list whole models");
  if (recipe.prune !== null) refuse("pruned changes", "prune", "remove prune:, or write the pruned models first");
  if (recipe.lines !== null)
    refuse("changes scaled by layer", "lines", "remove lines:; the coefficients scale every tensor");
  if (recipe.tokenizer !== null) refuse("a vocabulary of another model", "tokenizer", "remove tokenizer:");
  if (recipe.input.dtype !== null) refuse("rounded inputs", "input", "remove input:");
}

/** Reads all that is weighed. @throws what planning the recipe throws. */
export async function readWeighed(recipe: WeighingRecipe, inputs: OpenInputs): Promise<WeighedTensor[]> {
  const merged = makePlan(recipe, inputs).tensors.filter(({ action, tiedTo }) => action === "merge" && tiedTo === null);
  const base = weightsOf(inputs.base!);
  const models = inputs.models.map(weightsOf);
  const tensors: WeighedTensor[] = [];
  for (const { name, shape, inputs: found, settings } of merged) {
    if (found.length !== models.length) throw lacking(recipe, name);
    const start = await base.tensor(name);
    const changes = [];
    for (const model of models) changes.push(changeOf(start, await model.tensor(name)));
    tensors.push({
      name,
      shape,
      base: start,
      parts: changes,
      merged: start.slice(),
      start: settings!.models.map(recipe.method.weighing.start),
    });
  }
  filter(recipe.method, merged, tensors);
  return tensors;
}

/** In the model's own array. */
function changeOf(base: Float32Array, model: Float32Array): Float32Array {
  for (let p = 0; p < base.length; p++) model[p] = model[p]! - base[p]!;
  return model;
}

/** Replaces changes by what the method weighs of them. */
function filter(
  method: WeighingRecipe["method"],
  planned: readonly PlannedTensor[],
  tensors: readonly WeighedTensor[],
): void {
  const settings = planned[0]!.settings!;
  let known: Known = {};
  const need = method.needs(settings, known);
  if (need !== null) {
    if (need.statistic !== "threshold" || need.scope !== "model")
      throw new RangeError(`${method.name} weighs by ${need.statistic}`);
    const entries = tensors.reduce((sum, { base }) => sum + base.length, 0);
    const found = need.ranks.map((rankOf, model) => {
      const rank = rankOf(entries);
      if (rank === null) return { threshold: 0, kept: entries };
      return magnitudeOfRank(
        tensors.map(({ parts }) => parts[model]!),
        rank,
      );
    });
    known = {
      threshold: { thresholds: found.map(({ threshold }) => threshold), kept: found.map(({ kept }) => kept), entries },
    };
  }
  const pass = (into: (tensor: WeighedTensor) => readonly Float32Array[]) => {
    const counters: Record<string, number> = {};
    for (const [index, tensor] of tensors.entries()) {
      const { base, parts } = tensor;
      const args = method.bind(planned[index]!.settings!, known);
      method.weighing.parts({ count: base.length, inputs: parts, counters }, args, into(tensor));
    }
    return counters;
  };
  if (needsVotes(method, settings)) {
    const { positive = 0, negative = 0 } = pass(({ parts }) => parts.map((part) => new Float32Array(part.length)));
    known = { ...known, votes: { positive, negative } };
  }
  pass(({ parts }) => parts);
}

function needsVotes(method: TileMethod, settings: Settings): boolean {
  return (method.majority?.(settings) ?? null) !== null;
}

/** Makes `merged` of every tensor, with the roundings and in the order of the method's definition. */
export function weigh(tensors: readonly WeighedTensor[], coefficient: (tensor: number, model: number) => number): void {
  for (const [index, { base, parts, merged }] of tensors.entries()) {
    const weights = Float32Array.from(parts, (_, model) => coefficient(index, model));
    merged.fill(0);
    const fours = parts.length - (parts.length % 4);
    for (let model = 0; model < fours; model += 4) addFour(merged, parts, weights, model);
    for (let model = fours; model < parts.length; model++) addOne(merged, parts[model]!, weights[model]!);
    for (let p = 0; p < merged.length; p++) merged[p] = base[p]! + merged[p]!;
  }
}

/** Four models in one pass over the sum, which takes half the time of four passes. */
function addFour(sum: Float32Array, parts: readonly Float32Array[], weights: Float32Array, first: number): void {
  const [a, b, c, d] = [parts[first]!, parts[first + 1]!, parts[first + 2]!, parts[first + 3]!];
  const [wa, wb, wc, wd] = [weights[first]!, weights[first + 1]!, weights[first + 2]!, weights[first + 3]!];
  for (let p = 0; p < sum.length; p++) {
    let s = fround(sum[p]! + fround(a[p]! * wa));
    s = fround(s + fround(b[p]! * wb));
    s = fround(s + fround(c[p]! * wc));
    sum[p] = s + fround(d[p]! * wd);
  }
}

function addOne(sum: Float32Array, part: Float32Array, weight: number): void {
  for (let p = 0; p < sum.length; p++) sum[p] = sum[p]! + fround(part[p]! * weight);
}

/** ⟨gradient, part⟩ of every tensor and model, `[tensors, models]`, summed in f64 in four strands. */
export function productsWith(tensors: readonly WeighedTensor[], gradients: readonly Float32Array[]): Float64Array {
  const models = tensors[0]!.parts.length;
  const products = new Float64Array(tensors.length * models);
  for (const [index, { parts }] of tensors.entries()) {
    for (const [model, part] of parts.entries())
      products[index * models + model] = innerProduct(gradients[index]!, part);
  }
  return products;
}

function innerProduct(a: Float32Array, b: Float32Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const whole = a.length - (a.length % 4);
  for (let p = 0; p < whole; p += 4) {
    s0 += a[p]! * b[p]!;
    s1 += a[p + 1]! * b[p + 1]!;
    s2 += a[p + 2]! * b[p + 2]!;
    s3 += a[p + 3]! * b[p + 3]!;
  }
  for (let p = whole; p < a.length; p++) s0 += a[p]! * b[p]!;
  return s0 + s1 + (s2 + s3);
}

/** The merged weights for a network; tensors that are not merged are the base's. */
export function mergedWeights(base: Checkpoint, tensors: readonly WeighedTensor[]): WeightSource {
  const stored = heldInMemory(weightsOf(base));
  const merged = new Map(tensors.map(({ name, merged: values }) => [name, values]));
  return {
    ...stored,
    label: "the merge",
    tensor: (name) => (merged.has(name) ? Promise.resolve(merged.get(name)!) : stored.tensor(name)),
  };
}

/** Tensors are read once and kept. */
export function heldInMemory(weights: WeightSource): WeightSource {
  const held = new Map<string, Promise<Float32Array>>();
  return {
    ...weights,
    tensor(name) {
      const known = held.get(name) ?? weights.tensor(name);
      held.set(name, known);
      return known;
    },
  };
}

function lacking(recipe: Recipe, tensor: string): MergewrightError {
  return new MergewrightError("coefficients are learnt for tensors that every model has", {
    kind: "request",
    code: "recipe/unsupported",
    where: { ...whereOf(recipe, "missing"), tensor },
    advice: "exclude the tensor",
  });
}
