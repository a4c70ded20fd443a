/** Which value of a recipe holds for which tensor, and which patterns a recipe contains. */

import { MergewrightError, type Where } from "../errors.js";
import type { Parameter, ParameterValue, Settings, Values } from "../methods/method.js";
import { compileGlob, type Glob } from "./glob.js";
import { nearest, quote } from "./issues.js";
import { type Gradient, isGradient, type ModelSetting, type Recipe, type SettingValue } from "./recipe.js";

/** Enough for any recipe; a planner asks for the same few patterns at every tensor. */
const MOST_COMPILED = 2000;
const compiled = new Map<string, Glob>();

/** Whether a tensor's whole name matches a pattern; see glob.ts for what a pattern may hold. */
export function matches(pattern: string, name: string): boolean {
  let glob = compiled.get(pattern);
  if (glob === undefined) {
    if (compiled.size >= MOST_COMPILED) compiled.clear();
    glob = compileGlob(pattern);
    compiled.set(pattern, glob);
  }
  return glob.matches(name);
}

/** Whether the recipe keeps a tensor out of the merge. */
export function isExcluded(recipe: Pick<Recipe, "exclude">, tensorName: string): boolean {
  return recipe.exclude.some((pattern) => matches(pattern, tensorName));
}

type Block = Readonly<Record<string, ModelSetting>>;

/** What settings depend on of a tensor of the result. */
export interface Place {
  /** Of the tensor in the result. */
  readonly name: string;
  /** From 0 at the first layer to 1 at the last. */
  readonly t: number;
  /** Values of the slice and of the module, the stronger first; empty without a layout. */
  readonly blocks: readonly Block[];
  readonly members: readonly PlaceMember[];
}

export interface PlaceMember {
  /** Index into `Recipe.models`. */
  readonly model: number;
  /** Of the tensor in the model. */
  readonly name: string;
  /** Values of the member of a slice; stronger than the model's. */
  readonly own: Block;
}

/** The place of a tensor in a recipe without a layout. */
export function flatPlace(name: string, t: number, models: readonly number[]): Place {
  return { name, t, blocks: [], members: models.map((model) => ({ model, name, own: {} })) };
}

/** The value of the first pattern that matches, else the setting's own. */
export function valueFor({ value, patterns }: ModelSetting, tensorName: string): SettingValue | undefined {
  const match = patterns.find(({ pattern }) => matches(pattern, tensorName));
  return match === undefined ? value : match.value;
}

/** The value of a gradient at `t`, as f64. */
export function gradientAt(gradient: Gradient, t: number): ParameterValue {
  const at = t * (gradient.length - 1);
  const index = Math.floor(at);
  const low = gradient[index]!;
  if (typeof low !== "number") return low;
  const share = at - index;
  return (1 - share) * low + share * Number(gradient[Math.min(index + 1, gradient.length - 1)]);
}

/**
 * The values for one tensor, for the models that have it. The first that exists: model pattern, model value, pattern
 * and value of the slice, of the module, global pattern, global value (which is the dialect's or the parameter's
 * default where the recipe is silent).
 * @throws recipe/missing-key where nothing gives a number, recipe/out-of-range where a gradient misses whole numbers.
 */
export function settingsFor(recipe: Recipe, place: Place): Settings {
  const { name, t, blocks } = place;
  const shared = [...blocks, recipe.parameters];
  const read = (members: PlaceMember | null): Values => {
    const values: [string, ParameterValue][] = [];
    for (const parameter of Object.keys(recipe.parameters)) {
      const declared = recipe.method.parameters[parameter]!;
      const found = settingFor(recipe, members, parameter) ?? firstOf(shared, parameter, name);
      const value = isGradient(found) ? gradientAt(found, t) : (found ?? null);
      if (!isWhole(declared, value)) throw missedInteger(recipe, parameter, name, value);
      if (value === null && members !== null && declared.type !== "checkpoint") {
        throw missingValue(recipe, parameter, name, members);
      }
      values.push([parameter, value]);
    }
    return Object.fromEntries(values);
  };
  const global = read(null);
  for (const [parameter, value] of Object.entries(global)) {
    const { per, type } = recipe.method.parameters[parameter]!;
    if (value === null && per !== "model" && type !== "checkpoint") {
      throw missingValue(recipe, parameter, name, null);
    }
  }
  return { global, models: place.members.map(read) };
}

/**
 * Whether every tensor of the same models has the same values.
 * @param but the name of a parameter that may differ.
 */
export function isUniform({ layout, parameters, models }: Recipe, but?: string): boolean {
  const isOne = ([name, { value, patterns }]: readonly [string, ModelSetting]) =>
    name === but || (patterns.length === 0 && !isGradient(value));
  const blocks = [parameters, ...models.map((model) => model.parameters)];
  return layout === null && blocks.every((block) => Object.entries(block).every(isOne));
}

function settingFor({ models }: Recipe, member: PlaceMember | null, parameter: string): SettingValue | undefined {
  if (member === null) return undefined;
  return firstOf([member.own, models[member.model]!.parameters], parameter, member.name);
}

function firstOf(blocks: readonly Block[], parameter: string, name: string): SettingValue | undefined {
  for (const block of blocks) {
    const setting = block[parameter];
    const value = setting && valueFor(setting, name);
    if (value !== undefined) return value;
  }
  return undefined;
}

function isWhole(declared: Parameter, value: ParameterValue): boolean {
  return declared.type !== "number" || declared.integer !== true || value === null || Number.isInteger(value);
}

function missedInteger(recipe: Recipe, parameter: string, tensor: string, value: ParameterValue): MergewrightError {
  return new MergewrightError(`the gradient of ${parameter} misses the whole numbers`, {
    kind: "request",
    code: "recipe/out-of-range",
    where: { ...whereOf(recipe, `parameters.${parameter}`), tensor },
    expected: "a whole number at every layer",
    found: String(value),
    advice: `give ${parameter} a single value, or values by patterns`,
  });
}

function missingValue(recipe: Recipe, parameter: string, tensor: string, member: PlaceMember | null): MergewrightError {
  const of = member === null ? "" : ` of ${recipe.models[member.model]!.name}`;
  const path = member === null ? `parameters.${parameter}` : `models.${member.model}.parameters.${parameter}`;
  return new MergewrightError(`nothing gives the ${parameter}${of} a value for a tensor`, {
    kind: "request",
    code: "recipe/missing-key",
    where: { ...whereOf(recipe, path), tensor },
    expected: `a value of ${parameter} that holds for every tensor`,
    advice: `add ${parameter} to the recipe's parameters: it holds wherever nothing else does`,
  });
}

/**
 * The pruner's values per model for one tensor: model pattern, model value, global pattern, global value; `null` for a
 * recipe that does not prune.
 * @throws recipe/missing-key where nothing gives a value.
 */
export function pruningFor(recipe: Recipe, { name, t, members }: Place): readonly Values[] | null {
  const { prune, models } = recipe;
  if (prune === null) return null;
  return members.map((member) => {
    const own = models[member.model]!.prune;
    const values = Object.keys(prune.parameters).map((parameter): [string, ParameterValue] => {
      const found = firstOf([own], parameter, member.name) ?? firstOf([prune.parameters], parameter, name);
      if (found === undefined || found === null) throw missingPruning(recipe, parameter, name);
      return [parameter, isGradient(found) ? gradientAt(found, t) : found];
    });
    return Object.fromEntries(values);
  });
}

function missingPruning(recipe: Recipe, parameter: string, tensor: string): MergewrightError {
  return new MergewrightError(`nothing gives the ${parameter} of prune a value for a tensor`, {
    kind: "request",
    code: "recipe/missing-key",
    where: { ...whereOf(recipe, `prune.${parameter}`), tensor },
    expected: `a value of ${parameter} that holds for every tensor`,
  });
}

/** Where a key path was written; for a default, where the nearest key around it stands. */
export function whereOf({ positions }: Pick<Recipe, "positions">, path: string): Where {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
    if (Object.hasOwn(positions, at)) return positions[at]!;
    if (at === "") return {};
  }
}

export interface PatternUse {
  readonly pattern: string;
  /** Key path in `Recipe.positions`. */
  readonly path: string;
  readonly where: Where;
}

/** Every pattern of a recipe with its place. */
export function patternsOf(recipe: Recipe): readonly PatternUse[] {
  const uses: PatternUse[] = [];
  const add = (pattern: string, path: string) => uses.push({ pattern, path, where: whereOf(recipe, path) });
  const addSetting = (setting: ModelSetting | null, path: string) =>
    setting?.patterns.forEach(({ pattern }, index) => add(pattern, `${path}.patterns.${index}`));
  const addBlock = (block: Block, path: string) => {
    for (const [name, setting] of Object.entries(block)) addSetting(setting, `${path}.${name}`);
  };
  addBlock(recipe.parameters, "parameters");
  recipe.models.forEach((model, index) => {
    addBlock(model.parameters, `models.${index}.parameters`);
    addBlock(model.prune, `models.${index}.prune`);
  });
  recipe.layout?.modules.forEach((module, index) => {
    addBlock(module.parameters, `layout.${index}.parameters`);
    module.slices.forEach((slice, at) => {
      addBlock(slice.parameters, `layout.${index}.slices.${at}.parameters`);
      slice.members.forEach((member, place) =>
        addBlock(member.parameters, `layout.${index}.slices.${at}.members.${place}.parameters`),
      );
    });
  });
  addBlock(recipe.prune?.parameters ?? {}, "prune");
  recipe.exclude.forEach((pattern, index) => add(pattern, `exclude.${index}`));
  return uses;
}

/** The patterns that match none of the names; a planner reports the first with `unmatchedPattern`. */
export function unmatchedPatterns(recipe: Recipe, tensorNames: Iterable<string>): readonly PatternUse[] {
  const names = [...tensorNames];
  return patternsOf(recipe).filter(({ pattern }) => !names.some((name) => matches(pattern, name)));
}

export function unmatchedPattern({ pattern, where }: PatternUse, tensorNames: Iterable<string>): MergewrightError {
  const names = [...tensorNames];
  const close = nearest(pattern, names) ?? names[0];
  return new MergewrightError(`the pattern ${quote(pattern)} matches no tensor`, {
    kind: "request",
    code: "recipe/pattern",
    where,
    expected: "a pattern of the whole name, such as *.mlp.*",
    ...(close !== undefined && { found: `${names.length} tensors, for example ${quote(close)}` }),
    advice: "correct the pattern or remove it",
  });
}
