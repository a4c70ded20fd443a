/** Single values of a recipe, checked: what was expected, what stands there, and where. */

import type { Where } from "../errors.js";
import type { NumberParameter, Parameter, ParameterValue } from "../methods/method.js";
import { DTYPE_OF_RECIPE_NAME, type FloatDtype } from "../numbers/dtypes.js";
import { compileGlob, GlobError } from "./glob.js";
import { type IssueDetails, type Issues, nearest, oneOf, quote, show } from "./issues.js";
import { type Dictionary, type Entry, entryOf, type Node, readDecimal, type Scalar } from "./tree.js";

/** What a file says about other places of itself is collected here while it is read. */
export interface Reading {
  readonly issues: Issues;
  readonly positions: Map<string, Where>;
  /** Reads a merge that stands in the place of a path. @returns its label, or `undefined` after an issue. */
  readonly readMerge: (entry: Entry, path: string) => string | undefined;
}

/** A place with its key path; a flag brings its own key. */
export function placed(where: Where, path: string): Where {
  return where.key === undefined && path !== "" ? { ...where, key: path } : where;
}

/** Remembers where a key path stands. */
export function note({ positions }: Reading, path: string, where: Where): Where {
  const place = placed(where, path);
  positions.set(path, place);
  return place;
}

export function join(path: string, key: string | number): string {
  return path === "" ? String(key) : `${path}.${key}`;
}

/** A key path whose last key comes from outside and may hold anything. */
export function joinUnknown(path: string, key: string): string {
  return join(path, /^[\w-]{1,64}$/.test(key) ? key : quote(key));
}

export interface KeyRules {
  readonly known: readonly string[];
  /** Further advice for a key that is not known, or `undefined`. */
  readonly advise?: (key: string) => string | undefined;
  readonly code?: IssueDetails["code"];
  /** What a key is called here: `key` or `parameter`. */
  readonly noun?: string;
}

/** The entries of a map by key; unknown keys are issues. */
export function readEntries(reading: Reading, node: Node, path: string, rules: KeyRules): Map<string, Entry> | null {
  if (!isDictionary(reading, node, path)) return null;
  const entries = new Map<string, Entry>();
  for (const entry of node.entries) {
    if (rules.known.includes(entry.key)) entries.set(entry.key, entry);
    else addUnknown(reading, entry, path, rules);
  }
  return entries;
}

function addUnknown({ issues }: Reading, { key, where }: Entry, path: string, rules: KeyRules): void {
  if (issues.full) return issues.count();
  const { known, advise, code = "recipe/unknown-key", noun = "key" } = rules;
  const close = nearest(key, known);
  const merge = key === "<<" ? "repeat the keys: merge keys are not part of YAML 1.2" : undefined;
  const advice = merge ?? advise?.(key) ?? (close === undefined ? undefined : `write ${close}`);
  issues.add(`unknown ${noun} ${quote(key)}`, {
    code,
    where: placed(where, joinUnknown(path, key)),
    expected: known.length === 0 ? `no ${noun} at all` : oneOf(known),
    ...(advice !== undefined && { advice }),
  });
}

export function isDictionary(reading: Reading, node: Node, path: string): node is Dictionary {
  if (node.kind === "dictionary") return true;
  wrongType(reading, node, path, "a map (key: value)");
  return false;
}

export function wrongType({ issues }: Reading, node: Node, path: string, expected: string, advice?: string): undefined {
  issues.add(path === "" ? "not a recipe" : `${path} is of the wrong type`, {
    code: "recipe/wrong-type",
    where: placed(node.where, path),
    expected,
    found: show(node),
    ...(advice !== undefined && { advice }),
  });
}

export function outOfRange(
  { issues }: Reading,
  node: Node,
  path: string,
  expected: string,
  advice?: string,
): undefined {
  issues.add(`${path} is out of range`, {
    code: "recipe/out-of-range",
    where: placed(node.where, path),
    expected,
    found: show(node),
    ...(advice !== undefined && { advice }),
  });
}

/** A value of a declared parameter; `undefined` after an issue. */
export function readValue(
  reading: Reading,
  parameter: Parameter,
  node: Node,
  path: string,
): ParameterValue | undefined {
  switch (parameter.type) {
    case "number":
      return readNumber(reading, parameter, node, path);
    case "choice":
      return readChoice(reading, Object.keys(parameter.choices), node, path);
    case "flag":
      return readFlag(reading, node, path);
    case "checkpoint":
      return isNothing(node) ? null : readLocation(reading, node, path);
  }
}

export function readNumber(
  reading: Reading,
  range: Pick<NumberParameter, "min" | "max" | "integer">,
  node: Node,
  path: string,
): number | undefined {
  const { min = -Infinity, max = Infinity, integer = false } = range;
  const expected = describeRange(range);
  const number = node.kind === "scalar" ? numberOf(node) : undefined;
  if (number === undefined) return wrongType(reading, node, path, expected, adviseNumber(node));
  // Entries are combined in f32, so what is no finite f32 is no finite number here.
  const finite = integer ? Number.isSafeInteger(number) : Number.isFinite(Math.fround(number));
  if (finite && number >= min && number <= max) return number;
  const percent = max === 1 && number > 1 && number <= 100;
  return outOfRange(reading, node, path, expected, percent ? `write ${number / 100} for ${number} %` : undefined);
}

function numberOf({ value, text }: Scalar): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" ? readDecimal(text.trim()) : undefined;
}

export function describeRange({ min, max, integer }: Pick<NumberParameter, "min" | "max" | "integer">): string {
  const noun = integer === true ? "a whole number" : "a number";
  if (min !== undefined && max !== undefined) return `${noun} from ${min} to ${max}`;
  if (min !== undefined) return `${noun}, ${min} or more`;
  if (max !== undefined) return `${noun}, ${max} or less`;
  return integer === true ? noun : "a finite number";
}

function adviseNumber(node: Node): string | undefined {
  if (node.kind === "list") return "use one number";
  if (node.kind !== "scalar") return undefined;
  if (typeof node.value === "boolean") return `write ${node.value ? 1 : 0} if you mean the number`;
  const percent = /^\s*(\d+(?:\.\d+)?)\s*%\s*$/.exec(node.text);
  if (percent !== null) return `write ${Number(percent[1]) / 100}`;
  return /^\s*\d+,\d+\s*$/.test(node.text) ? "use a point, not a comma" : undefined;
}

export function readChoice<Choice extends string>(
  reading: Reading,
  choices: readonly Choice[],
  node: Node,
  path: string,
): Choice | undefined {
  if (node.kind !== "scalar" || node.value === null) return wrongType(reading, node, path, oneOf(choices));
  const choice = choices.find((candidate) => candidate === node.text);
  if (choice !== undefined) return choice;
  const close = nearest(node.text, choices);
  reading.issues.add(`${quote(node.text)} is no value of ${path}`, {
    code: "recipe/out-of-range",
    where: placed(node.where, path),
    expected: oneOf(choices),
    ...(close !== undefined && { advice: `write ${close}` }),
  });
  return undefined;
}

export function readFlag(reading: Reading, node: Node, path: string): boolean | undefined {
  if (node.kind === "scalar" && typeof node.value === "boolean") return node.value;
  const word = node.kind === "scalar" ? node.text.trim().toLowerCase() : "";
  const meant = /^(?:yes|on|y|1|true)$/.test(word) ? "true" : /^(?:no|off|n|0|false)$/.test(word) ? "false" : undefined;
  return wrongType(reading, node, path, "true or false", meant === undefined ? undefined : `write ${meant}`);
}

/** A path or address, or `{merge: recipe}`. Numbers are taken as written, since folders may be called 2024. */
export function readLocation(reading: Reading, node: Node, path: string): string | undefined {
  const expected = "a path or address";
  const merge = node.kind === "dictionary" && node.entries.length === 1 ? entryOf(node, "merge") : undefined;
  if (merge !== undefined) return reading.readMerge(merge, join(path, "merge"));
  if (node.kind !== "scalar" || node.value === null) return wrongType(reading, node, path, expected);
  if (typeof node.value === "boolean")
    return wrongType(reading, node, path, expected, `write "${node.text}" in quotes`);
  if (node.text.trim() === "") return outOfRange(reading, node, path, expected);
  if (!/[\p{Cc}\p{Cs}]/u.test(node.text)) return node.text;
  return outOfRange(reading, node, path, `${expected} in one line, without control characters`);
}

/** A pattern on tensor names, known to compile. */
export function readPattern(reading: Reading, text: string, where: Where, path: string): string | undefined {
  try {
    compileGlob(text);
    return text;
  } catch (error) {
    if (!(error instanceof GlobError)) throw error;
    reading.issues.add(`the pattern ${quote(text)} does not make sense`, {
      code: "recipe/pattern",
      where: placed(where, path),
      expected: "* any run, ? one character, {a,b}, {0..3}, [abc]",
      found: error.message,
    });
    return undefined;
  }
}

/** Decimal units first: `5GB` is what model hubs call a shard of 5·10⁹ bytes. */
export const SIZE_UNITS = {
  TB: 1e12,
  GB: 1e9,
  MB: 1e6,
  KB: 1e3,
  TiB: 2 ** 40,
  GiB: 2 ** 30,
  MiB: 2 ** 20,
  KiB: 2 ** 10,
  B: 1,
} as const;

export function readSize(reading: Reading, node: Node, path: string): number | undefined {
  const expected = "a size such as 5GB, 500MB, 1GiB or a number of bytes";
  const text = node.kind === "scalar" && typeof node.value !== "boolean" && node.value !== null ? node.text.trim() : "";
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  if (match === null) return wrongType(reading, node, path, expected);
  const units = Object.entries(SIZE_UNITS);
  const unit = units.find(([name]) => name.toLowerCase() === (match[2] || "B").toLowerCase());
  if (unit === undefined) {
    const close = nearest(`${match[2]}B`, Object.keys(SIZE_UNITS));
    return wrongType(reading, node, path, expected, close === undefined ? undefined : `write ${match[1]}${close}`);
  }
  const bytes = Math.round(Number(match[1]) * unit[1]);
  return bytes >= 1 && Number.isSafeInteger(bytes) ? bytes : outOfRange(reading, node, path, expected);
}

const DTYPE_HABITS: Readonly<Record<string, string>> = {
  bf16: "bfloat16",
  fp16: "float16",
  f16: "float16",
  half: "float16",
  fp32: "float32",
  f32: "float32",
  float: "float32",
  fp64: "float64",
  f64: "float64",
  double: "float64",
  fp8: "float8_e4m3fn",
  float8_e4m3: "float8_e4m3fn",
};

export function readDtype(reading: Reading, node: Node, path: string): FloatDtype | undefined {
  const names = Object.keys(DTYPE_OF_RECIPE_NAME);
  const word = node.kind === "scalar" ? node.text.toLowerCase() : "";
  if (Object.hasOwn(DTYPE_HABITS, word)) {
    return outOfRange(reading, node, path, oneOf(names), `write ${DTYPE_HABITS[word]}`);
  }
  const name = readChoice(reading, names, node, path);
  return name === undefined ? undefined : DTYPE_OF_RECIPE_NAME[name];
}

export function isNothing(node: Node): boolean {
  return node.kind === "scalar" && node.value === null;
}
