/**
 * mergekit's recipes, as mergekit 0.1.5 reads them: the whole schema, its precedence of values, its rules on who takes
 * part. What it ignores in silence is an error here, or a note under `compat: strict`.
 */

import type { Method } from "../../methods/method.js";
import { DTYPE_OF_RECIPE_NAME, type FloatDtype } from "../../numbers/dtypes.js";
import type { Where } from "../../errors.js";
import type { RecipeContext } from "../context.js";
import { nearest, oneOf, quote } from "../issues.js";
import { Members, mirror, readRange } from "../layout.js";
import { samePath } from "../models.js";
import type {
  Compat,
  LayoutModule,
  LayerRange,
  ModelSetting,
  Recipe,
  RecipeModel,
  Setting,
  Slice,
  TokenizerWish,
} from "../recipe.js";
import { type Entry, type Node, scalar } from "../tree.js";
import { readChatTemplate, readTokenizer, readTokenizerSource } from "../tokenizer.js";
import { isNothing, join, joinUnknown, note, placed, type Reading, wrongType } from "../values.js";
import { MERGEKIT_METHODS, MERGEKIT_PARAMETERS, type MergekitMethod, wordingOf } from "./methods.js";
import { readReference } from "./reference.js";
import { readMergekitSetting } from "./settings.js";

const KEYS = [
  "merge_method",
  "models",
  "slices",
  "modules",
  "base_model",
  "parameters",
  "dtype",
  "out_dtype",
  "tokenizer_source",
  "tokenizer",
  "chat_template",
  "name",
  "compat",
];
const DTYPES = ["bfloat16", "float16", "float32", "float64"];
/** Write f32 where everything else is 16 bits wide, unless out_dtype says otherwise. */
const PROMOTING: ReadonlySet<string> = new Set(["arcee_fusion", "ramplus_tl"]);
const SHARD_SIZE = 5e9;

/** @returns `null` after an issue that leaves nothing to say. */
export function readMergekit(
  reading: Reading,
  root: Node,
  context: RecipeContext,
  merges: ReadonlyMap<string, Recipe>,
): Recipe | null {
  const compat = readCompat(reading, root) ?? context.compat ?? "mergekit";
  return new MergekitReading(reading, context, compat).read(root, merges);
}

function readCompat(reading: Reading, root: Node): Exclude<Compat, "none"> | undefined {
  const entry = root.kind === "dictionary" ? root.entries.find(({ key }) => key === "compat") : undefined;
  if (entry === undefined) return undefined;
  const where = note(reading, "compat", entry.where);
  const word = entry.node.kind === "scalar" ? entry.node.text : "";
  if (word === "mergekit" || word === "strict") return word;
  reading.issues.add("compat names no way to read a recipe of mergekit", {
    code: "recipe/out-of-range",
    where,
    expected: oneOf(["mergekit", "strict"]),
  });
  return undefined;
}

/** A model of a list or of a slice, before its parameters have a place. */
interface Source {
  readonly reference: string;
  readonly node: Node;
  readonly path: string;
  readonly layers: LayerRange;
  /** The entry `parameters`, read once it is known whether this is the base. */
  readonly parameters: Entry | undefined;
}

class MergekitReading {
  readonly #reading: Reading;
  readonly #context: RecipeContext;
  readonly #compat: Exclude<Compat, "none">;
  readonly #notes: string[] = [];
  readonly #members = new Members();
  #known!: MergekitMethod;
  #method!: Method;
  #name = "";
  #base: string | null = null;

  constructor(reading: Reading, context: RecipeContext, compat: Exclude<Compat, "none">) {
    this.#reading = reading;
    this.#context = context;
    this.#compat = compat;
  }

  get #strict(): boolean {
    return this.#compat === "strict";
  }

  read(root: Node, merges: ReadonlyMap<string, Recipe>): Recipe | null {
    const entries = this.#entries(root, "", KEYS);
    if (entries === null || !this.#readMethod(entries.get("merge_method")!)) return null;
    const dialect = this.#dialect();
    const base = entries.get("base_model");
    if (base !== undefined && !isNothing(base.node)) {
      note(this.#reading, "base", placed(base.where, "base_model"));
      this.#base = readReference(this.#reading, base.node, "base_model") ?? null;
    }
    const parameters = this.#block(entries.get("parameters"), "parameters", "parameters", "any");
    const { models, modules } = this.#readWhat(entries, root.where);
    const dtype = this.#dtype(entries.get("dtype"), "dtype");
    const out = this.#dtype(entries.get("out_dtype"), "out_dtype");
    const promotes = this.#strict && PROMOTING.has(this.#name) && out === null && dtype !== null;
    if (dtype === "F64") this.#notes.push("dtype float64: computed in float32, stored as float64");
    return {
      method: this.#method,
      dialect,
      base: this.#base,
      models,
      layout: modules === null ? null : { modules },
      parameters: this.#global(parameters, dialect),
      prune: null,
      lines: null,
      exclude: [],
      heads: "base",
      missing: "skip",
      input: { dtype: dtype === "F32" || dtype === "F64" ? null : dtype },
      output: { dtype: promotes ? "F32" : (out ?? dtype), shardSize: SHARD_SIZE },
      seed: this.#context.seedDefault ?? 0,
      compat: this.#compat,
      tokenizer: this.#tokenizer(entries),
      chatTemplate: this.#template(entries.get("chat_template")),
      merges: Object.fromEntries(merges),
      mergekit: null,
      coefficients: null,
      notes: this.#notes,
      positions: Object.fromEntries(this.#reading.positions),
    };
  }

  /** Entries by key. What mergekit ignores is an issue, or a note under `strict`. */
  #entries(node: Node, path: string, known: readonly string[]): Map<string, Entry> | null {
    if (node.kind !== "dictionary") {
      wrongType(this.#reading, node, path, "a map (key: value)");
      return null;
    }
    for (const { key, where } of node.entries) if (!known.includes(key)) this.#unknown("key", key, where, path, known);
    return new Map(node.entries.map((entry) => [entry.key, entry]));
  }

  #unknown(noun: "key" | "parameter", key: string, where: Where, path: string, known: readonly string[]): void {
    const close = nearest(key, known);
    const place = placed(where, joinUnknown(path, key));
    if (this.#strict) {
      this.#notes.push(
        `line ${where.line}: mergekit ignores the ${noun} ${quote(key)}${close ? ` (is it ${close}?)` : ""}`,
      );
      return;
    }
    this.#reading.issues.add(`unknown ${noun} ${quote(key)}, which mergekit would ignore`, {
      code: noun === "key" ? "recipe/unknown-key" : "recipe/unknown-parameter",
      where: place,
      expected: known.length === 0 ? `no ${noun} at all` : oneOf(known),
      advice: close === undefined ? "remove it, or write compat: strict to ignore it" : `write ${close}`,
    });
  }

  #readMethod({ node, where }: Entry): boolean {
    note(this.#reading, "method", placed(where, "merge_method"));
    const name = node.kind === "scalar" ? node.text : "";
    const known = Object.hasOwn(MERGEKIT_METHODS, name) ? MERGEKIT_METHODS[name]! : null;
    const place = placed(node.where, "merge_method");
    if (known === null) {
      const names = Object.keys(MERGEKIT_METHODS);
      const close = nearest(name, names);
      this.#reading.issues.add(`unknown method ${quote(name)}`, {
        code: "recipe/unknown-method",
        where: place,
        expected: oneOf(names),
        ...(close !== undefined && { advice: `write ${close}` }),
      });
      return false;
    }
    const method = known.native
      .map((native) => this.#context.methods.find((candidate) => candidate.name === native))
      .find((candidate) => candidate !== undefined);
    if (method === undefined) {
      this.#reading.issues.add(`this version does not have mergekit's ${name}`, {
        code: "recipe/unsupported",
        where: place,
        expected: oneOf(this.#context.methods.map((candidate) => candidate.name)),
      });
      return false;
    }
    this.#known = known;
    this.#method = method;
    this.#name = name;
    return true;
  }

  #dialect(): string {
    const wanted = [...(this.#strict ? ["mergekit-strict"] : []), "mergekit"];
    const dialects = Object.keys(this.#method.dialects);
    return wanted.find((dialect) => dialects.includes(dialect)) ?? dialects[0] ?? "";
  }

  /** What mergekit has as default, said in the method's words; `null` for what must be given. */
  #global(given: Readonly<Record<string, ModelSetting>>, dialect: string): Record<string, Setting> {
    const { parameters, dialects } = this.#method;
    const values = dialects[dialect]?.values ?? {};
    const defaults = new Map<string, Setting["value"]>();
    for (const [name, { default: value, idle }] of Object.entries(this.#known.parameters)) {
      const wording = wordingOf(this.#method, name);
      if (wording !== null && idle !== true)
        defaults.set(wording.parameter, value === null ? null : wording.value(value));
    }
    return Object.fromEntries(
      Object.entries(parameters).map(([name, parameter]): [string, Setting] => {
        const fallback = defaults.get(name);
        const own =
          fallback === undefined ? (Object.hasOwn(values, name) ? values[name]! : parameter.default) : fallback;
        const setting = given[name];
        return [name, { value: setting?.value ?? own, patterns: setting?.patterns ?? [] }];
      }),
    );
  }

  /**
   * A block of parameters in the method's words.
   * @param path as written. @param place where it stands in `Recipe.positions`.
   */
  #block(entry: Entry | undefined, path: string, place: string, of: "model" | "any"): Record<string, ModelSetting> {
    if (entry === undefined || isNothing(entry.node)) return {};
    note(this.#reading, place, placed(entry.where, path));
    const { node } = entry;
    if (node.kind !== "dictionary") {
      wrongType(this.#reading, node, path, "a map from parameter to value");
      return {};
    }
    const settings: [string, ModelSetting][] = [];
    for (const { key, where, node: value } of node.entries) {
      const read = this.#setting(key, where, value, path, place, of);
      if (read !== null) settings.push(read);
    }
    return Object.fromEntries(settings);
  }

  #setting(
    key: string,
    where: Where,
    node: Node,
    path: string,
    place: string,
    of: "model" | "any",
  ): [string, ModelSetting] | null {
    const known = Object.hasOwn(this.#known.parameters, key) ? this.#known.parameters[key]! : null;
    if (known === null) {
      if (MERGEKIT_PARAMETERS.has(key)) this.#notes.push(`line ${where.line}: ${this.#name} does not use ${key}`);
      else this.#unknown("parameter", key, where, path, Object.keys(this.#known.parameters));
      return null;
    }
    if (of === "model" && known.per === "tensor") {
      if (known.idle !== true) {
        this.#notes.push(`line ${where.line}: ${key} has no effect under a model, only under the recipe's parameters`);
      }
      return null;
    }
    if (known.idle === true) return null;
    const wording = wordingOf(this.#method, key);
    if (wording === null) return this.#unsupported(key, where, path);
    this.#reading.positions.set(join(place, wording.parameter), placed(where, join(path, key)));
    const declared = this.#method.parameters[wording.parameter]!;
    const context = {
      reading: this.#reading,
      type: known.type,
      wording,
      declared,
      strict: this.#strict,
      notes: this.#notes,
    };
    const setting = readMergekitSetting(context, node, join(path, key));
    if (setting !== undefined) mirror(this.#reading, join(path, key), join(place, wording.parameter));
    return setting === undefined ? null : [wording.parameter, setting];
  }

  #unsupported(key: string, where: Where, path: string): null {
    this.#reading.issues.add(`${this.#method.name} does not have mergekit's ${key} yet`, {
      code: "recipe/unsupported",
      where: placed(where, join(path, key)),
      advice: "remove it, if its default is what you want",
    });
    return null;
  }

  /** One of `models`, `slices` and `modules`. */
  #readWhat(
    entries: Map<string, Entry>,
    where: Where,
  ): { models: readonly RecipeModel[]; modules: readonly LayoutModule[] | null } {
    const none = { models: [], modules: null };
    const given = ["models", "slices", "modules"].flatMap((key) => {
      const entry = entries.get(key);
      return entry === undefined || isNothing(entry.node) ? [] : [entry];
    });
    const [entry, second] = given;
    if (entry === undefined || second !== undefined) {
      this.#reading.issues.add(entry === undefined ? "the recipe names no models" : "the recipe names models twice", {
        code: entry === undefined ? "recipe/missing-key" : "recipe/models",
        where: placed(second?.where ?? where, second?.key ?? "models"),
        expected: "one of models, slices and modules",
      });
      return none;
    }
    if (entry.key === "models") return { models: this.#flat(entry), modules: null };
    const modules =
      entry.key === "slices"
        ? [{ prefix: "", parameters: {}, slices: this.#slices(entry, "slices", 0) }]
        : this.#modules(entry);
    return { models: this.#members.models(), modules };
  }

  #flat(entry: Entry): RecipeModel[] {
    note(this.#reading, "models", entry.where);
    const { members } = this.#sources(entry, "models", this.#base, true);
    const counted = members.map(({ reference, node }) => this.#members.indexOf(reference, node));
    return this.#members.models().map((model, index) => {
      const source = members[counted.indexOf(index)]!;
      const place = `models.${index}`;
      mirror(this.#reading, source.path, place);
      const path = join(source.path, "parameters");
      return { ...model, parameters: this.#block(source.parameters, path, join(place, "parameters"), "model") };
    });
  }

  #modules(entry: Entry): LayoutModule[] {
    note(this.#reading, "modules", entry.where);
    const { node } = entry;
    if (node.kind !== "dictionary" || node.entries.length === 0) {
      wrongType(this.#reading, node, "modules", "a map from the name of a module to {slices: ...}");
      return [];
    }
    const alone = node.entries.length === 1 && node.entries[0]!.key === "default";
    return node.entries.map(({ key, where, node: module }, index): LayoutModule => {
      const path = join("modules", key);
      const place = `layout.${index}`;
      this.#reading.positions.set(place, placed(where, path));
      const prefix = alone ? "" : key;
      const entries = this.#entries(module, path, ["slices", "models", "parameters"]);
      const what = entries?.get("slices") ?? entries?.get("models");
      if (entries === null || what === undefined) {
        if (entries !== null) wrongType(this.#reading, module, path, "slices or models");
        return { prefix, slices: [], parameters: {} };
      }
      return {
        prefix,
        slices:
          what.key === "slices"
            ? this.#slices(what, join(path, "slices"), index)
            : [this.#slice(what, undefined, undefined, path, join(place, "slices.0"), true)],
        parameters: this.#block(entries.get("parameters"), join(path, "parameters"), join(place, "parameters"), "any"),
      };
    });
  }

  #slices({ node }: Entry, path: string, module: number): Slice[] {
    if (node.kind !== "list" || node.items.length === 0) {
      wrongType(this.#reading, node, path, "a list of slices, at least one");
      return [];
    }
    if (path === "slices") this.#reading.positions.set(`layout.${module}`, placed(node.where, path));
    const slices = node.items.map((item, index): Slice => {
      const at = join(path, index);
      const place = `layout.${module}.slices.${index}`;
      this.#reading.positions.set(place, placed(item.where, at));
      const entries = this.#entries(item, at, ["sources", "base_model", "parameters", "residual_weight"]);
      const sources = entries?.get("sources");
      if (entries === null || sources === undefined) {
        if (entries !== null) wrongType(this.#reading, item, at, "{sources: [...]}");
        return { base: null, members: [], parameters: {} };
      }
      return this.#slice(sources, entries.get("base_model"), entries.get("parameters"), at, place, false);
    });
    this.#noteTruncation(slices);
    return slices;
  }

  /** mergekit pairs the sources of the first and of the last slice, and forgets those without a partner. */
  #noteTruncation(slices: readonly Slice[]): void {
    const countOf = (slice: Slice) => slice.members.length + (slice.base === null ? 0 : 1);
    const [first, last] = [slices[0]!, slices.at(-1)!].map(countOf);
    if (last! <= first!) return;
    this.#notes.push(
      `mergekit takes what lies behind the layers from the first ${first} sources of the last slice; here all ${last} take part`,
    );
  }

  #slice(
    sources: Entry,
    ownBase: Entry | undefined,
    parameters: Entry | undefined,
    path: string,
    place: string,
    isWhole: boolean,
  ): Slice {
    const written = ownBase && !isNothing(ownBase.node) ? ownBase.node : undefined;
    const own = written && readReference(this.#reading, written, join(path, "base_model"));
    const wanted = own ?? this.#base;
    const { base, members } = this.#sources(sources, join(path, isWhole ? "models" : "sources"), wanted, isWhole);
    const isCommon = base !== null && this.#base !== null && samePath(base.reference) === samePath(this.#base);
    const slice = {
      base:
        base === null
          ? null
          : { model: isCommon ? -1 : this.#members.indexOf(base.reference, base.node), layers: base.layers },
      members: members.map(({ reference, node, layers, path: at, parameters: block }, index) => {
        const to = `${place}.members.${index}`;
        mirror(this.#reading, at, to);
        mirror(this.#reading, join(at, "layer_range"), join(to, "layers"));
        return {
          model: this.#members.indexOf(reference, node),
          layers,
          parameters: this.#block(block, join(at, "parameters"), join(to, "parameters"), "model"),
        };
      }),
      parameters: this.#block(parameters, join(path, "parameters"), join(place, "parameters"), "any"),
    };
    if (base !== null) mirror(this.#reading, join(base.path, "layer_range"), join(place, "base.layers"));
    this.#checkLengths(base === null ? members : [base, ...members]);
    return slice;
  }

  /** Who takes part, checked against the rules of the method; the base apart where the method has one. */
  #sources(
    entry: Entry,
    path: string,
    base: string | null,
    isWhole: boolean,
  ): { readonly base: Source | null; readonly members: readonly Source[] } {
    const { node, where } = entry;
    if (node.kind !== "list" || node.items.length === 0) {
      wrongType(this.#reading, node, path, "a list of models, at least one");
      return { base: null, members: [] };
    }
    const listed = node.items.flatMap((item, index) => this.#source(item, join(path, index), isWhole) ?? []);
    if (listed.length < node.items.length) return { base: null, members: [] };
    this.#refuseTwice(listed);
    const isBase = ({ reference }: Source) => base !== null && samePath(reference) === samePath(base);
    const found = listed.find(isBase);
    const appended: Source | null =
      base === null || found !== undefined || !isWhole
        ? null
        : { reference: base, node: scalar(base, where), path, layers: null, parameters: undefined };
    const all = appended === null ? listed : [...listed, appended];
    if (this.#known.base === "member") {
      this.#checkCount(all.length, where, path);
      return { base: null, members: all };
    }
    const members = all.filter((source) => !isBase(source));
    const own = found ?? appended;
    if (own === null && (base !== null || this.#known.base === "required")) this.#missingBase(base, where, path);
    else this.#checkCount(members.length, where, path);
    if (own?.parameters !== undefined) {
      this.#notes.push(`line ${own.parameters.where.line}: parameters of the base have no effect`);
    }
    return { base: own, members };
  }

  #source(node: Node, path: string, isWhole: boolean): Source | null {
    note(this.#reading, path, node.where);
    const entries = this.#entries(node, path, ["model", "parameters", "layer_range"]);
    const model = entries?.get("model");
    if (entries === null || model === undefined) {
      if (entries !== null) wrongType(this.#reading, node, path, "{model: ..., parameters: ...}");
      return null;
    }
    note(this.#reading, join(path, "model"), model.where);
    const reference = readReference(this.#reading, model.node, join(path, "model"));
    const range = entries.get("layer_range");
    if (isWhole && range !== undefined) {
      this.#notes.push(`line ${range.where.line}: layer_range has no effect under models, only under slices`);
    }
    const parameters = entries.get("parameters");
    if (reference === undefined) return null;
    if (isWhole) return { reference, node: model.node, path, layers: null, parameters };
    if (range === undefined) {
      wrongType(this.#reading, node, path, "{model: ..., layer_range: [from, to]}");
      return null;
    }
    const layers = readRange(this.#reading, range, join(path, "layer_range"));
    return { reference, node: model.node, path, layers, parameters };
  }

  #refuseTwice(sources: readonly Source[]): void {
    sources.forEach(({ reference, node, path }, index) => {
      const first = sources.findIndex((other) => samePath(other.reference) === samePath(reference));
      if (first === index) return;
      this.#reading.issues.add(`the model ${quote(reference)} stands twice in one list`, {
        code: "recipe/models",
        where: placed(node.where, join(path, "model")),
        expected: "each model once in a list of models and in a slice",
        found: `it also stands at ${sources[first]!.path}`,
      });
    });
  }

  #missingBase(base: string | null, where: Where, path: string): void {
    this.#reading.issues.add(`${this.#name} needs a base`, {
      code: base === null ? "recipe/missing-key" : "recipe/models",
      where: placed(where, path),
      expected: base === null ? "base_model: a model" : `${quote(base)} among the sources of every slice`,
    });
  }

  #checkCount(count: number, where: Where, path: string): void {
    const { min, max = Infinity } = this.#known.models;
    if (count >= min && count <= max) return;
    const beside = this.#known.base === "member" ? "" : " beside the base";
    const most = max === Infinity ? `at least ${min}` : min === max ? `exactly ${min}` : `from ${min} to ${max}`;
    this.#reading.issues.add(`${this.#name} cannot work with this number of models`, {
      code: "recipe/models",
      where: placed(where, path),
      expected: `${most}${beside}`,
      found: `${count}${this.#known.base === "member" && this.#base !== null ? " (a base_model counts)" : ""}`,
    });
  }

  #checkLengths(sources: readonly Source[]): void {
    const [first, ...others] = sources.filter(({ layers }) => layers !== null);
    const lengthOf = ({ layers }: Source) => layers![1] - layers![0];
    for (const source of others) {
      if (lengthOf(source) === lengthOf(first!)) continue;
      this.#reading.issues.add("the sources of a slice have different numbers of layers", {
        code: "recipe/out-of-range",
        where: this.#reading.positions.get(join(source.path, "layer_range"))!,
        expected: `${lengthOf(first!)} layers, as ${first!.reference}`,
        found: String(lengthOf(source)),
      });
    }
  }

  #dtype(entry: Entry | undefined, path: string): FloatDtype | null {
    if (entry === undefined || isNothing(entry.node)) return null;
    note(this.#reading, path === "dtype" ? "input.dtype" : "output.dtype", placed(entry.where, path));
    const name = entry.node.kind === "scalar" ? entry.node.text.replace(/^torch\./, "") : "";
    if (DTYPES.includes(name)) return DTYPE_OF_RECIPE_NAME[name]!;
    const close = nearest(name, DTYPES);
    this.#reading.issues.add(`${quote(name)} is no value of ${path}`, {
      code: "recipe/out-of-range",
      where: placed(entry.node.where, path),
      expected: oneOf(DTYPES),
      ...(close !== undefined && { advice: `write ${close}` }),
    });
    return null;
  }

  #tokenizer(entries: Map<string, Entry>): TokenizerWish | null {
    const block = entries.get("tokenizer");
    const source = entries.get("tokenizer_source");
    const isGiven = (entry: Entry | undefined): entry is Entry => entry !== undefined && !isNothing(entry.node);
    if (isGiven(block) && isGiven(source)) {
      this.#reading.issues.add("tokenizer and tokenizer_source do not go together", {
        code: "recipe/syntax",
        where: placed(source.where, "tokenizer_source"),
        advice: "write the source inside tokenizer:",
      });
    }
    if (isGiven(block)) {
      const wish = readTokenizer(this.#reading, block, "tokenizer", readReference);
      return this.#strict && wish !== null ? { ...wish, keepPadding: false } : wish;
    }
    if (!isGiven(source)) return null;
    note(this.#reading, "tokenizer", placed(source.where, "tokenizer_source"));
    const read = readTokenizerSource(this.#reading, source, "tokenizer_source", readReference);
    return { source: read, tokens: [], padToMultipleOf: null, keepPadding: !this.#strict };
  }

  #template(entry: Entry | undefined): string | null {
    if (entry === undefined || isNothing(entry.node)) return null;
    note(this.#reading, "chat_template", entry.where);
    return readChatTemplate(this.#reading, entry.node) ?? null;
  }
}
