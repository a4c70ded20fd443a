/** The tokenizer's files of the result. Files that stay as they are keep every byte. */

import { someOf } from "../formats/safetensors/text.js";
import { setValue } from "../models/config_text.js";
import type { SideFile } from "../models/model.js";
import { birthRanks, extendBpe, ignoresMerges, makesAll, mergesOf } from "./bpe.js";
import { isObject, jsonText, tokenizerDefect } from "./json.js";
import type { JsonObject } from "./json.js";
import { shown } from "./read.js";
import { isTokenizerFile } from "./tokenizer.js";
import type { AddedToken, Tokenizer } from "./tokenizer.js";
import { extendUnigram } from "./unigram.js";
import type { Piece } from "./unigram.js";
import type { Member, Vocabulary } from "./vocabulary.js";

/** A file of the result by its text. */
export function madeFile(name: string, text: string): SideFile {
  const bytes = () => new TextEncoder().encode(text);
  return { name, size: bytes().length, text, read: async () => bytes() };
}

/** Whether the donor's own files say what the result's tokens are. */
export function isUnchanged({ ordinary, added, removed }: Vocabulary): boolean {
  return ordinary.length + added.length + removed.size === 0;
}

/** Files that say the same as tokenizer.json in other ways, and would contradict a new one. */
const OTHER_FORMS =
  /^((source_|target_)?vocab(ulary)?\.(json|txt)|merges\.txt|dict\.txt|bpe\.codes|added_tokens\.json|tekken\.json|[\w.-]+\.(model|spm|tiktoken))$/;

/** The donor's files, or those of its tokenizer with other tokens. @param members see `makeVocabulary`. */
export function tokenizerFiles(
  vocabulary: Vocabulary,
  members: readonly Member[],
  warnings: string[],
): readonly SideFile[] {
  const { checkpoint, tokenizer } = vocabulary.donor;
  const files = checkpoint.sideFiles.filter(({ name }) => isTokenizerFile(name));
  if (isUnchanged(vocabulary)) return files;
  const dropped = files.filter(({ name }) => OTHER_FORMS.test(name)).map(({ name }) => name);
  const lossy = dropped.filter((name) => !/^(added_tokens|vocab)\.json$|^merges\.txt$/.test(name));
  if (lossy.length > 0) {
    warnings.push(`${someOf(lossy)} cannot hold the new tokens and is left out; tokenizer.json has them all`);
  }
  const made = [madeFile("tokenizer.json", tokenizerText(vocabulary, members, warnings))];
  const { config, specialTokens } = tokenizer;
  if (config !== null) {
    made.push(madeFile("tokenizer_config.json", `${jsonText(configWith(config, vocabulary, warnings))}\n`));
  }
  if (specialTokens !== null && vocabulary.removed.size > 0) {
    const kept = withoutRemoved(specialTokens, vocabulary.removed);
    made.push(madeFile("special_tokens_map.json", `${jsonText(kept)}\n`));
  }
  const names = new Set([...made.map(({ name }) => name), ...dropped]);
  return [...made, ...files.filter(({ name }) => !names.has(name))];
}

function tokenizerText(vocabulary: Vocabulary, members: readonly Member[], warnings: string[]): string {
  const { donor, ordinary, removed } = vocabulary;
  const { json, added, text } = donor.tokenizer;
  const known = new Map(added.filter(({ content }) => !removed.has(content)).map((token) => [token.content, token]));
  for (const token of vocabulary.added) known.set(token.content, token);
  const tokens = [...known.values()].sort((a, b) => a.id - b.id);
  const stored = json["model"] as JsonObject;
  const extended = ordinary.length === 0 ? stored : extendModel(vocabulary, members, tokens, warnings);
  const model = withNumbers(extended, tokens, donor.tokenizer);
  // Where only added tokens are new everything else stays as it is written.
  const patched = model === stored && text !== null ? setValue(text, ["added_tokens"], jsonText(tokens, "  ")) : null;
  return patched ?? `${jsonText({ ...json, added_tokens: tokens, model })}\n`;
}

/**
 * The tokenizers library does not read the numbers of added tokens: what the model's vocabulary lacks is numbered from its
 * size on. Where that would give other numbers the vocabulary gets the added tokens, too; it does not see them in texts.
 */
function withNumbers(model: JsonObject, added: readonly AddedToken[], { kind, label }: Tokenizer): JsonObject {
  const isList = kind === "Unigram";
  const vocab = isList
    ? new Map((model["vocab"] as readonly Piece[]).map(([piece], id) => [piece, id]))
    : model["vocab"] instanceof Map
      ? (model["vocab"] as ReadonlyMap<string, number>)
      : new Map(Object.entries(model["vocab"] as Readonly<Record<string, number>>));
  const lacking = added.filter(({ content }) => !vocab.has(content));
  if (lacking.every(({ id }, index) => id === vocab.size + index)) return model;
  if (!isList)
    return { ...model, vocab: new Map([...vocab, ...lacking.map(({ content, id }) => [content, id] as const)]) };
  throw tokenizerDefect("the numbers of added tokens have a gap, which a Unigram tokenizer cannot have", label, {
    found: lacking
      .map(({ content, id }) => `${shown(content)} is ${id}`)
      .join(", ")
      .slice(0, 200),
    advice: "use the tokenizer of another model",
  });
}

/** The donor's model with the new words, so that texts split as before but where neighbours become a new word. */
function extendModel(
  vocabulary: Vocabulary,
  members: readonly Member[],
  added: readonly AddedToken[],
  warnings: string[],
): JsonObject {
  const { donor, ordinary, tokens } = vocabulary;
  const { json, kind, label } = donor.tokenizer;
  const model = json["model"] as JsonObject;
  if (kind === "Unigram") {
    return { ...model, vocab: extendedPieces(model, vocabulary, members) };
  }
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const stored = Object.entries(model["vocab"] as JsonObject);
  const vocab = new Map<string, unknown>([...stored, ...ordinary.map((token) => [token, idOf.get(token)] as const)]);
  if (kind !== "BPE") {
    refuseOtherKinds(donor.tokenizer, members);
    warnings.push(
      `${ordinary.length} new words join the vocabulary of ${label}; ${kind} takes the longest word that fits, so ` +
        "other words that begin with one of them may split differently",
    );
    return { ...model, vocab };
  }
  const merges = mergesOf(model, label);
  const extended = extendBpe(model, merges, inOrderOfBirth(ordinary, members), (token) => vocab.has(token));
  const special = new Set(added.map(({ content }) => content));
  const words = stored.map(([token]) => token).filter((token) => !special.has(token));
  // Taking whole words as they are changes nothing for a tokenizer that makes each of its words anyway.
  const whole = extended.unmade.length > 0 && (ignoresMerges(model) || makesAll(model, merges, words));
  if (extended.unmade.length > 0) {
    warnings.push(
      `${extended.unmade.length} of ${ordinary.length} new tokens do not follow from how ${label} splits words: ` +
        `${whole ? "they stand for whole words only" : "no text leads to them"}: ` +
        someOf(extended.unmade.map(shown)),
    );
  }
  return {
    ...model,
    ...(whole && { ignore_merges: true }),
    vocab,
    merges: spelledAlike(model["merges"] as readonly unknown[], merges, extended.merges),
  };
}

/** In the spelling of the file, unless a new merge could not be told apart in it. */
function spelledAlike(
  stored: readonly unknown[],
  merges: readonly (readonly [string, string])[],
  fresh: readonly (readonly [string, string])[],
): readonly unknown[] {
  const asText = typeof stored[0] === "string" && !fresh.flat().some((half) => half.includes(" "));
  return asText ? [...stored, ...fresh.map((pair) => pair.join(" "))] : [...merges, ...fresh];
}

/** By the rank at which their own tokenizer makes them, so that tokens follow those they are made of. */
function inOrderOfBirth(ordinary: readonly string[], members: readonly Member[]): readonly string[] {
  const births = new Map<string, number>();
  for (const { tokenizer } of members) {
    if (tokenizer.kind !== "BPE") continue;
    const ranks = birthRanks(tokenizer.json["model"] as JsonObject, tokenizer.label);
    for (const token of ordinary) {
      const rank = ranks.get(token);
      if (rank !== undefined && !births.has(token)) births.set(token, rank);
    }
  }
  // Tokens that no merge makes, such as single characters, come first; shorter ones before longer.
  const rank = (token: string) => births.get(token) ?? -1;
  return [...ordinary].sort((a, b) => rank(a) - rank(b) || a.length - b.length);
}

/**
 * The donor's pieces and the new ones. A piece's number is its place, so added tokens between them take places too; they
 * are found before texts are split into pieces.
 */
function extendedPieces(
  model: JsonObject,
  { donor, tokens, ordinary }: Vocabulary,
  members: readonly Member[],
): Piece[] {
  const pieces = [...(model["vocab"] as readonly Piece[])];
  const scores = new Map(extendUnigram(model, ordinary, scoresOf(members)));
  const last = tokens.indexOf(ordinary.at(-1));
  for (let id = pieces.length; id <= last; id++) {
    const token = tokens[id];
    if (token === undefined) {
      throw tokenizerDefect(
        "new pieces cannot follow a gap in the numbers of a Unigram tokenizer",
        donor.tokenizer.label,
        {
          found: `no token has the number ${id}`,
          advice: "use source: base, or the tokenizer of another model",
        },
      );
    }
    pieces.push([token, scores.get(token) ?? 0]);
  }
  return pieces;
}

function scoresOf(members: readonly Member[]): (piece: string) => number | undefined {
  const scores = new Map<string, number>();
  for (const { tokenizer } of members) {
    if (tokenizer.kind !== "Unigram") continue;
    for (const [text, score] of (tokenizer.json["model"] as JsonObject)["vocab"] as readonly Piece[]) {
      if (!scores.has(text)) scores.set(text, score);
    }
  }
  return (piece) => scores.get(piece);
}

function refuseOtherKinds({ kind, label }: Tokenizer, members: readonly Member[]): void {
  const other = members.find(({ tokenizer, merged }) => merged && tokenizer.kind !== kind);
  if (other === undefined) return;
  throw tokenizerDefect("tokenizers of different kinds cannot be united", other.tokenizer.label, {
    expected: `${kind}, as ${label}`,
    found: other.tokenizer.kind,
    advice: "use source: base, or the tokenizer of another model",
  });
}

function configWith(config: JsonObject, { added, removed, tokens }: Vocabulary, warnings: string[]): JsonObject {
  const kept = withoutRemoved(config, removed);
  const lost = Object.keys(config).filter((key) => !(key in kept));
  if (lost.length > 0) warnings.push(`${lost.join(", ")} named a token that is left out, and is not set any more`);
  const listed = config["added_tokens_decoder"];
  if (!isObject(listed)) return kept;
  const entries = new Map(Object.entries(listed).filter(([id]) => tokens[Number(id)] !== undefined));
  for (const { id, content, ...flags } of added) entries.set(String(id), { content, ...flags });
  return { ...kept, added_tokens_decoder: entries };
}

/** Drops what names a removed token: `pad_token`, and entries of lists. */
function withoutRemoved(values: JsonObject, removed: ReadonlySet<string>): JsonObject {
  const names = (value: unknown) => {
    const text = isObject(value) ? value["content"] : value;
    return typeof text === "string" && removed.has(text);
  };
  return Object.fromEntries(
    Object.entries(values)
      .filter(([key, value]) => !key.endsWith("_token") || !names(value))
      .map(([key, value]) => [key, Array.isArray(value) ? (value as unknown[]).filter((item) => !names(item)) : value]),
  );
}
