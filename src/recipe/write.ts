/** A recipe as YAML: canonical and complete, every default written out, so that it means the same in later versions. */

import { Document, Pair, Scalar, YAMLMap, YAMLSeq } from "yaml";
import { DTYPE_OF_RECIPE_NAME } from "../numbers/dtypes.js";
import { samePath } from "./models.js";
import {
  isGradient,
  type LayerRange,
  type Layout,
  type LayoutModule,
  type ModelSetting,
  type Recipe,
  type RecipeModel,
  type SettingValue,
  type Slice,
  type TokenizerWish,
  type TokenSource,
  type TokenWish,
} from "./recipe.js";
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
  const { method, dialect, base, models, layout, prune, lines, exclude, heads, missing, seed, output, merges } = recipe;
  const { compat, input, tokenizer, chatTemplate } = recipe;
  return map([
    ["method", method.name],
    ...(dialect === "" ? [] : [["dialect", dialect] as const]),
    ["base", base === null ? null : originNode(base, merges)],
    layout === null
      ? ["models", sequence(models.map((model) => modelNode(model, merges)))]
      : layoutEntry(recipe, layout),
    ...(layout === null && hasDuplicates(models) ? [["allow_duplicates", true] as const] : []),
    ["parameters", parametersNode(recipe)],
    ...(recipe.coefficients === null ? [] : [["coefficients", recipe.coefficients] as const]),
    [
      "prune",
      prune === null
        ? null
        : map([
            ["by", prune.pruner.name],
            ...Object.entries(prune.parameters).map(([name, setting]) => [name, settingNode(setting)] as const),
          ]),
    ],
    [
      "lines",
      lines === null
        ? null
        : map([
            ["alpha", lines.alpha],
            ["beta", lines.beta],
          ]),
    ],
    ["exclude", sequence(exclude)],
    ["heads", heads],
    ["missing", missing],
    ["seed", seed],
    ...(input.dtype === null ? [] : [["input", map([["dtype", dtypeName(input.dtype)]])] as const]),
    [
      "output",
      map([
        ["dtype", dtypeName(output.dtype)],
        ...(isWritten ? [["shard_size", sizeText(output.shardSize)] as const] : []),
      ]),
    ],
    ...(tokenizer === null ? [] : [["tokenizer", tokenizerNode(tokenizer)] as const]),
    ...(chatTemplate === null ? [] : [["chat_template", chatTemplate] as const]),
    ...(compat === "none" ? [] : [["compat", compat] as const]),
  ]);
}

/** A path, or the merge that a label stands for. */
function originNode(label: string, merges: Recipe["merges"]): unknown {
  return Object.hasOwn(merges, label) ? map([["merge", recipeNode(merges[label]!, false)]]) : label;
}

/** Parameters that name checkpoints may name merges; what a table gives is not written. */
function parametersNode({ parameters, method, merges, coefficients }: Recipe): YAMLMap {
  const ofTable = coefficients === null ? undefined : method.weighing?.coefficient;
  const written = Object.entries(parameters).filter(([name]) => name !== ofTable);
  return map(
    written.map(([name, setting]) => {
      if (method.parameters[name]?.type !== "checkpoint") return [name, settingNode(setting)];
      return [name, typeof setting.value === "string" ? originNode(setting.value, merges) : null];
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

function modelNode({ model, name, statistics, parameters, prune }: RecipeModel, merges: Recipe["merges"]): YAMLMap {
  return map([
    Object.hasOwn(merges, model) ? ["merge", recipeNode(merges[model]!, false)] : ["model", model],
    ["name", name],
    ...(statistics === undefined ? [] : [["statistics", statistics] as const]),
    ...(Object.keys(parameters).length === 0 ? [] : [["parameters", settingsNode(parameters)] as const]),
    ...(Object.keys(prune).length === 0 ? [] : [["prune", settingsNode(prune)] as const]),
  ]);
}

function settingsNode(settings: Readonly<Record<string, ModelSetting>>): YAMLMap {
  return map(Object.entries(settings).map(([name, setting]) => [name, settingNode(setting)]));
}

/** `null` alone would be no value of a number, inside a map it says that there is none. */
function settingNode({ value, patterns }: ModelSetting): unknown {
  if (patterns.length === 0 && value !== undefined && value !== null) return valueNode(value);
  return map([
    ...(value === undefined ? [] : [["value", value === null ? null : valueNode(value)] as const]),
    ...(patterns.length === 0 && value !== undefined
      ? []
      : [["patterns", map(patterns.map((pattern) => [pattern.pattern, valueNode(pattern.value)]))] as const]),
  ]);
}

function valueNode(value: SettingValue): unknown {
  return isGradient(value) ? row(value) : value;
}

/** A short list on one line. */
function row(values: readonly unknown[]): YAMLSeq {
  const node = sequence(values);
  node.flow = true;
  return node;
}

/** `slices:` where the whole network is one module, else `modules:`. */
function layoutEntry(recipe: Recipe, { modules }: Layout): readonly [string, unknown] {
  const slicesNode = ({ slices }: LayoutModule) => sequence(slices.map((slice) => sliceNode(recipe, slice)));
  const [only, ...others] = modules;
  if (others.length === 0 && only!.prefix === "" && Object.keys(only!.parameters).length === 0) {
    return ["slices", slicesNode(only!)];
  }
  const nodes = modules.map((module): [string, unknown] => [
    module.prefix,
    map([
      ["slices", slicesNode(module)],
      ...(Object.keys(module.parameters).length === 0
        ? []
        : [["parameters", settingsNode(module.parameters)] as const]),
    ]),
  ]);
  return ["modules", map(nodes)];
}

function sliceNode({ models, merges }: Recipe, { base, members, parameters }: Slice): YAMLMap {
  const range = (key: string, layers: LayerRange) => (layers === null ? [] : [[key, row(layers)] as const]);
  const own = base === null || base.model === -1 ? null : originNode(models[base.model]!.model, merges);
  return map([
    ...(base?.model === -1 ? [] : [["base", own] as const]),
    ...range("base_layers", base?.layers ?? null),
    [
      "models",
      sequence(
        members.map(({ model, layers, parameters: mine }) =>
          map([
            ["model", originNode(models[model]!.model, merges)],
            ["name", models[model]!.name],
            ...range("layers", layers),
            ...(Object.keys(mine).length === 0 ? [] : [["parameters", settingsNode(mine)] as const]),
          ]),
        ),
      ),
    ],
    ...(Object.keys(parameters).length === 0 ? [] : [["parameters", settingsNode(parameters)] as const]),
  ]);
}

function tokenizerNode({ source, tokens, padToMultipleOf, keepPadding }: TokenizerWish): YAMLMap {
  return map([
    ["source", source.kind === "model" ? source.model : source.kind],
    ...(tokens.length === 0 ? [] : [["tokens", map(tokens.map(tokenEntry))] as const]),
    ...(padToMultipleOf === null ? [] : [["pad_to_multiple_of", padToMultipleOf] as const]),
    ["keep_padding", keepPadding],
  ]);
}

function tokenEntry({ token, source, force }: TokenWish): readonly [string, unknown] {
  return [token, map([...(source === null ? [] : [["source", tokenSourceNode(source)] as const]), ["force", force]])];
}

function tokenSourceNode(source: TokenSource): unknown {
  if (source.kind === "model") return source.model;
  if (source.kind === "zero") return map([["kind", "zero"]]);
  const { model, token } = source;
  return map([
    ["kind", "model_token"],
    ["model", model],
    typeof token === "number" ? ["token_id", token] : ["token", token],
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
