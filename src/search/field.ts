/** A recipe with other numbers in some of its fields, through the same validator as any recipe. */

import type { Where } from "../errors.js";
import { buildRecipe, isMergekit } from "../recipe/build.js";
import type { RecipeContext } from "../recipe/context.js";
import { issue, nearest, oneOf, quote } from "../recipe/issues.js";
import { readTree } from "../recipe/native.js";
import type { Recipe } from "../recipe/recipe.js";
import { type Dictionary, dictionary, entryOf, list, type Node, plainScalar, withEntry } from "../recipe/tree.js";
import { stringifyRecipe } from "../recipe/write.js";
import { readYaml } from "../recipe/yaml.js";
import type { Axis } from "./axis.js";

const EVERY_MODEL = "models.*.";

/** A recipe whose fields can be set. */
export interface Template {
  readonly recipe: Recipe;
  readonly root: Dictionary;
  readonly context: RecipeContext;
}

/** @throws MergewrightError as parseRecipe. */
export function readTemplate(text: string, context: RecipeContext): Template {
  const root = readTree(text, context.file);
  const recipe = buildRecipe(root, context);
  // Fields are named in our own words, so a recipe in mergekit's is taken in ours.
  if (!isMergekit(root)) return { recipe, root: root as Dictionary, context };
  return { recipe, root: readYaml(stringifyRecipe(recipe), undefined) as Dictionary, context };
}

/**
 * The recipe with a number in each of some fields.
 * @throws MergewrightError for a field that recipes of this method do not have, or a number that it cannot hold.
 */
export function recipeWith(
  { recipe, root, context }: Template,
  fields: readonly (readonly [field: string, value: number])[],
): Recipe {
  let changed: Dictionary = root;
  for (const [field, value] of fields) {
    const where = { key: `--over ${field}=${value}` };
    changed = setField(changed, field, plainScalar(String(value), where), recipe, where);
  }
  return buildRecipe(changed, context);
}

/** The same axes with `models.*.FIELD` as one axis per model, in recipe order. */
export function expandAxes({ recipe }: Template, axes: readonly Axis[]): Axis[] {
  return axes.flatMap((axis) => {
    if (!axis.field.startsWith(EVERY_MODEL)) return [axis];
    const rest = axis.field.slice(EVERY_MODEL.length);
    return recipe.models.map(({ name }) => ({ ...axis, field: `models.${name}.${rest}` }));
  });
}

/** The recipe with another method and some of its models. */
export function recipeOf({ root, context }: Template, method: string, models: readonly number[]): Recipe {
  const kept = new Set(["base", "exclude", "heads", "missing", "input", "output", "seed"]);
  const where = { key: "--soup" };
  const given = entryOf(root, "models")!;
  const items = given.node.kind === "list" ? given.node.items : [];
  const plain = items.map((item) => (item.kind === "dictionary" ? entryOf(item, "model")!.node : item));
  const entries = [
    { key: "method", where, node: plainScalar(method, where) },
    {
      ...given,
      node: list(
        models.map((index) => plain[index]!),
        given.node.where,
      ),
    },
    ...root.entries.filter(({ key }) => kept.has(key)),
  ];
  return buildRecipe(dictionary(entries, root.where), context);
}

function setField(root: Dictionary, field: string, value: Node, recipe: Recipe, where: Where): Dictionary {
  if (!field.startsWith("models.")) return setIn(root, field.split("."), value, where);
  const models = entryOf(root, "models")!;
  const rest = field.slice("models.".length);
  const names = recipe.models.map(({ name }) => name);
  const index = names.findIndex((name, at) => rest.startsWith(`${name}.`) || rest.startsWith(`${at + 1}.`));
  if (index === -1 || models.node.kind !== "list") {
    const close = nearest(rest.split(".")[0]!, names);
    throw issue(`no model is called ${quote(rest.split(".")[0]!)}`, {
      code: "usage",
      where,
      expected: `models.${oneOf(names)}, and the field`,
      ...(close !== undefined && { advice: `write models.${close}` }),
    });
  }
  const name = rest.startsWith(`${names[index]!}.`) ? names[index]! : String(index + 1);
  const path = rest.slice(name.length + 1).split(".");
  const items = models.node.items.map((item, at) => (at === index ? modelWith(item, path, value, where) : item));
  return withEntry(root, { ...models, node: list(items, models.node.where) });
}

/** A model's number may stand beside its path or under `parameters`. */
function modelWith(item: Node, path: readonly string[], value: Node, where: Where): Dictionary {
  const model =
    item.kind === "dictionary" ? item : dictionary([{ key: "model", where: item.where, node: item }], item.where);
  const [key = "", ...rest] = path;
  const own = entryOf(entryOf(model, "parameters")?.node, key) !== undefined;
  return setIn(model, own ? ["parameters", key, ...rest] : path, value, where);
}

/** Puts a value at a path of keys; maps that are missing on the way are made, for the validator to judge. */
function setIn(block: Dictionary, [key = "", ...rest]: readonly string[], value: Node, where: Where): Dictionary {
  if (rest.length === 0) return withEntry(block, { key, where, node: value });
  const inner = entryOf(block, key)?.node;
  const map = inner?.kind === "dictionary" ? inner : dictionary([], where);
  return withEntry(block, { key, where, node: setIn(map, rest, value, where) });
}
