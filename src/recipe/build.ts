/** From the tree of a recipe to the recipe: every key checked, defaults filled in, method and dialect resolved. */

import type { Where } from "../errors.js";
import type { Method, Parameter } from "../methods/method.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { Issues, nearest, oneOf, quote, within } from "./issues.js";
import { readCoefficients, withFixed } from "./coefficients.js";
import { readLayout } from "./layout.js";
import { readLines } from "./lines.js";
import type { RecipeContext } from "./context.js";
import { readMergekit } from "./mergekit/read.js";
import { mergeLabel, readModels, samePath } from "./models.js";
import { readParameters } from "./parameters.js";
import { type Pruning, pruningOf, readPruning } from "./prune.js";
import type {
  Compat,
  Heads,
  InputSettings,
  Layout,
  LinesSettings,
  OutputSettings,
  Recipe,
  RecipeModel,
  Setting,
} from "./recipe.js";
import { readChatTemplate, readTokenizer } from "./tokenizer.js";
import { type Entry, entryOf, type Node } from "./tree.js";
import {
  isNothing,
  join,
  note,
  placed,
  readChoice,
  readDtype,
  readEntries,
  readFlag,
  type Reading,
  readLocation,
  readNumber,
  readPattern,
  readSize,
  wrongType,
} from "./values.js";
import { stringifyRecipe } from "./write.js";

const KEYS = [
  "method",
  "dialect",
  "base",
  "models",
  "slices",
  "modules",
  "parameters",
  "coefficients",
  "prune",
  "dare",
  "lines",
  "exclude",
  "heads",
  "missing",
  "seed",
  "input",
  "output",
  "tokenizer",
  "chat_template",
  "compat",
  "allow_duplicates",
] as const;
const OUTPUT_KEYS: readonly string[] = ["dtype", "shard_size"];
/** A merge that is an input has no files. */
const NESTED_OUTPUT_KEYS: readonly string[] = ["dtype"];
const HEADS: readonly Heads[] = ["base", "separate"];
const COMPATS: readonly Compat[] = ["none", "mergekit", "strict"];
const MISSING: readonly Recipe["missing"][] = ["error", "skip"];
/** Shards of the size that model hubs use. */
const SHARD_SIZE = 5e9;

/** @throws a MergewrightError that names everything wrong with the recipe. */
export function buildRecipe(root: Node, context: RecipeContext): Recipe {
  const issues = new Issues();
  const recipe = readWhole(issues, root, context, OUTPUT_KEYS, textsIn(root));
  issues.throwIfAny();
  return recipe!;
}

/** @param texts every scalar of the file, none of which the label of a merge may equal. */
function readWhole(
  issues: Issues,
  root: Node,
  context: RecipeContext,
  outputKeys: readonly string[],
  texts: ReadonlySet<string>,
): Recipe | null {
  const labels = new Labels(texts);
  const reading: Reading = {
    issues,
    positions: new Map(),
    readMerge(entry, path) {
      const where = note(reading, path, entry.where);
      const seedDefault = seedOf(root) ?? context.seedDefault;
      const compat = strictnessOf(root) ?? context.compat;
      const inner = {
        ...context,
        ...(seedDefault !== undefined && { seedDefault }),
        ...(compat !== undefined && { compat }),
      };
      const recipe = readWhole(issues.within(where.key ?? path), entry.node, inner, NESTED_OUTPUT_KEYS, texts);
      return recipe === null ? undefined : labels.labelOf(recipeWithin(path, recipe), entry.node);
    },
  };
  note(reading, "", root.where);
  if (isMergekit(root)) return readMergekit(reading, root, context, labels.merges);
  const entries = readEntries(reading, root, "", { known: KEYS, advise: (key) => adviseKey(key, root, context) });
  return entries === null ? null : readRecipe(reading, entries, root.where, context, outputKeys, labels.merges);
}

/** Whether it is a recipe of mergekit, which names its method `merge_method`. */
export function isMergekit(root: Node): boolean {
  return entryOf(root, "merge_method") !== undefined && entryOf(root, "method") === undefined;
}

function textsIn(node: Node): Set<string> {
  const texts = new Set<string>();
  const visit = (part: Node): void => {
    if (part.kind === "scalar") texts.add(part.text);
    else if (part.kind === "list") part.items.forEach(visit);
    else part.entries.forEach(({ node: inner }) => visit(inner));
  };
  visit(node);
  return texts;
}

/** Merges inside a recipe of mergekit are read as it is. */
function strictnessOf(root: Node): "mergekit" | "strict" | undefined {
  const node = entryOf(root, "compat")?.node;
  const word = node?.kind === "scalar" ? node.text : "";
  return word === "mergekit" || word === "strict" ? word : undefined;
}

/** The seed holds for the merges inside too, unless they name their own. */
function seedOf(root: Node): number | undefined {
  const node = entryOf(root, "seed")?.node;
  return node?.kind === "scalar" && typeof node.value === "number" && node.value >= 0 ? node.value : undefined;
}

/** A merge as part of a recipe: its places are told from the whole's beginning. */
function recipeWithin(path: string, recipe: Recipe): Recipe {
  const positions = Object.entries(recipe.positions).map(([key, where]) => [key, within(path, where)] as const);
  const merges = Object.entries(recipe.merges).map(([label, inner]) => [label, recipeWithin(path, inner)] as const);
  return { ...recipe, positions: Object.fromEntries(positions), merges: Object.fromEntries(merges) };
}

/** Gives labels to merges: equal ones share one, and none equals a path of the recipe. */
class Labels {
  readonly merges = new Map<string, Recipe>();
  readonly #byText = new Map<string, string>();
  readonly #next = new Map<string, number>();
  readonly #texts: ReadonlySet<string>;

  /** @param texts every scalar of the file. */
  constructor(texts: ReadonlySet<string>) {
    this.#texts = texts;
  }

  labelOf(recipe: Recipe, node: Node): string {
    const text = stringifyRecipe(recipe);
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    const stem = mergeLabel(node);
    let count = this.#next.get(stem) ?? 1;
    let label: string;
    do label = count === 1 ? stem : `${stem}-${count}`;
    while (count++ > 0 && (this.#texts.has(label) || this.merges.has(label)));
    this.#next.set(stem, count);
    this.#byText.set(text, label);
    this.merges.set(label, recipe);
    return label;
  }
}

function readRecipe(
  reading: Reading,
  entries: Map<string, Entry>,
  where: Where,
  context: RecipeContext,
  outputKeys: readonly string[],
  merges: ReadonlyMap<string, Recipe>,
): Recipe | null {
  const { method: named, dialect } = readMethod(reading, entries, where, context);
  const read = <Value>(key: string, reader: (entry: Entry) => Value): Value | undefined => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    note(reading, key, entry.where);
    return reader(entry);
  };
  const compat = read("compat", ({ node }) => readChoice(reading, COMPATS, node, "compat")) ?? "none";
  const method = named === null || compat === "none" ? named : varied(named);
  const base = readBase(reading, entries.get("base"), method, where);
  const duplicates = read("allow_duplicates", ({ node }) => readFlag(reading, node, "allow_duplicates")) ?? false;
  const pruning = pruningOf(entries);
  const { models, layout } = readMembers(reading, entries, where, { method, base, pruning, duplicates });
  const parameters = read("parameters", ({ node }) => node);
  const rest = {
    exclude: read("exclude", ({ node }) => readExclude(reading, node)) ?? [],
    heads: read("heads", ({ node }) => readChoice(reading, HEADS, node, "heads")) ?? "base",
    missing: read("missing", ({ node }) => readChoice(reading, MISSING, node, "missing")) ?? "error",
    input: readInput(reading, entries.get("input")),
    output: readOutput(reading, entries.get("output"), outputKeys),
    tokenizer: read("tokenizer", (entry) => readTokenizer(reading, entry, "tokenizer")) ?? null,
    chatTemplate: read("chat_template", ({ node }) => readChatTemplate(reading, node)) ?? null,
    seed: read("seed", ({ node }) => readNumber(reading, { min: 0, integer: true }, node, "seed")),
    prune: readPruning(reading, entries, pruning, { method, models, hasBase: base !== null }),
    lines: read("lines", ({ node, where: at }) => readLines(reading, node, placed(at, "lines"), method)) ?? null,
    coefficients:
      context.withoutCoefficients === true
        ? null
        : (read("coefficients", (entry) => readCoefficients(reading, entry, context.methods, method)) ?? null),
  };
  if (method === null) return null;
  const given = readParameters(reading, parameters, method, dialect, context.methods);
  const settings = rest.coefficients === null ? given : withFixed(reading, given, method);
  return {
    method: named!,
    dialect,
    base,
    models,
    layout,
    compat,
    mergekit: null,
    parameters: settings,
    ...rest,
    seed: rest.seed ?? context.seedDefault ?? 0,
    merges: Object.fromEntries(merges),
    notes: compat === "none" ? [...notesOn(method, base, models), ...notesOnLines(rest.lines, settings)] : [],
    positions: Object.fromEntries(reading.positions),
  };
}

/** mergekit lets every parameter differ between tensors. */
export function varied(method: Method): Method {
  const parameters = Object.entries(method.parameters).map(([name, parameter]): [string, Parameter] => [
    name,
    parameter.per === "recipe" && parameter.type !== "checkpoint" ? { ...parameter, per: "tensor" } : parameter,
  ]);
  return { ...method, parameters: Object.fromEntries(parameters) };
}

/** One of `models`, `slices` and `modules`. */
function readMembers(
  reading: Reading,
  entries: Map<string, Entry>,
  where: Where,
  {
    method,
    base,
    pruning,
    duplicates,
  }: { method: Method | null; base: string | null; pruning: Pruning; duplicates: boolean },
): { models: RecipeModel[]; layout: Layout | null } {
  const [entry, second] = ["models", "slices", "modules"].flatMap((key) => entries.get(key) ?? []);
  if (entry === undefined) missingKey(reading, "models", where, "a list of models");
  if (second !== undefined) {
    reading.issues.add(`${entry!.key} and ${second.key} do not go together`, {
      code: "recipe/models",
      where: placed(second.where, second.key),
      expected: "one of models, slices and modules",
      advice: "name the models inside the slices",
    });
  }
  if (entry === undefined || second !== undefined) return { models: [], layout: null };
  if (entry.key === "models") {
    return {
      models: readModels(reading, entry, { method, pruning, duplicates, hasBase: base !== null }),
      layout: null,
    };
  }
  return method === null ? { models: [], layout: null } : readLayout(reading, entry, method, base);
}

function adviseKey(key: string, root: Node, { methods }: RecipeContext): string | undefined {
  const elsewhere: Readonly<Record<string, string>> = {
    base_model: "write base",
    dtype: "write it under output:, as output: {dtype: ...}",
    tokenizer_source: "write it under tokenizer:, as tokenizer: {source: ...}",
    out_dtype: "write it under output:, as output: {dtype: ...}",
    shard_size: "write it under output:, as output: {shard_size: ...}",
    drop: "write it under dare:, as dare: {drop: ...}",
    rescale: "write it under prune: or dare:, as dare: {rescale: ...}",
  };
  if (Object.hasOwn(elsewhere, key)) return elsewhere[key];
  const asked = entryOf(root, "method")?.node;
  const name = asked?.kind === "scalar" ? asked.text.split("/")[0] : undefined;
  const method = methods.find((candidate) => candidate.name === name);
  return method !== undefined && Object.hasOwn(method.parameters, key) ? `write it under parameters:` : undefined;
}

function missingKey({ issues }: Reading, key: string, where: Where, expected: string): void {
  const flag = where.line === undefined;
  issues.add(`the recipe has no ${key}`, {
    code: "recipe/missing-key",
    where: placed(where, key),
    expected: flag ? expected : `${key}: ${expected}`,
  });
}

function readMethod(
  reading: Reading,
  entries: Map<string, Entry>,
  where: Where,
  { methods }: RecipeContext,
): { method: Method | null; dialect: string } {
  const none = { method: null, dialect: "" };
  const entry = entries.get("method");
  const known = methods.map((method) => method.name);
  if (entry === undefined) {
    missingKey(reading, "method", where, oneOf(known));
    return none;
  }
  note(reading, "method", entry.where);
  const { node } = entry;
  if (node.kind !== "scalar" || typeof node.value === "boolean" || node.value === null) {
    wrongType(reading, node, "method", `a method: ${oneOf(known)}`);
    return none;
  }
  const [name, ...dialects] = node.text.split("/");
  const method = methods.find((candidate) => candidate.name === name);
  if (method === undefined) {
    const close = nearest(name!, known);
    reading.issues.add(`unknown method ${quote(name!)}`, {
      code: "recipe/unknown-method",
      where: placed(node.where, "method"),
      expected: oneOf(known),
      ...(close !== undefined && { advice: `write ${close}` }),
    });
    return none;
  }
  return { method, dialect: readDialect(reading, method, dialects, node, entries.get("dialect")) };
}

/** From `ties/paper` or `dialect: paper`; both only if they agree. */
function readDialect(
  reading: Reading,
  method: Method,
  behind: readonly string[],
  node: Node,
  entry: Entry | undefined,
): string {
  const known = Object.keys(method.dialects);
  const fallback = known[0] ?? "";
  const check = (word: string, where: Where): string => {
    if (known.includes(word)) return word;
    const close = nearest(word, known);
    reading.issues.add(`unknown dialect ${quote(word)} of method ${method.name}`, {
      code: "recipe/unknown-method",
      where,
      expected: oneOf(known),
      ...(close !== undefined && { advice: `write ${close}` }),
    });
    return fallback;
  };
  const own = behind.length === 0 ? undefined : check(behind.join("/"), placed(node.where, "method"));
  if (entry === undefined || isNothing(entry.node)) return own ?? fallback;
  note(reading, "dialect", entry.where);
  if (entry.node.kind !== "scalar") {
    wrongType(reading, entry.node, "dialect", oneOf(known));
    return fallback;
  }
  const said = check(entry.node.text, placed(entry.node.where, "dialect"));
  if (own !== undefined && said !== own) {
    reading.issues.add("method and dialect name different dialects", {
      code: "recipe/unknown-method",
      where: placed(entry.node.where, "dialect"),
      expected: own,
      found: quote(said),
      advice: "keep one of the two",
    });
  }
  return said;
}

function readBase(reading: Reading, entry: Entry | undefined, method: Method | null, where: Where): string | null {
  if (entry !== undefined) note(reading, "base", entry.where);
  if (entry === undefined || isNothing(entry.node)) {
    if (method?.base === "required") {
      missingKey(reading, "base", entry?.where ?? where, "the checkpoint that the models were fine-tuned from");
    }
    return null;
  }
  return readLocation(reading, entry.node, "base") ?? null;
}

function readExclude(reading: Reading, node: Node): readonly string[] {
  if (node.kind !== "list") {
    const advice = node.kind === "scalar" && node.value !== null ? `write exclude: [${quote(node.text)}]` : undefined;
    wrongType(reading, node, "exclude", "a list of patterns", advice);
    return [];
  }
  return node.items.flatMap((item, index) => {
    const path = join("exclude", index);
    const where = note(reading, path, item.where);
    if (item.kind === "scalar" && item.value !== null) return readPattern(reading, item.text, where, path) ?? [];
    wrongType(reading, item, path, "a pattern");
    return [];
  });
}

function readInput(reading: Reading, entry: Entry | undefined): InputSettings {
  if (entry !== undefined) note(reading, "input", entry.where);
  const entries = entry && readEntries(reading, entry.node, "input", { known: ["dtype"] });
  return { dtype: readFormat(reading, entries?.get("dtype"), "input.dtype") };
}

function readOutput(reading: Reading, entry: Entry | undefined, known: readonly string[]): OutputSettings {
  if (entry !== undefined) note(reading, "output", entry.where);
  const advise = (key: string) => (key === "shard_size" ? "remove it: this merge is not written" : undefined);
  const entries = entry && readEntries(reading, entry.node, "output", { known, advise });
  const size = entries?.get("shard_size");
  if (size !== undefined) note(reading, "output.shard_size", size.where);
  return {
    dtype: readFormat(reading, entries?.get("dtype"), "output.dtype"),
    shardSize: (size && readSize(reading, size.node, "output.shard_size")) ?? SHARD_SIZE,
  };
}

function readFormat(reading: Reading, entry: Entry | undefined, path: string): FloatDtype | null {
  if (entry === undefined) return null;
  note(reading, path, entry.where);
  return isNothing(entry.node) ? null : (readDtype(reading, entry.node, path) ?? null);
}

function notesOnLines(lines: LinesSettings | null, { lambda }: Readonly<Record<string, Setting>>): readonly string[] {
  if (lines === null || lambda === undefined || lambda.value === 1) return [];
  return [`lines multiplies lambda, which is ${String(lambda.value)}; the paper's LiNeS takes its place (lambda: 1)`];
}

/** What is legal and yet worth a second look. */
function notesOn(method: Method, base: string | null, models: readonly RecipeModel[]): readonly string[] {
  const notes: string[] = [];
  if (base !== null && method.base === "unused") notes.push(`base is given, but ${method.name} does not use one`);
  for (const model of base === null ? [] : models) {
    if (samePath(model.model) !== samePath(base!)) continue;
    const effect = method.inputs === "changes" ? ": its change is zero everywhere" : "";
    notes.push(`the model ${model.name} is the base itself${effect}`);
  }
  return notes;
}
