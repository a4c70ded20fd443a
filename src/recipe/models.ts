/** The models of a recipe: their paths, their short names, their own parameters. */

import { parseReference } from "../adapters/reference.js";
import type { Method } from "../methods/method.js";
import { quote, show } from "./issues.js";
import { readModelSetting } from "./parameters.js";
import { type Pruning, readModelPruning } from "./prune.js";
import type { ModelSetting, RecipeModel } from "./recipe.js";
import { type Entry, entryOf, list, type Node } from "./tree.js";
import { join, note, outOfRange, placed, readEntries, readLocation, type Reading, wrongType } from "./values.js";

/** Keys of a model that are no parameters. */
export const MODEL_KEYS: readonly string[] = ["model", "merge", "name", "statistics", "parameters", "prune", "drop"];
/** A name is also a folder's: heads/<name>/. */
const NAME = /^(?=.*[^.])[\p{L}\p{M}\p{N}._+@=~()-]{1,100}$/u;
const NO_NAME = /[^\p{L}\p{M}\p{N}._+@=~()-]/gu;

export function readModels(
  reading: Reading,
  entry: Entry,
  {
    method,
    pruning,
    duplicates,
    hasBase,
  }: { method: Method | null; pruning: Pruning; duplicates: boolean; hasBase: boolean },
): RecipeModel[] {
  const { node } = entry;
  const where = note(reading, "models", entry.where);
  if (node.kind !== "list") {
    wrongType(reading, node, "models", "a list of models", "begin each model with a dash and a space");
    return [];
  }
  const { min, max } = modelCount(method, hasBase);
  if (node.items.length < min || node.items.length > max) {
    const most = max === Infinity ? `at least ${min}` : min === max ? `${min}` : `from ${min} to ${max}`;
    reading.issues.add(`${method?.name ?? "a merge"} cannot work with this number of models`, {
      code: "recipe/models",
      where,
      expected: `${most} ${max === 1 || (min === 1 && max === Infinity) ? "model" : "models"}`,
      found: String(node.items.length),
    });
  }
  const names = modelNames(node);
  const models = node.items.map((item, index) => readModel(reading, item, index, names[index]!, { method, pruning }));
  if (!duplicates) refuseDuplicates(reading, node.items, models);
  refuseEqualNames(reading, node.items);
  return models.filter((model) => model !== null);
}

/** How many models beside a base there may be. */
function modelCount(method: Method | null, hasBase: boolean): { min: number; max: number } {
  const { min, max = Infinity } = method?.models ?? { min: 1 };
  const members = hasBase && method?.base === "member" ? 1 : 0;
  return { min: Math.max(1, min - members), max: max - members };
}

function readModel(
  reading: Reading,
  node: Node,
  index: number,
  name: string,
  { method, pruning }: { method: Method | null; pruning: Pruning },
): RecipeModel | null {
  const path = join("models", index);
  note(reading, path, node.where);
  if (node.kind === "scalar") {
    note(reading, join(path, "model"), node.where);
    const model = readLocation(reading, node, path);
    return model === undefined ? null : { model, name, parameters: {}, prune: {} };
  }
  if (node.kind === "list") {
    wrongType(reading, node, path, "a path, or {model: path, ...}");
    return null;
  }
  const known =
    method === null ? node.entries.map(({ key }) => key) : [...MODEL_KEYS, ...Object.keys(method.parameters)];
  const entries = readEntries(reading, node, path, { known, advise: adviseModelKey })!;
  const modelEntry = entries.get("model");
  const mergeEntry = entries.get("merge");
  if ((modelEntry === undefined) === (mergeEntry === undefined)) {
    const none = modelEntry === undefined;
    reading.issues.add(none ? `${path} names no model` : `${path} is both a model and a merge`, {
      code: none ? "recipe/missing-key" : "recipe/syntax",
      where: placed(node.where, path),
      expected: "model: path or address, or merge: a recipe",
    });
  }
  readName(reading, entries.get("name"), path);
  const parameters = method === null ? {} : readModelParameters(reading, entries, method, path);
  const prune = readModelPruning(reading, entries, pruning, path);
  const model = readOrigin(reading, modelEntry, mergeEntry, path);
  const statistics = readStatisticsPath(reading, entries.get("statistics"), method, path);
  return model === undefined
    ? null
    : { model, name, ...(statistics !== undefined && { statistics }), parameters, prune };
}

/** The file of what is known of a model's data. */
function readStatisticsPath(
  reading: Reading,
  entry: Entry | undefined,
  method: Method | null,
  path: string,
): string | undefined {
  if (entry === undefined) return undefined;
  const where = note(reading, join(path, "statistics"), entry.where);
  if (method !== null && method.statistics === undefined) {
    reading.issues.add(`${method.name} uses no statistics`, {
      code: "recipe/unsupported",
      where,
      advice: "remove statistics:, or take a method that uses them",
    });
  }
  return readLocation(reading, entry.node, join(path, "statistics"));
}

/** The path of a model, or the label of the merge that it is. */
function readOrigin(
  reading: Reading,
  model: Entry | undefined,
  merge: Entry | undefined,
  path: string,
): string | undefined {
  if (merge !== undefined) {
    note(reading, join(path, "model"), merge.where);
    return reading.readMerge(merge, join(path, "merge"));
  }
  if (model === undefined) return undefined;
  note(reading, join(path, "model"), model.where);
  return readLocation(reading, model.node, join(path, "model"));
}

function adviseModelKey(key: string): string | undefined {
  return /^(?:path|file|folder|checkpoint|source|url|model_path|id)$/.test(key) ? "write model" : undefined;
}

/** Flat beside `model:` or under `parameters:`, but each once. */
export function readModelParameters(
  reading: Reading,
  entries: Map<string, Entry>,
  method: Method,
  path: string,
): Record<string, ModelSetting> {
  const group = entries.get("parameters");
  const grouped =
    group &&
    readEntries(reading, group.node, join(path, "parameters"), {
      known: Object.keys(method.parameters),
      noun: "parameter",
      code: "recipe/unknown-parameter",
    });
  const settings: [string, ModelSetting][] = [];
  for (const [name, parameter] of Object.entries(method.parameters)) {
    const flat = MODEL_KEYS.includes(name) ? undefined : entries.get(name);
    const inner = grouped?.get(name);
    if (flat !== undefined && inner !== undefined) {
      reading.issues.add(`${name} is written twice for one model`, {
        code: "recipe/syntax",
        where: note(reading, join(path, name), inner.where),
        advice: "keep one of the two",
      });
    }
    const entry = flat ?? inner;
    const setting = entry && readModelSetting(reading, name, parameter, entry, `${path}.parameters.${name}`);
    if (setting !== undefined) settings.push([name, setting]);
  }
  return Object.fromEntries(settings);
}

function readName(reading: Reading, entry: Entry | undefined, path: string): void {
  if (entry === undefined) return;
  const place = join(path, "name");
  note(reading, place, entry.where);
  const { node } = entry;
  const expected = "a name of letters, digits and . _ - + @ = ~ ( ), at most 100";
  if (node.kind !== "scalar" || node.value === null) wrongType(reading, node, place, expected);
  else if (!NAME.test(node.text)) outOfRange(reading, node, place, expected);
}

/** A name per item: as given, or the last path part, made unique. Works on unchecked items too. */
export function modelNames(models: Node): string[] {
  if (models.kind !== "list") return [];
  const given = models.items.map(givenName);
  const taken = new Set(given.filter((name) => name !== null).map(sameName));
  const next = new Map<string, number>();
  return models.items.map((item, index) => {
    if (given[index] !== null) return given[index]!;
    const stem = nameOfPath(textOf(item) ?? originText(item) ?? "");
    let name = stem;
    let count = next.get(sameName(stem)) ?? 2;
    while (taken.has(sameName(name))) name = `${stem}-${count++}`;
    next.set(sameName(stem), count);
    taken.add(sameName(name));
    return name;
  });
}

/** What a model's name is made of: its path, or the label of the merge that it is. */
function originText(item: Node): string | undefined {
  const model = entryOf(item, "model")?.node;
  const merge = entryOf(item, "merge")?.node ?? entryOf(model, "merge")?.node;
  return merge === undefined ? textOf(model) : mergeLabel(merge);
}

/** Longer lists of names are told by their number. */
const LONGEST_LABEL = 60;

/** A merge in a few words, e.g. `ties(math+code)`; of an unchecked recipe too. */
export function mergeLabel(recipe: Node): string {
  const method = textOf((entryOf(recipe, "method") ?? entryOf(recipe, "merge_method"))?.node)?.split("/")[0] ?? "merge";
  const names = modelNames(entryOf(recipe, "models")?.node ?? list([], recipe.where));
  const joined = names.join("+");
  return `${method}(${joined.length <= LONGEST_LABEL ? joined : `${names.length}-models`})`;
}

function givenName(item: Node): string | null {
  const name = textOf(entryOf(item, "name")?.node);
  return name !== undefined && NAME.test(name) ? name : null;
}

function textOf(node: Node | undefined): string | undefined {
  return node?.kind === "scalar" && node.value !== null ? node.text : undefined;
}

/** Of a base with adapters the adapters' names: they are what differs. */
function nameOfPath(path: string): string {
  const reference = parseReference(path);
  if (reference !== null) return reference.adapters.map(({ label }) => nameOfPath(label)).join("+");
  const bare = /^\w+:\/\//.test(path) ? path.replace(/[?#].*$/s, "") : path;
  const last = bare.split(/[\\/]/).findLast((part) => part.trim() !== "") ?? "";
  const name = Array.from(last.trim().replace(NO_NAME, "-")).slice(0, 80).join("");
  return NAME.test(name) ? name : "model";
}

/** Names that a file system without upper and lower case would confuse are the same. */
function sameName(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

function refuseEqualNames(reading: Reading, items: readonly Node[]): void {
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    const entry = entryOf(item, "name");
    const name = givenName(item);
    if (entry === undefined || name === null) continue;
    if (seen.has(sameName(name))) {
      reading.issues.add(`two models are called ${quote(name)}`, {
        code: "recipe/models",
        where: note(reading, `models.${index}.name`, entry.where),
        advice: "give each model a name of its own (upper and lower case do not count)",
      });
    }
    seen.add(sameName(name));
  }
}

function refuseDuplicates(reading: Reading, items: readonly Node[], models: readonly (RecipeModel | null)[]): void {
  const seen = new Map<string, number>();
  models.forEach((model, index) => {
    if (model === null) return;
    const first = seen.get(samePath(model.model));
    seen.set(samePath(model.model), first ?? index);
    if (first === undefined) return;
    const node = entryOf(items[index], "model")?.node ?? items[index]!;
    reading.issues.add(`the model ${quote(model.model)} is listed twice`, {
      code: "recipe/models",
      where: placed(node.where, `models.${index}.model`),
      expected: "each model once",
      found: `${show(node)} also stands at models.${first}`,
      advice: "remove one, or write allow_duplicates: true",
    });
  });
}

/** Spellings of one path that need no look at the disk to be known equal. */
export function samePath(path: string): string {
  if (/^\w+:\/\//.test(path)) return path;
  const parts = path.split("/").filter((part) => part !== "." && part !== "");
  return `${path.startsWith("/") ? "/" : ""}${parts.join("/")}`;
}
