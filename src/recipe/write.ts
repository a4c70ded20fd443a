/** A recipe as YAML: canonical and complete, every default written out, so that it means the same in later versions. */

import { Document, Pair, Scalar, YAMLMap, YAMLSeq } from "yaml";
import { DTYPE_OF_RECIPE_NAME } from "../numbers/dtypes.js";
import { samePath } from "./models.js";
import type { ModelSetting, Recipe, RecipeModel } from "./recipe.js";
import { SIZE_UNITS } from "./values.js";

/** Parses back to an equal recipe (positions apart). */
export function stringifyRecipe(recipe: Recipe): string {
  return new Document(recipeNode(recipe, true), { version: "1.2", schema: "core" }).toString({
    lineWidth: 0,
    flowCollectionPadding: false,
  });
}

/** @param isWritten the result becomes files; not so for a merge that is an input. */
function recipeNode(recipe: Recipe, isWritten: boolean): YAMLMap {
  const { method, dialect, base, models, dare, exclude, heads, missing, seed, output, merges } = recipe;
  return map([
    ["method", method.name],
    ...(dialect === "" ? [] : [["dialect", dialect] as const]),
    ["base", base === null ? null : originNode(base, merges)],
    ["models", sequence(models.map((model) => modelNode(model, merges)))],
    ...(hasDuplicates(models) ? [["allow_duplicates", true] as const] : []),
    ["parameters", parametersNode(recipe)],
    [
      "dare",
      dare === null
        ? null
        : map([
            ["drop", settingNode(dare.drop)],
            ["rescale", dare.rescale],
          ]),
    ],
    ["exclude", sequence(exclude)],
    ["heads", heads],
    ["missing", missing],
    ["seed", seed],
    [
      "output",
      map([
        ["dtype", dtypeName(output.dtype)],
        ...(isWritten ? [["shard_size", sizeText(output.shardSize)] as const] : []),
      ]),
    ],
  ]);
}

/** A path, or the merge that a label stands for. */
function originNode(label: string, merges: Recipe["merges"]): unknown {
  return Object.hasOwn(merges, label) ? map([["merge", recipeNode(merges[label]!, false)]]) : label;
}

/** Parameters that name checkpoints may name merges. */
function parametersNode({ parameters, method, merges }: Recipe): YAMLMap {
  return map(
    Object.entries(parameters).map(([name, setting]) => {
      const isLabel = method.parameters[name]?.type === "checkpoint" && typeof setting.value === "string";
      return [name, isLabel ? originNode(setting.value, merges) : settingNode(setting)];
    }),
  );
}

/** Built node by node: an object would sort pattern keys that look like numbers to the front. */
function map(entries: readonly (readonly [string, unknown])[]): YAMLMap {
  const node = new YAMLMap();
  for (const [key, value] of entries) node.items.push(new Pair(new Scalar(key), toNode(value)));
  node.flow = entries.length === 0;
  return node;
}

function sequence(values: readonly unknown[]): YAMLSeq {
  const node = new YAMLSeq();
  for (const value of values) node.items.push(toNode(value));
  node.flow = values.length === 0;
  return node;
}

function toNode(value: unknown): YAMLMap | YAMLSeq | Scalar {
  return value instanceof YAMLMap || value instanceof YAMLSeq ? value : new Scalar(value);
}

function modelNode({ model, name, parameters, drop }: RecipeModel, merges: Recipe["merges"]): YAMLMap {
  return map([
    Object.hasOwn(merges, model) ? ["merge", recipeNode(merges[model]!, false)] : ["model", model],
    ["name", name],
    ...(Object.keys(parameters).length === 0 ? [] : [["parameters", settingsNode(parameters)] as const]),
    ...(drop === null ? [] : [["drop", settingNode(drop)] as const]),
  ]);
}

function settingsNode(settings: Readonly<Record<string, ModelSetting>>): YAMLMap {
  return map(Object.entries(settings).map(([name, setting]) => [name, settingNode(setting)]));
}

function settingNode({ value, patterns }: ModelSetting): unknown {
  if (patterns.length === 0 && value !== undefined) return value;
  return map([
    ...(value === undefined ? [] : [["value", value] as const]),
    ["patterns", map(patterns.map((pattern) => [pattern.pattern, pattern.value]))],
  ]);
}

function hasDuplicates(models: readonly RecipeModel[]): boolean {
  return new Set(models.map(({ model }) => samePath(model))).size < models.length;
}

function dtypeName(dtype: Recipe["output"]["dtype"]): string | null {
  const entry = Object.entries(DTYPE_OF_RECIPE_NAME).find(([, name]) => name === dtype);
  return entry === undefined ? null : entry[0];
}

/** In the largest unit that divides it: 5000000000 is 5GB. */
function sizeText(bytes: number): string | number {
  const unit = Object.entries(SIZE_UNITS).find(([, size]) => bytes % size === 0)!;
  return unit[0] === "B" ? bytes : `${bytes / unit[1]}${unit[0]}`;
}
