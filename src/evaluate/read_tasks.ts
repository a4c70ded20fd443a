/** Tasks in YAML, with line and column of everything wrong; docs/tasks.md has every key. */

import { Issues, oneOf, quote } from "../recipe/issues.js";
import { type Dictionary, type Entry, entryOf, type Node } from "../recipe/tree.js";
import {
  isDictionary,
  isNothing,
  join,
  outOfRange,
  placed,
  readChoice,
  readEntries,
  type Reading,
  readLocation,
  readNumber,
  wrongType,
} from "../recipe/values.js";
import { readYaml } from "../recipe/yaml.js";
import type { Begin, Better, DataTask, Likelihood, Normalisation, Task } from "./task.js";

/** Tokens of a window of a task that does not say. */
const WINDOW = 256;
/** Seconds for a command that does not say. */
const TIMEOUT = 600;
const COUNT = { min: 1, max: 2 ** 31 - 1, integer: true };

/**
 * @param file for messages.
 * @throws MergewrightError naming line, column and key of everything wrong.
 */
export function parseTasks(text: string, file?: string): Task[] {
  const issues = new Issues();
  const reading: Reading = {
    issues,
    positions: new Map(),
    readMerge: (entry, path) => wrongType(reading, entry.node, path, "a path or address, not a merge"),
  };
  const tasks = readRoot(reading, readYaml(text, file, "tasks file"));
  issues.throwIfAny();
  return tasks;
}

function readRoot(reading: Reading, root: Node): Task[] {
  if (root.kind !== "dictionary") {
    wrongType(reading, root, "tasks", "a map with tasks: and a list of them");
    return [];
  }
  const tasks = readEntries(reading, root, "", { known: ["tasks"] })?.get("tasks");
  if (tasks === undefined) {
    missing(reading, root, "tasks", "");
    return [];
  }
  if (tasks.node.kind !== "list" || tasks.node.items.length === 0) {
    wrongType(reading, tasks.node, "tasks", "a list of tasks, one or more");
    return [];
  }
  const names = new Set<string>();
  return tasks.node.items.flatMap((node, index): Task[] => {
    const task = readTask(reading, node, join("tasks", index));
    if (task === undefined) return [];
    if (names.has(task.name)) {
      outOfRange(reading, entryOf(node, "name")!.node, join(join("tasks", index), "name"), "a name of its own");
    }
    names.add(task.name);
    return [task];
  });
}

/** A task while it is read. */
interface Fields {
  readonly reading: Reading;
  readonly node: Dictionary;
  readonly path: string;
  readonly entries: ReadonlyMap<string, Entry>;
}

const KEYS = {
  "image-classification": ["data", "columns", "head", "classes", "normalise"],
  "language-modelling": ["data", "columns", "window", "stride", "begin"],
  "multiple-choice": ["data", "columns", "likelihood", "begin"],
  "sequence-classification": ["data", "columns", "head", "classes", "longest"],
  "text-to-text": ["data", "columns", "begin", "end"],
  command: ["command", "timeout", "metric", "better"],
} as const satisfies Readonly<Record<Task["type"], readonly string[]>>;

const TYPES = Object.keys(KEYS) as Task["type"][];

function readTask(reading: Reading, node: Node, path: string): Task | undefined {
  if (!isDictionary(reading, node, path)) return undefined;
  const stated = entryOf(node, "type");
  if (stated === undefined) return missing(reading, node, "type", path, oneOf(TYPES));
  const type = readChoice(reading, TYPES, stated.node, join(path, "type"));
  if (type === undefined) return undefined;
  const entries = readEntries(reading, node, path, { known: ["name", "type", ...KEYS[type]] })!;
  const fields = { reading, node, path, entries };
  const name = readName(fields);
  const rest = READERS[type](fields);
  return name === undefined || rest === undefined ? undefined : ({ name, type, ...rest } as Task);
}

/** What examples of a type have, which `columns:` may rename. */
const COLUMNS = {
  "image-classification": ["image", "label"],
  "language-modelling": ["text"],
  "multiple-choice": ["question", "choices", "answer"],
  "sequence-classification": ["text", "pair", "label"],
  "text-to-text": ["input", "target"],
} as const satisfies Readonly<Record<DataTask["type"], readonly string[]>>;

type Rest<T extends Task> = Omit<T, "name" | "type">;

const READERS: { readonly [T in Task["type"]]: (fields: Fields) => Rest<Task & { type: T }> | undefined } = {
  "image-classification"(fields) {
    const data = readData(fields, "image-classification");
    const common = { head: readOptional(fields, "head", readLocation), classes: readCount(fields, "classes") };
    const normalise = readNormalisation(fields);
    return data && { ...data, ...common, normalise };
  },
  "language-modelling"(fields) {
    const data = readData(fields, "language-modelling");
    const window = readCount(fields, "window", { ...COUNT, min: 2 }) ?? WINDOW;
    const stride = readCount(fields, "stride", { ...COUNT, max: window }) ?? window;
    const begin = readToken(fields, "begin");
    return data && { ...data, window, stride, begin };
  },
  "multiple-choice"(fields) {
    const data = readData(fields, "multiple-choice");
    const likelihood =
      readOptional(fields, "likelihood", (reading, node, path) =>
        readChoice<Likelihood>(reading, ["sum", "per-token", "per-byte"], node, path),
      ) ?? "sum";
    const begin = readToken(fields, "begin");
    return data && { ...data, likelihood, begin };
  },
  "sequence-classification"(fields) {
    const data = readData(fields, "sequence-classification");
    const common = { head: readOptional(fields, "head", readLocation), classes: readCount(fields, "classes") };
    const longest = readCount(fields, "longest");
    return data && { ...data, ...common, longest };
  },
  "text-to-text"(fields) {
    const data = readData(fields, "text-to-text");
    const begin = readToken(fields, "begin");
    const end = readToken(fields, "end");
    return data && { ...data, begin, end };
  },
  command(fields) {
    const command = readCommand(fields);
    const timeout =
      readOptional(fields, "timeout", (reading, node, path) =>
        readNumber(reading, { min: 0.001, max: 2_000_000 }, node, path),
      ) ?? TIMEOUT;
    const metric = readOptional(fields, "metric", readText) ?? "score";
    const better =
      readOptional(fields, "better", (reading, node, path) =>
        readChoice<Better>(reading, ["higher", "lower"], node, path),
      ) ?? "higher";
    return command === undefined ? undefined : { command, timeout, metric, better };
  },
};

function readOptional<T>(
  { reading, entries, path }: Fields,
  key: string,
  read: (reading: Reading, node: Node, path: string) => T | undefined,
): T | null {
  const entry = entries.get(key);
  return entry === undefined || isNothing(entry.node) ? null : (read(reading, entry.node, join(path, key)) ?? null);
}

function readData(fields: Fields, type: DataTask["type"]): Pick<DataTask, "data" | "columns"> | undefined {
  const { reading, node, path, entries } = fields;
  const columns = readOptional(fields, "columns", (_, value, place) =>
    readColumns(reading, value, place, COLUMNS[type]),
  );
  const entry = entries.get("data");
  if (entry === undefined) return missing(reading, node, "data", path, "a path");
  const data = readLocation(reading, entry.node, join(path, "data"));
  return data === undefined ? undefined : { data, columns };
}

function readColumns(reading: Reading, node: Node, path: string, known: readonly string[]) {
  const entries = readEntries(reading, node, path, { known });
  if (entries === null) return undefined;
  const named = [...entries].map(([key, entry]) => [key, readText(reading, entry.node, join(path, key))] as const);
  const right = named.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  return Object.fromEntries(right);
}

function readName(fields: Fields): string | undefined {
  const entry = fields.entries.get("name");
  if (entry === undefined) return missing(fields.reading, fields.node, "name", fields.path, "a word of its own");
  return readText(fields.reading, entry.node, join(fields.path, "name"));
}

function readText(reading: Reading, node: Node, path: string): string | undefined {
  const isText = node.kind === "scalar" && node.value !== null;
  if (!isText) return wrongType(reading, node, path, "a text");
  return /^[^\p{Cc}\p{Cs}]{1,200}$/u.test(node.text)
    ? node.text
    : outOfRange(reading, node, path, "a text of 1 to 200 characters in one line");
}

function readCount(fields: Fields, key: string, range = COUNT): number | null {
  return readOptional(fields, key, (reading, node, path) => readNumber(reading, range, node, path));
}

/** A token's text; `none`; nothing at all. */
function readToken(fields: Fields, key: "begin" | "end"): Begin {
  const text = readOptional(fields, key, readText);
  if (text === null) return { kind: "model" };
  return text === "none" ? { kind: "none" } : { kind: "token", text };
}

function readCommand({ reading, node, path, entries }: Fields): string | string[] | undefined {
  const entry = entries.get("command");
  const place = join(path, "command");
  const expected = "a list of words, the program first, or a line for the shell";
  if (entry === undefined) return missing(reading, node, "command", path, expected);
  if (entry.node.kind === "scalar" && typeof entry.node.value === "string" && entry.node.text.trim() !== "") {
    return entry.node.text;
  }
  if (entry.node.kind !== "list" || entry.node.items.length === 0) {
    return wrongType(reading, entry.node, place, expected);
  }
  const words = entry.node.items.map((item, index) => {
    if (item.kind === "scalar" && item.value !== null && !item.text.includes("\u0000")) return item.text;
    return wrongType(reading, item, join(place, index), "a word");
  });
  return words.every((word) => word !== undefined) ? words : undefined;
}

function readNormalisation(fields: Fields): Normalisation | null {
  return readOptional(fields, "normalise", (reading, node, path) => {
    const entries = readEntries(reading, node, path, { known: ["scale", "mean", "std"] });
    if (entries === null) return undefined;
    const inner: Fields = { reading, node: node as Dictionary, path, entries };
    const scale = readOptional(inner, "scale", (_, value, place) => readNumber(reading, {}, value, place));
    const mean = readOptional(inner, "mean", (_, value, place) => readNumbers(reading, value, place, {}));
    const std = readOptional(inner, "std", (_, value, place) => readNumbers(reading, value, place, { min: 1e-12 }));
    return { scale: scale ?? 1 / 255, mean: mean ?? [0], std: std ?? [1] };
  });
}

/** One number, or a list with one per channel. */
function readNumbers(reading: Reading, node: Node, path: string, range: { min?: number }): number[] | undefined {
  if (node.kind === "list" && node.items.length === 0) return outOfRange(reading, node, path, "one or more numbers");
  const items = node.kind === "list" ? node.items : [node];
  const numbers = items.map((item, index) =>
    readNumber(reading, range, item, node.kind === "list" ? join(path, index) : path),
  );
  return numbers.every((number) => number !== undefined) ? numbers : undefined;
}

function missing(reading: Reading, node: Node, key: string, path: string, expected?: string): undefined {
  reading.issues.add(`${path === "" ? "the file" : path} has no ${quote(key)}`, {
    code: "recipe/missing-key",
    where: placed(node.where, join(path, key)),
    ...(expected !== undefined && { expected }),
    advice: `add ${key}:`,
  });
}
