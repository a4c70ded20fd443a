/** mergekit's parameter values: typed scalars, gradients, conditions on tensor names. */

import type { Parameter, ParameterValue } from "../../methods/method.js";
import { readDecimal, type Node, type Scalar } from "../tree.js";
import type { Gradient, ModelSetting, PatternValue, SettingValue } from "../recipe.js";
import { join, outOfRange, placed, readEntries, type Reading, wrongType } from "../values.js";
import { printable } from "../issues.js";
import type { MergekitType, Wording } from "./methods.js";

export interface SettingContext {
  readonly reading: Reading;
  readonly type: MergekitType;
  /** How the method of the catalogue says it, and what it accepts. */
  readonly wording: Wording;
  readonly declared: Parameter;
  /** An empty list is no value there and an error here. */
  readonly strict: boolean;
  readonly notes: string[];
}

/**
 * A scalar, a list of scalars (a gradient), `{value, filter}` or a list of those: the first whose filter is part of the
 * name wins; where none is, the next level of precedence is asked.
 * @returns `undefined` after an issue, and for an empty list under `strict`.
 */
export function readMergekitSetting(context: SettingContext, node: Node, path: string): ModelSetting | undefined {
  const { reading } = context;
  if (node.kind === "dictionary") return readConditions(context, [node], path);
  if (node.kind !== "list" || !node.items.some(({ kind }) => kind === "dictionary")) {
    const value = readValue(context, node, path);
    return value === undefined ? undefined : { value, patterns: [] };
  }
  const conditions = node.items.filter((item) => item.kind === "dictionary");
  if (conditions.length === node.items.length) return readConditions(context, conditions, path);
  return wrongType(reading, node, path, "either numbers or maps with value and filter, not both");
}

function readConditions(context: SettingContext, items: readonly Node[], path: string): ModelSetting | undefined {
  const { reading } = context;
  const patterns: PatternValue[] = [];
  let value: SettingValue | undefined;
  let complete = true;
  for (const [index, item] of items.entries()) {
    const at = items.length === 1 ? path : join(path, index);
    const entries = readEntries(reading, item, at, { known: ["value", "filter"] });
    const entry = entries?.get("value");
    if (entries === null || entry === undefined) {
      if (entries !== null) wrongType(reading, item, at, "{value: ..., filter: ...}");
      complete = false;
      continue;
    }
    const read = readValue(context, entry.node, join(at, "value"));
    const filter = entries.get("filter")?.node;
    if (read === undefined) complete = false;
    else if (value !== undefined) continue;
    else if (isEverything(filter)) value = read;
    else if (filter?.kind !== "scalar") wrongType(reading, filter ?? item, join(at, "filter"), "a part of a name");
    else addPattern(context, patterns, filter, read, path);
  }
  return complete ? { ...(value !== undefined && { value }), patterns } : undefined;
}

function isEverything(filter: Node | undefined): boolean {
  if (filter === undefined) return true;
  return filter.kind === "scalar" && (filter.value === null || filter.text === "*" || filter.text === "");
}

/** A filter is a plain part of the name. One that repeats an earlier one is never reached. */
function addPattern(
  { reading }: SettingContext,
  patterns: PatternValue[],
  { text, where }: Scalar,
  value: SettingValue,
  path: string,
): void {
  const pattern = `*${text.replace(/[[\]{}\\*?,]/g, "\\$&")}*`;
  if (patterns.some((other) => other.pattern === pattern)) return;
  reading.positions.set(`${path}.patterns.${patterns.length}`, placed(where, path));
  patterns.push({ pattern, value });
}

function readValue(context: SettingContext, node: Node, path: string): SettingValue | undefined {
  const { reading, strict, notes } = context;
  if (node.kind === "dictionary") return wrongType(reading, node, path, "a value or a list of values");
  if (node.kind === "scalar") return readScalar(context, node, path);
  if (node.items.length === 0) {
    if (!strict) return outOfRange(reading, node, path, "at least one value", "remove it: mergekit ignores it");
    notes.push(`${path}: an empty list is no value`);
    return undefined;
  }
  const values = node.items.map((item, index) => {
    if (item.kind === "scalar") return readScalar(context, item, join(path, index));
    return wrongType(reading, item, join(path, index), "a number, true or false");
  });
  return values.every((value) => value !== undefined) ? (values as Gradient) : undefined;
}

function readScalar(context: SettingContext, node: Scalar, path: string): ParameterValue | undefined {
  const { reading, type, wording, declared, notes } = context;
  const given = type === "bool" ? truthOf(node) : numberOf(node);
  if (given === undefined) return wrongType(reading, node, path, EXPECTED[type]);
  if (type === "int" && !Number.isInteger(given)) return outOfRange(reading, node, path, EXPECTED.int);
  if (typeof given === "number" && !Number.isFinite(Math.fround(given))) {
    return outOfRange(reading, node, path, "a finite number");
  }
  const value = wording.value(given);
  if (declared.type !== "number" || typeof value !== "number") return value;
  const { min = -Infinity, max = Infinity } = declared;
  const inside = Math.min(max, Math.max(min, value));
  if (inside !== value) notes.push(`${path}: ${printable(node.text)} is as good as ${inside}`);
  return inside;
}

const EXPECTED: Readonly<Record<MergekitType, string>> = {
  float: "a number",
  int: "a whole number",
  bool: "true or false",
};

/** Words and digits that count as truth; any other number is a mistake. */
function truthOf({ value, text }: Scalar): boolean | undefined {
  if (typeof value === "boolean") return value;
  const word = text.trim().toLowerCase();
  if (/^(?:true|yes|on|y|t|1|1\.0*)$/.test(word)) return true;
  return /^(?:false|no|off|n|f|0|0\.0*)$/.test(word) ? false : undefined;
}

/** A string that reads as a number is that number: YAML 1.1 reads `1e-5` as a string. */
function numberOf({ value, text }: Scalar): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return value === null ? undefined : readDecimal(text.trim());
}
