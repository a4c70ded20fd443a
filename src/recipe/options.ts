/**
 * Recipes from command-line flags, alone or on top of a file. Flags become the same tree that a file becomes and pass
 * the same validator; a place then names the flag. A flag replaces what the file says at the same place: a global
 * value with its patterns, a model's value with its patterns, the whole list of models or of exclusions. A flag for a
 * pattern comes before the file's patterns.
 */

import type { Where } from "../errors.js";
import { buildRecipe, isMergekit } from "./build.js";
import type { RecipeContext } from "./context.js";
import { issue, nearest, oneOf, quote } from "./issues.js";
import { MODEL_KEYS, modelNames } from "./models.js";
import type { Recipe } from "./recipe.js";
import {
  type Dictionary,
  dictionary,
  type Entry,
  entryOf,
  list,
  type Node,
  plainScalar,
  type Scalar,
  scalar,
  withEntry,
  withoutEntry,
} from "./tree.js";
import { keepText, readTree } from "./native.js";
import { stringifyRecipe } from "./write.js";
import { readYaml } from "./yaml.js";

/** The pieces of a recipe as flags give them: text, not yet understood. */
export interface RecipeOptions {
  /** `ties` or `ties/paper`. */
  readonly method?: string | undefined;
  readonly dialect?: string | undefined;
  readonly base?: string | undefined;
  readonly models?: readonly string[] | undefined;
  /**
   * `density=0.2`; for one model `mnist.weight=0.5` (its name) or `model1.weight=0.5` (its number, from 1); for
   * tensors `density@*.mlp.*=0.5`; both `mnist.density@*.mlp.*=0.5`.
   */
  readonly parameters?: readonly string[] | undefined;
  /** A pruner's name (`random`, `by=random`), `density=0.2`, `mnist.density@*.mlp.*=0.5`; `none` removes a file's. */
  readonly prune?: string | readonly string[] | undefined;
  /** How survivors of pruning are scaled: `none`, `inverse` or `norm`. */
  readonly rescale?: string | undefined;
  /** `0.9` or `drop=0.9`, `rescale=false`, `mnist.drop=0.5`, `drop@*.mlp.*=0.5`; `none` removes a file's DARE. */
  readonly dare?: string | readonly string[] | undefined;
  /** LiNeS: `0.1,0.2` is alpha and beta, `0.2` beta alone; `none` removes a file's. */
  readonly lines?: string | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly heads?: string | undefined;
  readonly missing?: string | undefined;
  readonly seed?: string | number | undefined;
  readonly dtype?: string | undefined;
  /** `5GB`, `500MB`, `1GiB`, or bytes. */
  readonly shardSize?: string | undefined;
  /** `none`, `mergekit` or `strict`; see Compat. */
  readonly compat?: string | undefined;
  readonly allowDuplicates?: boolean | undefined;
}

/** How each option is called on the command line, for messages. */
export const FLAGS: Readonly<Record<keyof RecipeOptions, string>> = {
  method: "--method",
  dialect: "--dialect",
  base: "--base",
  models: "--model",
  parameters: "--parameter",
  prune: "--prune",
  rescale: "--rescale",
  dare: "--dare",
  lines: "--lines",
  exclude: "--exclude",
  heads: "--heads",
  missing: "--missing",
  seed: "--seed",
  dtype: "--dtype",
  shardSize: "--shard-size",
  compat: "--compat",
  allowDuplicates: "--allow-duplicates",
};

/** @throws MergewrightError whose place is the flag. */
export function recipeFromOptions(options: RecipeOptions, context: RecipeContext): Recipe {
  const root = dictionary([], { key: "command line" });
  return buildRecipe(applyOptions(root, options), context);
}

/** The recipe of a file with flags on top. */
export function overrideRecipe(text: string, options: RecipeOptions, context: RecipeContext): Recipe {
  const root = readTree(text, context.file);
  if (root.kind !== "dictionary") return buildRecipe(root, context);
  if (isMergekit(root)) return overrideMergekit(root, text, options, context);
  const recipe = buildRecipe(applyOptions(root, options), context);
  const unreached = unreachedModels(recipe, options);
  return unreached.length === 0 ? recipe : { ...recipe, notes: [...recipe.notes, ...unreached] };
}

/** Flags speak of our own words, so they come on top of the same recipe in those. */
function overrideMergekit(root: Dictionary, text: string, options: RecipeOptions, context: RecipeContext): Recipe {
  const { compat, ...others } = options;
  const asked = compat === undefined ? root : put(root, "compat", plain("compat", compat));
  const recipe = keepText(buildRecipe(asked, context), root, text);
  if (Object.values(others).every((value) => value === undefined)) return recipe;
  const native = readYaml(stringifyRecipe(recipe), undefined) as Dictionary;
  const changed = buildRecipe(applyOptions(native, others), { methods: context.methods });
  const flags = Object.entries(changed.positions).filter(([, { line }]) => line === undefined);
  return {
    ...changed,
    mergekit: recipe.mergekit,
    notes: recipe.notes,
    positions: { ...recipe.positions, ...Object.fromEntries(flags) },
  };
}

export function applyOptions(file: Dictionary, options: RecipeOptions): Dictionary {
  let root = applyPlain(file, options);
  for (const assignment of assignments(options)) root = assign(root, assignment);
  return options.rescale === undefined ? root : putRescale(root, options.rescale);
}

/** Where the recipe prunes; a method that prunes by itself has a parameter of this name. */
function putRescale(root: Dictionary, rule: string): Dictionary {
  const node = text("rescale", rule);
  const given = (["dare", "prune"] as const).find((key) => entryOf(root, key)?.node.kind === "dictionary");
  const group = given ?? "parameters";
  const block = blockOf(root, group, node.where);
  return block === null ? root : put(root, group, put(block, "rescale", node));
}

function applyPlain(file: Dictionary, options: RecipeOptions): Dictionary {
  const { method, dialect, base, models, lines, exclude, heads, missing, seed, dtype, shardSize } = options;
  const { compat, allowDuplicates } = options;
  let root = file;
  const named = entryOf(file, "method")?.node;
  // A dialect belongs to its method: another method starts with its own default, another dialect replaces `ties/paper`.
  if (method !== undefined) root = put(withoutEntry(root, "dialect"), "method", text("method", method));
  else if (dialect !== undefined && named?.kind === "scalar") {
    root = put(root, "method", { ...named, text: named.text.split("/")[0]! });
  }
  if (dialect !== undefined) root = put(root, "dialect", text("dialect", dialect));
  if (base !== undefined) root = put(root, "base", text("base", base));
  if (models !== undefined) root = put(root, "models", texts("models", models));
  if (lines !== undefined) root = put(root, "lines", linesNode(lines));
  if (exclude !== undefined) root = put(root, "exclude", texts("exclude", exclude));
  if (heads !== undefined) root = put(root, "heads", text("heads", heads));
  if (missing !== undefined) root = put(root, "missing", text("missing", missing));
  if (seed !== undefined) root = put(root, "seed", plain("seed", seed));
  if (compat !== undefined) root = put(root, "compat", text("compat", compat));
  if (allowDuplicates !== undefined) root = put(root, "allow_duplicates", plain("allowDuplicates", allowDuplicates));
  if (dtype === undefined && shardSize === undefined) return root;
  let output = blockOf(root, "output", { key: FLAGS[dtype === undefined ? "shardSize" : "dtype"] });
  if (output === null) return root;
  if (dtype !== undefined) output = put(output, "dtype", text("dtype", dtype));
  if (shardSize !== undefined) output = put(output, "shard_size", plain("shardSize", shardSize));
  return put(root, "output", output);
}

function put(block: Dictionary, key: string, node: Node): Dictionary {
  return withEntry(block, { key, where: node.where, node });
}

/** The map under a key, an empty one where there is none; `null` for what the validator will refuse. */
function blockOf(root: Dictionary, key: string, where: Where): Dictionary | null {
  const node = entryOf(root, key)?.node;
  if (node === undefined || (node.kind === "scalar" && node.value === null)) return dictionary([], where);
  return node.kind === "dictionary" ? node : null;
}

function linesNode(written: string): Node {
  const where = flag("lines", written);
  if (written === "none") return plainScalar("null", where);
  const parts = written.split(",");
  const beta = parts.pop()!;
  const entries = [...parts.map((alpha) => ["alpha", alpha] as const), ["beta", beta] as const];
  if (entries.length > 2) {
    throw issue("--lines takes one or two numbers", { code: "usage", where, expected: "ALPHA,BETA or BETA" });
  }
  return dictionary(
    entries.map(([key, value]) => ({ key, where, node: plainScalar(value, where) })),
    where,
  );
}

function text(option: keyof RecipeOptions, value: string): Scalar {
  return scalar(value, flag(option, value));
}

function plain(option: keyof RecipeOptions, value: string | number | boolean): Scalar {
  return plainScalar(String(value), flag(option, String(value)));
}

function texts(option: "models" | "exclude", values: readonly string[]): Node {
  return list(
    values.map((value) => text(option, value)),
    { key: FLAGS[option] },
  );
}

function flag(option: keyof RecipeOptions, text: string): Where {
  return { key: `${FLAGS[option]} ${/^[\w./:@=*-]{1,120}$/.test(text) ? text : quote(text)}` };
}

/** `[MODEL.]NAME[@PATTERN]=VALUE`, taken apart. */
interface Assignment {
  /** Under which key of the recipe it belongs, for the global value. */
  readonly group: "parameters" | "prune" | "dare";
  readonly model: string | null;
  readonly name: string;
  readonly pattern: string | null;
  readonly value: string;
  readonly where: Where;
}

function assignments({ parameters = [], prune = [], dare = [] }: RecipeOptions): Assignment[] {
  const listed = (given: string | readonly string[]) => (typeof given === "string" ? [given] : given);
  const all = [
    ...parameters.map((text) => parseAssignment(text, "parameters")),
    ...listed(prune).map((text) => parseAssignment(text, "prune")),
    ...listed(dare).map((text) => parseAssignment(text, "dare")),
  ];
  const seen = new Set<string>();
  for (const { group, model, name, pattern, where } of all) {
    const target = JSON.stringify([group, model, name, pattern]);
    if (seen.has(target))
      throw issue(`${name} is given twice`, { code: "usage", where, advice: "keep one of the two" });
    seen.add(target);
  }
  // A value replaces the patterns that a file has, so values go first; each pattern is put before those already there.
  const values = all.filter(({ pattern }) => pattern === null);
  return [...values, ...all.filter(({ pattern }) => pattern !== null).reverse()];
}

/** What a value without a name sets. */
const BARE = { prune: "by", dare: "drop" } as const;

function parseAssignment(written: string, group: Assignment["group"]): Assignment {
  const where = flag(group, written);
  if (group !== "parameters" && written === "none")
    return { group, model: null, name: "none", pattern: null, value: "", where };
  const text = group === "parameters" || written.includes("=") ? written : `${BARE[group]}=${written}`;
  const stop = text.search(/[@=]/);
  const patterned = stop !== -1 && text[stop] === "@";
  const equals = patterned ? text.lastIndexOf("=") : stop;
  if (equals < 1) {
    throw issue("an assignment needs a name and a value", {
      code: "usage",
      where,
      expected: "NAME=VALUE, MODEL.NAME=VALUE or NAME@PATTERN=VALUE",
      found: quote(text),
    });
  }
  const target = text.slice(0, patterned ? stop : equals);
  const dot = target.lastIndexOf(".");
  const model = dot === -1 ? null : target.slice(0, dot);
  const name = target.slice(dot + 1);
  if (group === "dare" && model !== null && name !== "drop") {
    throw issue(`${quote(name)} cannot be set for one model`, { code: "usage", where, expected: "MODEL.drop=VALUE" });
  }
  return {
    group,
    model,
    name,
    pattern: patterned ? text.slice(stop + 1, equals) : null,
    value: text.slice(equals + 1),
    where,
  };
}

function assign(root: Dictionary, assignment: Assignment): Dictionary {
  const { group, model, name, where } = assignment;
  if (model !== null) return assignToModel(root, assignment);
  if (name === "none" && group !== "parameters") return removePruning(root, group, where);
  const block = blockOf(root, group, where);
  return block === null ? root : put(root, group, setIn(block, assignment));
}

function removePruning(root: Dictionary, group: "prune" | "dare", where: Where): Dictionary {
  const bare = put(root, group, plainScalar("null", where));
  const own = group === "dare" ? "drop" : "prune";
  const models = entryOf(root, "models");
  if (models?.node.kind !== "list") return bare;
  const items = models.node.items.map((item) => (item.kind === "dictionary" ? withoutEntry(item, own) : item));
  return withEntry(bare, { ...models, node: { ...models.node, items } });
}

function assignToModel(root: Dictionary, assignment: Assignment): Dictionary {
  const entry = entryOf(root, "models");
  if (entry === undefined && (entryOf(root, "slices") ?? entryOf(root, "modules")) !== undefined) {
    throw issue("a flag sets no value of one model in a recipe with slices", {
      code: "usage",
      where: assignment.where,
      advice: "write it in the recipe, beside the model in its slice",
    });
  }
  if (entry?.node.kind !== "list") return root;
  const index = findModel(entry.node, assignment);
  const items = entry.node.items.map((item, at) => (at === index ? setInModel(item, assignment) : item));
  return withEntry(root, { ...entry, node: { ...entry.node, items } });
}

function findModel(models: Node, { model, where }: Assignment): number {
  const names = modelNames(models);
  const byName = names.indexOf(model!);
  if (byName !== -1) return byName;
  const number = /^model([1-9]\d{0,5})$/.exec(model!);
  if (number !== null && Number(number[1]) <= names.length) return Number(number[1]) - 1;
  const close = nearest(model!, names);
  throw issue(`there is no model ${quote(model!)}`, {
    code: "recipe/models",
    where,
    expected:
      names.length === 0 ? "a recipe with models" : `${oneOf(names.slice(0, 20))}, or model1 to model${names.length}`,
    ...(close !== undefined && { advice: `write ${close}` }),
  });
}

function setInModel(item: Node, assignment: Assignment): Node {
  const { group, name, where } = assignment;
  const model =
    item.kind === "scalar" ? dictionary([{ key: "model", where: item.where, node: item }], item.where) : item;
  if (model.kind !== "dictionary") return item;
  const flat = group === "parameters" && !MODEL_KEYS.includes(name) && entryOf(model, name) !== undefined;
  if (group === "dare" || flat) return setIn(model, assignment);
  const block = blockOf(model, group, where);
  return block === null ? item : put(model, group, setIn(block, assignment));
}

/** The block with one setting replaced, or with a pattern put before the setting's others. */
function setIn(block: Dictionary, { name, pattern, value, where }: Assignment): Dictionary {
  const node = plainScalar(value, where);
  if (pattern === null) return withEntry(block, { key: name, where, node });
  const old = entryOf(block, name);
  const setting = asSetting(old, where);
  const patterns = entryOf(setting, "patterns")?.node;
  const others = patterns?.kind === "dictionary" ? patterns.entries.filter(({ key }) => key !== pattern) : [];
  const first: Entry = { key: pattern, where, node };
  const changed = withEntry(setting, { key: "patterns", where, node: dictionary([first, ...others], where) });
  return withEntry(block, { key: name, where: old?.where ?? where, node: changed });
}

/** `0.2` as `{value: 0.2}`. */
function asSetting(entry: Entry | undefined, where: Where): Dictionary {
  if (entry === undefined) return dictionary([], where);
  if (entry.node.kind === "dictionary") return entry.node;
  return dictionary([{ key: "value", where: entry.where, node: entry.node }], entry.node.where);
}

/** A global flag does not reach models for which the file gives a value of their own. */
function unreachedModels({ models, positions }: Recipe, options: RecipeOptions): string[] {
  return assignments(options).flatMap(({ group, model, name, where }) => {
    if (model !== null) return [];
    const own = models.filter((_, index) => {
      const path = group === "dare" ? `models.${index}.${name}` : `models.${index}.${group}.${name}`;
      return Object.hasOwn(positions, path) && positions[path]!.line !== undefined;
    });
    if (own.length === 0) return [];
    return [`${where.key} does not reach ${own.map((one) => one.name).join(", ")}: the file sets ${name} there itself`];
  });
}
