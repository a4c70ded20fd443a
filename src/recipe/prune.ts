/**
 * Pruning before the method: `prune: {by: ..., density: ...}`, or in DARE's own words `dare: {drop: ..., rescale: true}`,
 * which is random pruning with density = 1 − drop. A model may have values of its own, as `prune:` or `drop:`.
 */

import type { Where } from "../errors.js";
import type { Method, Parameter } from "../methods/method.js";
import { pruners } from "../pruners/catalogue.js";
import type { Pruner } from "../pruners/pruner.js";
import { random } from "../pruners/random.js";
import { oneOf } from "./issues.js";
import { DROP, readModelSetting, readSetting } from "./parameters.js";
import { isGradient } from "./recipe.js";
import type { ModelSetting, PruneSettings, RecipeModel, Setting, SettingValue } from "./recipe.js";
import type { Entry, Node } from "./tree.js";
import {
  isNothing,
  join,
  note,
  placed,
  readChoice,
  readEntries,
  type Reading,
  readValue,
  wrongType,
} from "./values.js";

/** How a recipe words its pruning, known before its models are read. */
export type Pruning = { readonly words: "prune"; readonly pruner: Pruner | null } | { readonly words: "dare" } | null;

export function pruningOf(entries: ReadonlyMap<string, Entry>): Pruning {
  const prune = entries.get("prune");
  if (prune !== undefined && !isNothing(prune.node)) {
    const by = prune.node.kind === "dictionary" ? prune.node.entries.find(({ key }) => key === "by")?.node : undefined;
    const name = by?.kind === "scalar" ? by.text : "";
    return { words: "prune", pruner: pruners.find((pruner) => pruner.name === name) ?? null };
  }
  const dare = entries.get("dare");
  return dare === undefined || isNothing(dare.node) ? null : { words: "dare" };
}

/** A model's own values. */
export function readModelPruning(
  reading: Reading,
  entries: ReadonlyMap<string, Entry>,
  pruning: Pruning,
  path: string,
): Record<string, ModelSetting> {
  const drop = entries.get("drop");
  const prune = entries.get("prune");
  for (const [key, words, entry] of [
    ["drop", "dare", drop],
    ["prune", "prune", prune],
  ] as const) {
    if (entry === undefined || pruning?.words === words) continue;
    reading.issues.add(`a model has a ${key}, but the recipe has no ${words}`, {
      code: "recipe/missing-key",
      where: note(reading, join(path, key), entry.where),
      advice: `add ${words}: {${words === "dare" ? "drop: ..." : "by: ..., density: ..."}} to the recipe`,
    });
  }
  if (pruning?.words === "dare" && drop !== undefined) {
    const setting = readSetting(reading, "drop", DROP, drop, join(path, "drop"));
    alias(reading, join(path, "drop"), join(path, "prune.density"));
    return setting === undefined ? {} : { density: kept(setting) };
  }
  if (pruning?.words !== "prune" || prune === undefined || pruning.pruner === null) return {};
  const { parameters } = pruning.pruner;
  const place = join(path, "prune");
  note(reading, place, prune.where);
  const given = readEntries(reading, prune.node, place, { known: Object.keys(parameters), noun: "parameter" });
  const settings: [string, ModelSetting][] = [];
  for (const [name, entry] of given ?? []) {
    const setting = readModelSetting(reading, name, parameters[name]!, entry, join(place, name));
    if (setting !== undefined) settings.push([name, setting]);
  }
  return Object.fromEntries(settings);
}

/** The recipe's pruning, checked against the method and the models. */
export function readPruning(
  reading: Reading,
  entries: ReadonlyMap<string, Entry>,
  pruning: Pruning,
  { method, models, hasBase }: { method: Method | null; models: readonly RecipeModel[]; hasBase: boolean },
): PruneSettings | null {
  if (pruning === null) return null;
  const entry = entries.get(pruning.words)!;
  const where = note(reading, pruning.words, entry.where);
  const other = pruning.words === "prune" ? entries.get("dare") : undefined;
  if (other !== undefined && !isNothing(other.node)) {
    reading.issues.add("prune and dare are both given", {
      code: "recipe/syntax",
      where: placed(other.where, "dare"),
      advice: "keep one: dare: {drop: 0.9} is prune: {by: random, density: 0.1}",
    });
  }
  refuseFor(reading, pruning.words, method, hasBase, where);
  const everyModel = models.length > 0 && models.every(({ prune }) => prune["density"]?.value !== undefined);
  return pruning.words === "dare"
    ? readDare(reading, entry, everyModel)
    : readPrune(reading, entry, pruning.pruner, everyModel);
}

function refuseFor(reading: Reading, words: string, method: Method | null, hasBase: boolean, where: Where): void {
  if (method?.inputs === "weights") {
    reading.issues.add(`${words} does not go with ${method.name}`, {
      code: "recipe/unsupported",
      where,
      expected: "a method that works on changes from a base",
      advice: `remove ${words}, or use task_arithmetic or ties`,
    });
  } else if (method?.base === "optional" && !hasBase) {
    reading.issues.add(`${words} cuts changes, and without a base there are none`, {
      code: "recipe/missing-key",
      where,
      expected: "base: the checkpoint that the models were fine-tuned from",
      advice: `add base, or remove ${words}`,
    });
  }
}

function readPrune(reading: Reading, entry: Entry, pruner: Pruner | null, everyModel: boolean): PruneSettings | null {
  const names = pruners.map(({ name }) => name);
  const known = pruner === null ? allParameters() : Object.keys(pruner.parameters);
  const entries = readEntries(reading, entry.node, "prune", { known: ["by", ...known] });
  if (entries === null) return null;
  const by = entries.get("by");
  if (by === undefined) missing(reading, entry, "by", oneOf(names));
  else {
    note(reading, "prune.by", by.where);
    readChoice(reading, names, by.node, "prune.by");
  }
  if (pruner === null) return null;
  if (!entries.has("density") && !everyModel) missing(reading, entry, "density", "a number from 0 to 1");
  const parameters = Object.entries(pruner.parameters).map(([name, parameter]): [string, Setting] => {
    const given = entries.get(name);
    const setting = given && readSetting(reading, name, parameter, given, join("prune", name));
    return [
      name,
      { value: setting?.value === undefined ? parameter.default : setting.value, patterns: setting?.patterns ?? [] },
    ];
  });
  return { pruner, parameters: Object.fromEntries(parameters) };
}

function allParameters(): string[] {
  return [...new Set(pruners.flatMap(({ parameters }) => Object.keys(parameters)))];
}

function missing(reading: Reading, entry: Entry, key: string, expected: string): void {
  reading.issues.add(`the recipe has no prune.${key}`, {
    code: "recipe/missing-key",
    where: placed(entry.where, `prune.${key}`),
    expected: `prune.${key}: ${expected}`,
  });
}

function readDare(reading: Reading, entry: Entry, everyModel: boolean): PruneSettings | null {
  const entries = readEntries(reading, entry.node, "dare", { known: ["drop", "rescale"] });
  if (entries === null) return null;
  const dropEntry = entries.get("drop");
  const drop = dropEntry && readSetting(reading, "drop", DROP, dropEntry, "dare.drop");
  alias(reading, "dare.drop", "prune.density");
  if (dropEntry === undefined && !everyModel) {
    reading.issues.add("the recipe has no dare.drop", {
      code: "recipe/missing-key",
      where: placed(entry.where, "dare.drop"),
      expected: "dare.drop: a number from 0 to 1",
    });
  }
  const rescaleEntry = entries.get("rescale");
  if (rescaleEntry !== undefined) note(reading, "dare.rescale", rescaleEntry.where);
  const rescale = rescaleEntry && readRescale(reading, rescaleEntry.node);
  const defaults = Object.entries(random.parameters).map(([name, parameter]): [string, Setting] => {
    return [name, { value: parameter.default, patterns: [] }];
  });
  return {
    pruner: random,
    parameters: {
      ...Object.fromEntries(defaults),
      density: { value: 1, patterns: [], ...(drop && kept(drop)) },
      rescale: { value: rescale ?? random.parameters["rescale"]!.default, patterns: [] },
    },
  };
}

/** DARE's own yes or no, or one of the rules. */
function readRescale(reading: Reading, node: Node): string | undefined {
  if (node.kind === "scalar" && typeof node.value === "boolean") return node.value ? "inverse" : "none";
  const parameter = random.parameters["rescale"] as Parameter & { type: "choice" };
  if (node.kind === "scalar" && Object.hasOwn(parameter.choices, node.text)) {
    return readValue(reading, parameter, node, "dare.rescale") as string;
  }
  return wrongType(reading, node, "dare.rescale", `true, false, or ${oneOf(Object.keys(parameter.choices))}`);
}

/** The share kept where this share is dropped. */
function kept({ value, patterns }: ModelSetting): ModelSetting {
  const turn = (drop: SettingValue): SettingValue => {
    if (isGradient(drop)) return drop.map((one) => 1 - Number(one));
    return drop === null ? null : 1 - Number(drop);
  };
  return {
    ...(value !== undefined && { value: turn(value) }),
    patterns: patterns.map((one) => ({ pattern: one.pattern, value: turn(one.value) })),
  };
}

/** What a key says is known under another path, too, and stands where it stands. */
function alias({ positions }: Reading, from: string, to: string): void {
  for (const [path, where] of [...positions]) {
    if (path === from || path.startsWith(`${from}.`)) positions.set(to + path.slice(from.length), where);
  }
}
