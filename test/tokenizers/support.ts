/** Small tokenizers of every kind, and models over them whose rows can be told apart. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Tokenizer as Reference } from "@huggingface/tokenizers";
import { layoutHeader } from "../../src/formats/safetensors/layout.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { narrow } from "../../src/numbers/convert.js";
import { entriesOf } from "../../src/numbers/dtypes.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { readRecipe } from "../../src/recipes.js";
import type { RecipeObject } from "../../src/recipes.js";
import { tokenizerFiles } from "../../src/tokenizers/files.js";
import { readTokenizer } from "../../src/tokenizers/read.js";
import { makeVocabulary } from "../../src/tokenizers/vocabulary.js";
import type { Member, Vocabulary } from "../../src/tokenizers/vocabulary.js";

export type Json = Record<string, unknown>;

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

export interface Special {
  readonly content: string;
  readonly id: number;
  readonly special?: boolean;
}

/** Byte-level BPE with the given merges over the printable ASCII characters and the space's stand-in. */
export function bpe(
  merges: readonly (readonly [string, string])[],
  specials: readonly string[] = ["<s>", "</s>"],
): Json {
  const alphabet = ["Ġ", ...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))];
  const tokens = new Set([...specials, ...alphabet, ...merges.map(([left, right]) => left + right)]);
  const vocab = Object.fromEntries([...tokens].map((token, id) => [token, id]));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => addedToken(content, id)),
    normalizer: null,
    pre_tokenizer: BYTE_LEVEL,
    post_processor: null,
    decoder: BYTE_LEVEL,
    model: { type: "BPE", unk_token: null, ignore_merges: false, vocab, merges: merges.map((pair) => [...pair]) },
  };
}

export function addedToken(content: string, id: number, flags: Json = {}): Json {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return { id, content, ...plain, ...flags };
}

/** Merges as BPE learns them: the most frequent pair, the alphabetically first of equally frequent ones. */
export function learnMerges(
  text: string,
  count: number,
  known: readonly (readonly [string, string])[] = [],
): (readonly [string, string])[] {
  const words = (text.match(/ ?[a-zA-Z]+| ?[^\sa-zA-Z]+|\s+/g) ?? []).map((word) => [...word.replaceAll(" ", "Ġ")]);
  const merges = [...known];
  for (const [left, right] of known) join(words, left, right);
  while (merges.length < count + known.length) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]!}\t${word[i + 1]!}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    if (best === undefined) break;
    const [left, right] = best[0].split("\t") as [string, string];
    merges.push([left, right]);
    join(words, left, right);
  }
  return merges;
}

function join(words: readonly string[][], left: string, right: string): void {
  for (const word of words) {
    for (let i = 0; i + 1 < word.length; i++)
      if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
  }
}

export function unigram(pieces: readonly (readonly [string, number])[], specials: readonly Special[] = []): Json {
  return {
    version: "1.0",
    added_tokens: specials.map(({ content, id }) => addedToken(content, id)),
    normalizer: null,
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    model: { type: "Unigram", unk_id: 0, vocab: [["<unk>", 0], ...pieces.map((piece) => [...piece])] },
  };
}

export function wordPiece(words: readonly string[]): Json {
  return {
    version: "1.0",
    added_tokens: [addedToken("[UNK]", 0)],
    normalizer: null,
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(["[UNK]", ...words].map((word, id) => [word, id])),
    },
  };
}

/** A tokenizer.json with further added tokens behind its vocabulary. */
export function withAdded(json: Json, contents: readonly string[], flags: Json = {}): Json {
  const added = json["added_tokens"] as Json[];
  const { vocab } = json["model"] as { vocab: Json | unknown[] };
  const numbers = Array.isArray(vocab) ? [vocab.length - 1] : (Object.values(vocab) as number[]);
  const next = Math.max(...numbers, ...added.map(({ id }) => id as number)) + 1;
  return { ...json, added_tokens: [...added, ...contents.map((content, i) => addedToken(content, next + i, flags))] };
}

/** The maintained library's tokenizer. */
export function reference(json: Json) {
  const tokenizer = new Reference(json, { clean_up_tokenization_spaces: false });
  return {
    encode: (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids,
    tokens: (text: string): string[] => tokenizer.tokenize(text),
    textOf: (id: number): string => tokenizer.decode([id]),
  };
}

export interface ModelSpec {
  readonly tokenizer?: Json | null;
  /** Rows of the embedding; default: as many as tokens. */
  readonly rows?: number;
  readonly width?: number;
  readonly dtype?: FloatDtype;
  /** Values of the embedding are near this, so that rows of different models differ. */
  readonly seed: number;
  readonly tied?: boolean;
  /** Whether `lm_head.weight` is stored; default: unless tied. */
  readonly head?: boolean;
  readonly bias?: boolean;
  readonly config?: Json;
  readonly files?: Readonly<Record<string, string>>;
}

export function sizeOf(json: Json): number {
  const { vocab } = json["model"] as { vocab: Json | unknown[] };
  const numbers = Array.isArray(vocab) ? [vocab.length - 1] : (Object.values(vocab) as number[]);
  return Math.max(...numbers, ...(json["added_tokens"] as Json[]).map(({ id }) => id as number)) + 1;
}

/** Exact in every format but the 8-bit ones: small multiples of 1/8. */
export function valueOf(seed: number, tensor: number, entry: number): number {
  return ((Math.imul(seed * 7919 + tensor * 104_729 + entry + 1, 2_654_435_761) >>> 22) % 61) / 8 - 3.75;
}

/** Files of a small network in the style of Llama. */
export function modelFiles(spec: ModelSpec): Record<string, Uint8Array> {
  const { tokenizer = null, seed, width = 4, dtype = "F32", tied = false, head = !tied, bias = false } = spec;
  const rows = spec.rows ?? (tokenizer === null ? 8 : sizeOf(tokenizer));
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [rows, width]],
    ["model.layers.0.mlp.up_proj.weight", [3, width]],
    ["model.norm.weight", [width]],
    ...(head ? [["lm_head.weight", [rows, width]] as [string, number[]]] : []),
    ...(bias ? [["lm_head.bias", [rows]] as [string, number[]]] : []),
  ];
  const { header, fileSize, tensors } = layoutHeader(
    shapes.map(([name, shape]) => ({ name, dtype, shape })),
    { format: "pt" },
  );
  const bytes = new Uint8Array(fileSize);
  bytes.set(header);
  for (const [index, { offset, length }] of tensors.entries()) {
    const values = Float32Array.from({ length: entriesOf(shapes[index]![1]) }, (_, i) => valueOf(seed, index, i));
    narrow(dtype, values, bytes.subarray(offset, offset + length));
  }
  const config = {
    model_type: "llama",
    vocab_size: rows,
    hidden_size: width,
    tie_word_embeddings: tied,
    ...spec.config,
  };
  const texts: Record<string, string> = {
    "config.json": `${JSON.stringify(config, null, 2)}\n`,
    ...(tokenizer === null ? {} : { "tokenizer.json": JSON.stringify(tokenizer) }),
    ...spec.files,
  };
  const encoded = Object.entries(texts).map(([name, text]) => [name, new TextEncoder().encode(text)] as const);
  return { "model.safetensors": bytes, ...Object.fromEntries(encoded) };
}

export function writeModel(folder: string, spec: ModelSpec): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(modelFiles(spec))) writeFileSync(path.join(folder, name), bytes);
  return folder;
}

export function openModel(label: string, spec: ModelSpec): Promise<Checkpoint> {
  return openCheckpoint(label, memoryFolder(modelFiles(spec)));
}

export async function memberOf(label: string, spec: ModelSpec, merged = true): Promise<Member> {
  const checkpoint = await openModel(label, spec);
  const rows = checkpoint.tensors.get("model.embed_tokens.weight")!.shape[0]!;
  return { checkpoint, tokenizer: await readTokenizer(checkpoint), rows, merged };
}

/** The tokenizer of the result of a recipe, as its files say, with what is told about it. */
export async function unite(
  specs: readonly ModelSpec[],
  tokenizer: NonNullable<RecipeObject["tokenizer"]> = "union",
): Promise<{
  readonly json: Json;
  readonly vocabulary: Vocabulary;
  readonly members: readonly Member[];
  readonly warnings: readonly string[];
}> {
  const names = specs.map((_, index) => `m${index}`);
  const recipe = readRecipe({ method: "average", models: names, tokenizer });
  const members: Member[] = [];
  for (const [index, spec] of specs.entries()) members.push(await memberOf(names[index]!, spec));
  const { source } = recipe.tokenizer!;
  const donor = members[source.kind === "model" ? names.indexOf(source.model) : 0]!;
  const warnings: string[] = [];
  const vocabulary = makeVocabulary(recipe.tokenizer!, recipe, members, donor, warnings);
  const file = tokenizerFiles(vocabulary, members, warnings).find(({ name }) => name === "tokenizer.json")!;
  return { json: JSON.parse(new TextDecoder().decode(await file.read())) as Json, vocabulary, members, warnings };
}
