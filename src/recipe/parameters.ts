/** The parameters of a recipe: which may be set where, with values for patterns of tensors. */

import type { Method, Parameter } from "../methods/method.js";
import { nearest, quote } from "./issues.js";
import type { Where } from "../errors.js";
import type { ModelSetting, PatternValue, Setting, SettingValue } from "./recipe.js";
import { type Dictionary, type Entry, entryOf, type Node } from "./tree.js";
import {
  isNothing,
  join,
  note,
  outOfRange,
  placed,
  readEntries,
  readPattern,
  readValue,
  type Reading,
  wrongType,
} from "./values.js";

/** How DARE words the density of random pruning. */
export const DROP: Parameter = {
  type: "number",
  default: 0,
  min: 0,
  max: 1,
  per: "model",
  meaning: "share of entries dropped from a model's change",
};

/** The global settings: every parameter of the method, from the recipe, the dialect or its default. */
export function readParameters(
  reading: Reading,
  node: Node | undefined,
  method: Method,
  dialect: string,
  methods: readonly Method[],
): Record<string, Setting> {
  const values = method.dialects[dialect]?.values ?? {};
  const given =
    node &&
    readEntries(reading, node, "parameters", {
      known: Object.keys(method.parameters),
      noun: "parameter",
      code: "recipe/unknown-parameter",
      advise: (key) => adviseParameter(key, method, methods),
    });
  const settings = Object.entries(method.parameters).map(([name, parameter]): [string, Setting] => {
    const fallback = Object.hasOwn(values, name) ? values[name]! : parameter.default;
    const entry = given?.get(name);
    const setting = entry && readSetting(reading, name, parameter, entry, join("parameters", name));
    const value = setting?.value === undefined ? fallback : setting.value;
    return [name, { value, patterns: setting?.patterns ?? [] }];
  });
  return Object.fromEntries(settings);
}

/** Settings that override the recipe's for a part of the result. */
export function readBlock(
  reading: Reading,
  node: Node,
  path: string,
  { parameters }: Method,
): Record<string, ModelSetting> {
  const given = readEntries(reading, node, path, {
    known: Object.keys(parameters),
    noun: "parameter",
    code: "recipe/unknown-parameter",
  });
  const settings: [string, ModelSetting][] = [];
  for (const [name, entry] of given ?? []) {
    const parameter = parameters[name]!;
    if (parameter.per === "recipe") {
      refusePerTensor(reading, name, placed(entry.where, join(path, name)));
      continue;
    }
    const setting = readSetting(reading, name, parameter, entry, join(path, name));
    if (setting !== undefined) settings.push([name, setting]);
  }
  return Object.fromEntries(settings);
}

function refusePerTensor({ issues }: Reading, name: string, where: Where): void {
  issues.add(`${name} cannot differ between tensors`, {
    code: "recipe/pattern",
    where,
    advice: `give ${name} a single value`,
  });
}

function adviseParameter(key: string, method: Method, methods: readonly Method[]): string | undefined {
  if (nearest(key, Object.keys(method.parameters)) !== undefined) return undefined;
  const others = methods.filter((other) => Object.hasOwn(other.parameters, key)).map((other) => other.name);
  return others.length === 0 ? undefined : `${key} belongs to ${others.join(", ")}, not to ${method.name}`;
}

/** One parameter of one model; `undefined` after an issue. */
export function readModelSetting(
  reading: Reading,
  name: string,
  parameter: Parameter,
  entry: Entry,
  path: string,
): ModelSetting | undefined {
  if (parameter.per === "model") return readSetting(reading, name, parameter, entry, path);
  reading.issues.add(`${name} cannot differ between models`, {
    code: "recipe/unknown-parameter",
    where: placed(entry.where, path),
    advice: "write it once, under the recipe's parameters:",
  });
  return undefined;
}

/** `0.2`, or `{value: 0.2, patterns: {"*.mlp.*": 0.5}}`. */
export function readSetting(
  reading: Reading,
  name: string,
  parameter: Parameter,
  entry: Entry,
  path: string,
): ModelSetting | undefined {
  note(reading, path, entry.where);
  const { node } = entry;
  const isMerge = parameter.type === "checkpoint" && entryOf(node, "merge") !== undefined;
  if (node.kind !== "dictionary" || isMerge) {
    const value = readSettingValue(reading, name, parameter, node, path);
    return value === undefined ? undefined : { value, patterns: [] };
  }
  const parts = readEntries(reading, node, path, { known: ["value", "patterns"] });
  const valueEntry = parts?.get("value");
  const patternsEntry = parts?.get("patterns");
  if (node.entries.length === 0) wrongType(reading, node, path, "a value, or a map with value, patterns or both");
  const value = valueEntry && readOwnValue(reading, name, parameter, valueEntry, join(path, "value"));
  const patterns = patternsEntry && readPatterns(reading, name, parameter, patternsEntry, join(path, "patterns"));
  return { ...(value !== undefined && { value }), patterns: patterns ?? [] };
}

function readPatterns(
  reading: Reading,
  name: string,
  parameter: Parameter,
  entry: Entry,
  path: string,
): readonly PatternValue[] {
  if (parameter.per === "recipe") {
    refusePerTensor(reading, name, placed(entry.where, path));
    return [];
  }
  if (entry.node.kind !== "dictionary") {
    wrongType(reading, entry.node, path, 'a map from pattern to value, e.g. {"*.mlp.*": 0.5}');
    return [];
  }
  return readPatternValues(reading, name, parameter, entry.node, path);
}

/** `value:` beside patterns; a number may be `null` there: what no pattern matches must get it elsewhere. */
function readOwnValue(
  reading: Reading,
  name: string,
  parameter: Parameter,
  { node }: Entry,
  path: string,
): SettingValue | undefined {
  if (isNothing(node) && parameter.type !== "checkpoint") return null;
  return readSettingValue(reading, name, parameter, node, path);
}

/** One value, or a list of them: a gradient from the first layer to the last. */
function readSettingValue(
  reading: Reading,
  name: string,
  parameter: Parameter,
  node: Node,
  path: string,
): SettingValue | undefined {
  if (node.kind !== "list" || parameter.type === "checkpoint") return readValue(reading, parameter, node, path);
  if (parameter.per === "recipe") {
    refusePerTensor(reading, name, placed(node.where, path));
    return undefined;
  }
  if (node.items.length === 0) {
    return outOfRange(reading, node, path, "at least one value: a gradient runs from the first layer to the last");
  }
  const values = node.items.map((item, index) => readValue(reading, parameter, item, join(path, index)));
  return values.every((value) => value !== undefined && value !== null) ? values : undefined;
}

function readPatternValues(
  reading: Reading,
  name: string,
  parameter: Parameter,
  { entries }: Dictionary,
  path: string,
): readonly PatternValue[] {
  const values: PatternValue[] = [];
  entries.forEach(({ key, where, node }, index) => {
    const shown = `${path}.${quote(key)}`;
    note(reading, join(path, index), placed(where, shown));
    const pattern = readPattern(reading, key, where, shown);
    const value = readSettingValue(reading, name, parameter, node, shown);
    if (pattern !== undefined && value !== undefined) values.push({ pattern, value });
  });
  return values;
}
