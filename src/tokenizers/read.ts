/**
 * Reads a checkpoint's tokenizer: tokenizer.json, or vocab.json with merges.txt, with what tokenizer_config.json,
 * added_tokens.json and special_tokens_map.json add to it. Everything taken from a file is checked first.
 */

import { printable, someOf } from "../formats/safetensors/text.js";
import type { Checkpoint, SideFile } from "../models/model.js";
import { isObject, parseObject, readObject, readText, tokenizerDefect } from "./json.js";
import type { JsonObject } from "./json.js";
import type { AddedToken, Tokenizer, TokenizerKind } from "./tokenizer.js";

/** No vocabulary comes near this; a larger number is damage. */
const LARGEST_ID = (1 << 24) - 1;
const KINDS: readonly TokenizerKind[] = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/** Tokenizers read before, by the texts that say which tokens they have: fine-tunes mostly share one. */
export type KnownTokenizers = Map<string, Tokenizer>;

/** @throws checkpoint/tokenizer where there is none that can be read, or its files contradict each other. */
export async function readTokenizer(
  checkpoint: Checkpoint,
  known: KnownTokenizers = new Map<string, Tokenizer>(),
): Promise<Tokenizer> {
  const { label } = checkpoint;
  const find = (name: string) => checkpoint.sideFiles.find((file) => file.name === name);
  const object = async (name: string) => {
    const file = find(name);
    return file === undefined ? null : readObject(file, label);
  };
  const config = await object("tokenizer_config.json");
  const more = await object("added_tokens.json");
  const own = {
    label,
    config,
    specialTokens: await object("special_tokens_map.json"),
    chatTemplate: await chatTemplateOf(checkpoint),
  };
  const file = find("tokenizer.json");
  const text = file === undefined ? null : await readText(file, label);
  const key = JSON.stringify([config?.["added_tokens_decoder"], more]) + (text ?? "");
  const twin = text === null ? undefined : known.get(key);
  if (twin !== undefined) return { ...twin, ...own, notes: [] };
  const place = `${label}/${text === null ? "vocab.json" : "tokenizer.json"}`;
  const json = text === null ? await fromVocabulary(checkpoint, config, find) : parseObject(text, place);
  const tokenizer = { ...tokensOf(json, config, more, label, place), ...own, json, text };
  known.set(key, tokenizer);
  return tokenizer;
}

function tokensOf(
  json: JsonObject,
  config: JsonObject | null,
  more: JsonObject | null,
  label: string,
  place: string,
): Pick<Tokenizer, "kind" | "ids" | "tokens" | "added" | "isOrdinary" | "notes"> {
  const reading: Reading = { place, ids: new Map(), tokens: [], notes: [] };
  const kind = readKind(json, place);
  readOrdinary(reading, json, kind);
  const isOrdinary = ordinaryTest(json, kind);
  const added = new Map<string, AddedToken>();
  for (const entry of listOf(json["added_tokens"])) addToken(reading, added, entry, place);
  addFromConfig(reading, added, config, `${label}/tokenizer_config.json`);
  addFromMap(reading, added, more, `${label}/added_tokens.json`);
  const { ids, tokens, notes } = reading;
  if (ids.size === 0) throw tokenizerDefect("the tokenizer has no tokens", place);
  // An array with holes that says so itself.
  for (let id = 0; tokens.length > ids.size && id < tokens.length; id++) tokens[id] ??= undefined;
  return { kind, ids, tokens, added: [...added.values()].sort((a, b) => a.id - b.id), isOrdinary, notes };
}

interface Reading {
  readonly place: string;
  readonly ids: Map<string, number>;
  /** By number. */
  readonly tokens: (string | undefined)[];
  readonly notes: string[];
}

function readKind(json: JsonObject, place: string): TokenizerKind {
  const model = json["model"];
  if (!isObject(model)) throw tokenizerDefect("the tokenizer has no model", place, { advice: "download it again" });
  const { type, vocab } = model;
  const known = KINDS.find((kind) => kind === type);
  if (known !== undefined) return known;
  // Files of old versions do not name the type.
  if (type === undefined || type === null) {
    if (Array.isArray(vocab)) return "Unigram";
    if (model["merges"] !== undefined) return "BPE";
    if (model["continuing_subword_prefix"] !== undefined) return "WordPiece";
  }
  throw tokenizerDefect("the tokenizer is of a kind that is not known", place, {
    expected: KINDS.join(", "),
    found: printable(JSON.stringify(type) ?? "no type"),
  });
}

function readOrdinary(reading: Reading, json: JsonObject, kind: TokenizerKind): void {
  const { vocab } = json["model"] as JsonObject;
  const { place } = reading;
  if (kind !== "Unigram") {
    if (!isObject(vocab)) throw noVocabulary(place, "an object of numbers by token");
    for (const token of Object.keys(vocab)) keep(reading, token, vocab[token]);
    return;
  }
  if (!Array.isArray(vocab)) throw noVocabulary(place, "a list of pieces with scores");
  for (const [id, piece] of (vocab as unknown[]).entries()) {
    const [token, score] = Array.isArray(piece) ? (piece as unknown[]) : [];
    if (typeof token !== "string" || typeof score !== "number") throw noVocabulary(place, "pairs of piece and score");
    keep(reading, token, id);
  }
}

function ordinaryTest(json: JsonObject, kind: TokenizerKind): (token: string) => boolean {
  const { vocab } = json["model"] as JsonObject;
  if (kind !== "Unigram") return (token) => Object.hasOwn(vocab as JsonObject, token);
  const pieces = new Set((vocab as readonly (readonly [string, number])[]).map(([piece]) => piece));
  return (token) => pieces.has(token);
}

function noVocabulary(place: string, expected: string) {
  return tokenizerDefect("the tokenizer's vocabulary is not as its kind demands", place, {
    expected,
    advice: "download it again",
  });
}

/** Takes a token, whose number must be one and belong to no other. */
function keep({ ids, tokens, place }: Reading, token: string, id: unknown): number {
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > LARGEST_ID) {
    throw tokenizerDefect("a token has no proper number", place, {
      expected: `a whole number from 0 to ${LARGEST_ID} for ${shown(token)}`,
      found: printable(JSON.stringify(id) ?? "nothing"),
      advice: "download the tokenizer again",
    });
  }
  const twin = tokens[id];
  if (twin !== undefined) {
    throw tokenizerDefect("two tokens have the same number", place, {
      found: `${id} is ${shown(twin)} and ${shown(token)}`,
      advice: "the rows of the embedding cannot be told apart; download the tokenizer again",
    });
  }
  ids.set(token, id);
  tokens[id] = token;
  return id;
}

export function shown(token: string): string {
  return printable(JSON.stringify(token));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

function addToken(reading: Reading, added: Map<string, AddedToken>, entry: unknown, place: string): void {
  if (!isObject(entry) || typeof entry["content"] !== "string" || entry["content"] === "") {
    throw tokenizerDefect("an added token is not as it should be", place, {
      expected: "an object with content and id",
      found: printable(JSON.stringify(entry)),
    });
  }
  const { content, id } = entry;
  const known = reading.ids.get(content);
  if (known !== undefined && known !== id) {
    reading.notes.push(
      `${place} gives ${shown(content)} the number ${printable(JSON.stringify(id) ?? "")}; ` +
        `it is ${known}, as the vocabulary says`,
    );
  }
  const number = known ?? keep(reading, content, id);
  added.set(content, addedToken(entry, content, number));
}

/** The defaults of the tokenizers library. */
export function addedToken(entry: JsonObject, content: string, id: number): AddedToken {
  const flag = (name: string, fallback: boolean) => (typeof entry[name] === "boolean" ? entry[name] : fallback);
  const special = flag("special", false);
  return {
    id,
    content,
    single_word: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !special),
    special,
  };
}

/** transformers adds what tokenizer_config.json lists and tokenizer.json lacks. */
function addFromConfig(
  reading: Reading,
  added: Map<string, AddedToken>,
  config: JsonObject | null,
  place: string,
): void {
  const listed = config?.["added_tokens_decoder"];
  if (!isObject(listed)) return;
  for (const [id, entry] of Object.entries(listed)) {
    if (!isObject(entry) || typeof entry["content"] !== "string" || added.has(entry["content"])) continue;
    addLate(reading, added, entry, entry["content"], Number(id), place);
  }
}

function addFromMap(reading: Reading, added: Map<string, AddedToken>, map: JsonObject | null, place: string): void {
  for (const [content, id] of Object.entries(map ?? {})) {
    if (!reading.ids.has(content)) addLate(reading, added, {}, content, id, place);
  }
}

/** What tokenizer.json says about a number comes first. */
function addLate(
  reading: Reading,
  added: Map<string, AddedToken>,
  entry: JsonObject,
  content: string,
  id: unknown,
  place: string,
): void {
  const known = reading.ids.get(content);
  const other = known === undefined ? reading.tokens[id as number] : undefined;
  if (other !== undefined) {
    reading.notes.push(`${place} gives ${shown(content)} the number of ${shown(other)}; it is left out`);
    return;
  }
  const number = known ?? keep({ ...reading, place }, content, id);
  added.set(content, addedToken(entry, content, number));
}

/** A checkpoint's chat template, wherever it is kept; `null` where it has none. */
export async function chatTemplateOf({ label, sideFiles }: Checkpoint): Promise<string | null> {
  const find = (name: string) => sideFiles.find((file) => file.name === name);
  const jinja = find("chat_template.jinja");
  if (jinja !== undefined) return readText(jinja, label);
  const config = find("tokenizer_config.json");
  const own = config === undefined ? undefined : (await readObject(config, label))["chat_template"];
  if (typeof own === "string") return own;
  // Several templates by name; the one called default is what apply_chat_template takes.
  const named = listOf(own).find((entry) => isObject(entry) && entry["name"] === "default");
  if (isObject(named) && typeof named["template"] === "string") return named["template"];
  const processor = find("chat_template.json");
  const text = processor === undefined ? undefined : (await readObject(processor, label))["chat_template"];
  return typeof text === "string" ? text : null;
}

/** Byte-level BPE from vocab.json and merges.txt: GPT-2, Qwen. */
async function fromVocabulary(
  { label, sideFiles }: Checkpoint,
  config: JsonObject | null,
  find: (name: string) => SideFile | undefined,
): Promise<JsonObject> {
  const [vocab, merges] = [find("vocab.json"), find("merges.txt")];
  const family = config?.["tokenizer_class"];
  const pattern = typeof family === "string" ? BYTE_LEVEL[family.replace(/Fast$/, "")] : BYTE_LEVEL["GPT2Tokenizer"];
  if (vocab === undefined || merges === undefined || pattern === undefined) {
    const there = sideFiles.filter(({ name }) => /tokenizer|vocab|merges|\.model$|spm$|tiktoken$/.test(name));
    throw tokenizerDefect("there is no tokenizer that can be read", label, {
      expected: "tokenizer.json, or vocab.json and merges.txt of GPT-2 or Qwen",
      found: there.length === 0 ? "no tokenizer" : someOf(there.map(({ name }) => name)),
      advice:
        there.length === 0
          ? "copy the tokenizer files of the model that it was fine-tuned from into the folder"
          : 'write tokenizer.json once: python -c "from transformers import AutoTokenizer; ' +
            "AutoTokenizer.from_pretrained('FOLDER').save_pretrained('FOLDER')\"",
    });
  }
  const lines = (await readText(merges, label)).split(/\r?\n/);
  const pairs = lines
    .filter((line, index) => line !== "" && !(index === 0 && line.startsWith("#version")))
    .map((line) => line.split(" "));
  const wrong = pairs.find((pair) => pair.length !== 2);
  if (wrong !== undefined) {
    throw tokenizerDefect("a merge is not a pair", `${label}/merges.txt`, { found: shown(wrong.join(" ")) });
  }
  return byteLevelBpe(await readObject(vocab, label), pairs, pattern, config);
}

/** How words are split before BPE; `null`: as GPT-2 does. */
const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const BYTE_LEVEL: Readonly<Record<string, string | null>> = {
  GPT2Tokenizer: null,
  Qwen2Tokenizer: QWEN_WORDS,
};

function byteLevelBpe(
  vocab: JsonObject,
  merges: readonly string[][],
  pattern: string | null,
  config: JsonObject | null,
): JsonObject {
  const prefix = config?.["add_prefix_space"] === true;
  const byteLevel = { type: "ByteLevel", add_prefix_space: prefix, trim_offsets: true, use_regex: pattern === null };
  const split = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: pattern === null ? null : { type: "NFC" },
    pre_tokenizer: pattern === null ? byteLevel : { type: "Sequence", pretokenizers: [split, byteLevel] },
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}
