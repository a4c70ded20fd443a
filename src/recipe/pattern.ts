/** Which value of a recipe holds for which tensor, and which patterns a recipe contains. */

import { MergewrightError, type Where } from "../errors.js";
import type { ParameterValue, Settings, Values } from "../methods/method.js";
import { compileGlob, type Glob } from "./glob.js";
import { nearest, quote } from "./issues.js";
import type { ModelSetting, Recipe, Setting } from "./recipe.js";

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

/** The value of the first pattern that matches, else the setting's own. */
export function valueFor(setting: Setting, tensorName: string): ParameterValue;
export function valueFor(setting: ModelSetting, tensorName: string): ParameterValue | undefined;
export function valueFor({ value, patterns }: ModelSetting, tensorName: string): ParameterValue | undefined {
  const match = patterns.find(({ pattern }) => matches(pattern, tensorName));
  return match === undefined ? value : match.value;
}

/**
 * The values for one tensor, for the models that have it: model pattern, then model value, then global pattern, then
 * global value (which is the dialect's or the parameter's default where the recipe is silent).
 */
export function settingsFor(recipe: Recipe, tensorName: string, modelIndices: readonly number[]): Settings {
  const global = valuesFor(recipe.parameters, tensorName);
  const models = modelIndices.map((index) => ({
    ...global,
    ...valuesFor(recipe.models[index]!.parameters, tensorName),
  }));
  return { global, models };
}

function valuesFor(settings: Readonly<Record<string, ModelSetting>>, tensorName: string): Values {
  const values: [string, ParameterValue][] = [];
  for (const [name, setting] of Object.entries(settings)) {
    const value = valueFor(setting, tensorName);
    if (value !== undefined) values.push([name, value]);
  }
  return Object.fromEntries(values);
}

/** DARE's drop per model for one tensor, by the same precedence; `null` without DARE. */
export function dropsFor(
  recipe: Recipe,
  tensorName: string,
  modelIndices: readonly number[],
): readonly number[] | null {
  const { dare, models } = recipe;
  if (dare === null) return null;
  const global = valueFor(dare.drop, tensorName);
  return modelIndices.map((index) => {
    const { drop } = models[index]!;
    return Number((drop && valueFor(drop, tensorName)) ?? global);
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
  for (const [name, setting] of Object.entries(recipe.parameters)) addSetting(setting, `parameters.${name}`);
  recipe.models.forEach((model, index) => {
    for (const [name, setting] of Object.entries(model.parameters)) {
      addSetting(setting, `models.${index}.parameters.${name}`);
    }
    addSetting(model.drop, `models.${index}.drop`);
  });
  addSetting(recipe.dare?.drop ?? null, "dare.drop");
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
