/**
 * Shows every checkpoint of a merge in the vocabulary of the result, so that planning, methods and engine see tensors of
 * equal shapes and need not know about tokens. No weight is read here: rows are looked up when they are merged.
 */

import type { Checkpoint, Shard, SideFile, StoredTensor } from "../models/model.js";
import { xxh64 } from "../numbers/checksum.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import { samePath } from "../recipe/models.js";
import type { Recipe } from "../recipe/recipe.js";
import { rowSource } from "../sources/rows.js";
import type { RowPart, RowTable } from "../sources/rows.js";
import type { ByteSource } from "../sources/source.js";
import { chooseTemplate, warnOfTemplate, withTemplate } from "./chat.js";
import { checkUnion } from "./check.js";
import { madeFile, tokenizerFiles } from "./files.js";
import { readText } from "./json.js";
import type { JsonObject } from "./json.js";
import { configOf, generationConfig } from "./numbers_in_files.js";
import { chatTemplateOf, readTokenizer } from "./read.js";
import type { KnownTokenizers } from "./read.js";
import { isUnchanged, planRows, resolveWishes, tableOf, warnOfNowhere } from "./rows.js";
import type { OpenTable, RowPlan, RowRules } from "./rows.js";
import { findTied, vocabularyNames, vocabularyRows, widthsDiffer } from "./tensors.js";
import { isTokenizerFile } from "./tokenizer.js";
import { makeVocabulary } from "./vocabulary.js";
import type { Member, Vocabulary } from "./vocabulary.js";

/** The checkpoints of a merge; a part of `OpenInputs`. */
export interface Inputs {
  readonly base: Checkpoint | null;
  readonly models: readonly Checkpoint[];
  readonly extra: Readonly<Record<string, Checkpoint>>;
  readonly notes?: readonly string[];
}

/**
 * @param open opens a checkpoint that only lends rows or its tokenizer.
 * @throws checkpoint/tokenizer, plan/vocabulary, plan/shape
 */
export async function withVocabulary<T extends Inputs>(
  recipe: Recipe,
  inputs: T,
  open: (label: string) => Promise<Checkpoint>,
): Promise<T> {
  if (recipe.tokenizer === null && recipe.chatTemplate === null) return inputs;
  const all = inputs.base === null ? inputs.models : [inputs.base, ...inputs.models];
  const notes: string[] = [];
  const shown = recipe.tokenizer === null ? all : await inOneVocabulary(recipe, all, open, notes);
  const [first, ...others] = await withChatTemplate(recipe, all, shown, notes);
  return {
    ...inputs,
    base: inputs.base === null ? null : first!,
    models: inputs.base === null ? [first!, ...others] : others,
    notes: [...(inputs.notes ?? []), ...notes],
  };
}

async function inOneVocabulary(
  recipe: Recipe,
  all: readonly Checkpoint[],
  open: (label: string) => Promise<Checkpoint>,
  notes: string[],
): Promise<readonly Checkpoint[]> {
  const names = vocabularyNames(all);
  const { members, find } = await findMembers(recipe, all, names, open);
  for (const { tokenizer } of members) notes.push(...tokenizer.notes);
  const { source } = recipe.tokenizer!;
  const donor = members[source.kind === "model" ? find(source.model) : 0]!;
  const vocabulary = makeVocabulary(recipe.tokenizer!, recipe, members, donor, notes);
  const rules: RowRules = {
    vocabulary,
    members,
    hasBase: recipe.base !== null,
    wishes: resolveWishes(recipe, members, find),
    lends: recipe.compat !== "strict",
  };
  const nowhere = new Set<string>();
  const tables = all.map(() => new Map<string, OpenTable>());
  for (const name of names) addTables(name, rules, tables, nowhere);
  notes.push(...warnOfNowhere(nowhere));
  const rowed = all.map((checkpoint, index) => withRows(checkpoint, tables[index]!));
  return withFiles(rowed, members, vocabulary, notes);
}

/** Every checkpoint with its tokenizer, and those that the recipe names besides. */
async function findMembers(
  recipe: Recipe,
  all: readonly Checkpoint[],
  names: readonly string[],
  open: (label: string) => Promise<Checkpoint>,
): Promise<{ members: readonly Member[]; find: (reference: string) => number }> {
  const known: KnownTokenizers = new Map();
  const read = async (checkpoint: Checkpoint, merged: boolean): Promise<Member> => {
    const rows = vocabularyRows(checkpoint, names);
    return { checkpoint, tokenizer: await readTokenizer(checkpoint, known), rows, merged };
  };
  const members: Member[] = [];
  for (const checkpoint of all) members.push(await read(checkpoint, true));
  const called = [...(recipe.base === null ? [] : [{ model: recipe.base, name: all[0]!.name }]), ...recipe.models];
  const named = called.map(({ model, name }) => ({ path: samePath(model), name }));
  const find = (reference: string) => {
    const byPath = named.findIndex(({ path }) => path === samePath(reference));
    return byPath === -1 ? named.findIndex(({ name }) => name === reference) : byPath;
  };
  const { source, tokens } = recipe.tokenizer!;
  const references = [source, ...tokens.map((token) => token.source)].flatMap((from) =>
    from !== null && "model" in from ? [from.model] : [],
  );
  for (const reference of references) {
    if (find(reference) !== -1) continue;
    members.push(await read(await open(reference), false));
    named.push({ path: samePath(reference), name: reference });
  }
  return { members, find };
}

const plans = new WeakMap<RowRules, Map<string, RowPlan>>();

/** The tables of one tensor, for each merged member that stores it and sees other rows than it has. */
function addTables(
  name: string,
  rules: RowRules,
  tables: readonly Map<string, OpenTable>[],
  nowhere: Set<string>,
): void {
  const { members } = rules;
  const tensors = members.map(({ checkpoint, rows }) => {
    const tensor = findTied(checkpoint, name, [name]);
    return tensor?.shape[0] === rows ? tensor : null;
  });
  const holders = members.flatMap((_, index) => (tensors[index] === null ? [] : [index]));
  const first = holders[0];
  if (first === undefined) return;
  // A tensor of another size than its model's vocabulary is none of its tensors.
  if (members.some(({ checkpoint, merged }, i) => merged && checkpoint.tensors.has(name) && tensors[i] === null))
    return;
  const shape = tensors[first]!.shape;
  for (const index of holders) {
    if (tensors[index]!.shape.slice(1).join() === shape.slice(1).join()) continue;
    const shapes = [shape, tensors[index]!.shape].map((found) => `[${found.join(", ")}]`);
    throw widthsDiffer(name, members[first]!.checkpoint, members[index]!.checkpoint, shapes);
  }
  for (const [index, into] of tables.entries()) {
    if (!members[index]!.checkpoint.tensors.has(name)) continue;
    const plan = rowsFor(rules, holders, index, nowhere);
    if (isUnchanged(plan, index, members[index]!.rows)) continue;
    into.set(name, tableOf(name, plan, members, tensors, entriesOf(shape.slice(1))));
  }
}

/** Embedding and head mostly have the same holders, and then the same rows. */
function rowsFor(rules: RowRules, holders: readonly number[], of: number, nowhere: Set<string>): RowPlan {
  let known = plans.get(rules);
  if (known === undefined) plans.set(rules, (known = new Map()));
  const key = `${of}:${holders.join()}`;
  const plan = known.get(key) ?? planRows(rules, holders, of, nowhere);
  known.set(key, plan);
  return plan;
}

function withRows(checkpoint: Checkpoint, tables: ReadonlyMap<string, OpenTable>): Checkpoint {
  const shards = [...checkpoint.shards];
  const tensors = new Map(checkpoint.tensors);
  for (const [name, opened] of tables) {
    const { rows, width, dtype } = opened.table;
    const length = rows * width * DTYPE_BYTES[dtype];
    const stored = checkpoint.tensors.get(name)!;
    const entry = { name, dtype, shape: [rows, ...stored.shape.slice(1)], offset: 0, length };
    shards.push(shardOf(checkpoint, entry, opened));
    tensors.set(name, { ...entry, shard: shards.length - 1, finalDtype: stored.finalDtype ?? stored.dtype });
  }
  return { ...checkpoint, shards, tensors };
}

/** A weight file that is nowhere: one tensor, row by row from others. */
function shardOf(
  { label }: Checkpoint,
  entry: Omit<StoredTensor, "shard">,
  { table, sources, lent }: OpenTable,
): Shard {
  const hash = fingerprint(table, lent);
  const versions = table.parts.map(({ stamp }) => stamp.version);
  const version = versions.includes("") ? "" : xxh64(new TextEncoder().encode(versions.join("\n")));
  const place = `${label}/${entry.name}#${hash}`;
  // The sources are the checkpoints' own, which close them.
  const open = (part: RowPart) => borrowed(sources[table.parts.indexOf(part)]!);
  return {
    name: `${entry.name} in the vocabulary of the result`,
    source: rowSource(place, table, { size: entry.length, version }, open),
    header: { tensors: [entry], metadata: {}, dataStart: 0, fileSize: entry.length, hash },
  };
}

function borrowed(source: ByteSource): ByteSource {
  const { label, stamp, address } = source;
  return { label, stamp, address, read: (offset, into) => source.read(offset, into), close() {} };
}

/** Equal for tables that are made in the same way from tensors of the same place and form. */
function fingerprint(
  { width, rows, dtype, parts, origins, runs, meanRows, averaged }: RowTable,
  lent: readonly string[],
): string {
  const form = parts.map(({ offset, dtype: stored, rows: count, stamp }) => [offset, stored, count, stamp.size]);
  const bytes = (ints: Int32Array) => xxh64(new Uint8Array(ints.buffer, ints.byteOffset, ints.byteLength));
  const text = JSON.stringify([width, rows, dtype, averaged, form, origins, lent, bytes(runs), bytes(meanRows)]);
  return xxh64(new TextEncoder().encode(text));
}

/** One checkpoint carries the files of the result's tokenizer, the one that they are from; no other has any. */
async function withFiles(
  all: readonly Checkpoint[],
  members: readonly Member[],
  vocabulary: Vocabulary,
  notes: string[],
): Promise<readonly Checkpoint[]> {
  const from = members.indexOf(vocabulary.donor);
  const files = tokenizerFiles(vocabulary, members, notes);
  if (vocabulary.ordinary.length > 0) {
    const { text } = files.find(({ name }) => name === "tokenizer.json")!;
    notes.push(...(await checkUnion(vocabulary, members, JSON.parse(text!) as JsonObject)));
  }
  const carried = from < all.length ? files : await ownFiles(files, vocabulary.donor.checkpoint.label, notes);
  const owner = Math.max(
    0,
    all.findIndex(({ config }) => config !== null),
  );
  const own = members[owner]!;
  const generation = await generationConfig(own, vocabulary, notes);
  return all.map((checkpoint, index) => {
    const kept = checkpoint.sideFiles.filter(({ name }) => !isTokenizerFile(name) && name !== generation?.name);
    return {
      ...checkpoint,
      ...configOf(members[index]!, vocabulary, index === owner ? notes : []),
      sideFiles: [
        ...kept,
        ...(index === owner && generation !== null ? [generation] : []),
        ...(index === (from < all.length ? from : 0) ? carried : []),
      ],
    };
  });
}

/** Files of a model that is not merged, as files of the result's own. */
async function ownFiles(files: readonly SideFile[], label: string, notes: string[]): Promise<SideFile[]> {
  const own: SideFile[] = [];
  for (const file of files) {
    if (file.text !== undefined) own.push(file);
    else if (/\.(json|txt|jinja)$/.test(file.name)) own.push(madeFile(file.name, await readText(file, label)));
    else notes.push(`${file.name} of ${label} is not copied, because that model is not merged`);
  }
  return own;
}

async function withChatTemplate(
  recipe: Recipe,
  all: readonly Checkpoint[],
  shown: readonly Checkpoint[],
  notes: string[],
): Promise<readonly Checkpoint[]> {
  if (recipe.chatTemplate === null) return shown;
  const templates: (string | null)[] = [];
  for (const checkpoint of all) templates.push(await chatTemplateOf(checkpoint));
  const template = chooseTemplate(recipe.chatTemplate, templates);
  if (template === null) {
    notes.push("chat_template: auto finds no template in any input; the result has none");
    return shown;
  }
  const holder = Math.max(
    0,
    shown.findIndex(({ sideFiles }) => sideFiles.some(({ name }) => name.startsWith("tokenizer"))),
  );
  const { sideFiles, label } = shown[holder]!;
  const files = await withTemplate(sideFiles, template, label);
  const made = new Set(files.filter(({ text }) => text !== undefined).map(({ name }) => name));
  const wrapped = shown.map((checkpoint, index) => ({
    ...checkpoint,
    sideFiles: index === holder ? files : checkpoint.sideFiles.filter(({ name }) => !made.has(name)),
  }));
  notes.push(...(await templateNotes(wrapped[holder]!, template)));
  return wrapped;
}

async function templateNotes(checkpoint: Checkpoint, template: string): Promise<string[]> {
  const text = checkpoint.sideFiles.find(({ name }) => name === "tokenizer.json");
  if (text === undefined) return [];
  const { ids } = await readTokenizer(checkpoint);
  return warnOfTemplate(template, (token) => ids.has(token));
}
