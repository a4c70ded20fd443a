/** What a recipe says about the vocabulary of the result; the same words as in mergekit. */

import type { TokenizerSource, TokenizerWish, TokenSource, TokenWish } from "./recipe.js";
import { BUILT_IN_TEMPLATES } from "./chat_templates.js";
import { nearest, oneOf, quote } from "./issues.js";
import { type Entry, entryOf, type Node } from "./tree.js";
import {
  isNothing,
  join,
  note,
  outOfRange,
  readEntries,
  readFlag,
  type Reading,
  readLocation,
  readNumber,
  wrongType,
} from "./values.js";

/** Reads a model's path or address; mergekit's references differ from ours. */
export type ReadModel = (reading: Reading, node: Node, path: string) => string | undefined;

/** Larger multiples would make a vocabulary out of padding. */
const MULTIPLE = { min: 1, max: 65_536, integer: true };
/** Shorter texts are a misspelt name, not a template. */
const SHORTEST_TEMPLATE = 20;

/**
 * `{source, tokens, pad_to_multiple_of, keep_padding}`, each of them optional, or a source alone; nothing at all is
 * `null`.
 */
export function readTokenizer(
  reading: Reading,
  { node, where }: Entry,
  path: string,
  readModel: ReadModel = readLocation,
): TokenizerWish | null {
  note(reading, path, where);
  if (isNothing(node)) return null;
  if (node.kind === "scalar") {
    const source = readTokenizerSource(reading, { key: path, node, where }, path, readModel);
    return { source, tokens: [], padToMultipleOf: null, keepPadding: true };
  }
  const known = ["source", "tokens", "pad_to_multiple_of", "keep_padding"];
  const entries = readEntries(reading, node, path, { known });
  if (entries === null) return null;
  const source = entries.get("source");
  const tokens = entries.get("tokens");
  const padding = entries.get("pad_to_multiple_of");
  const keep = entries.get("keep_padding");
  if (padding !== undefined) note(reading, join(path, "pad_to_multiple_of"), padding.where);
  if (keep !== undefined) note(reading, join(path, "keep_padding"), keep.where);
  return {
    source:
      source === undefined ? { kind: "union" } : readTokenizerSource(reading, source, join(path, "source"), readModel),
    tokens: tokens === undefined || isNothing(tokens.node) ? [] : readTokens(reading, tokens, path, readModel),
    padToMultipleOf:
      padding === undefined || isNothing(padding.node)
        ? null
        : (readNumber(reading, MULTIPLE, padding.node, join(path, "pad_to_multiple_of")) ?? null),
    keepPadding: (keep && readFlag(reading, keep.node, join(path, "keep_padding"))) ?? true,
  };
}

/** `union`, `base` or a model. */
export function readTokenizerSource(
  reading: Reading,
  { node, where }: Entry,
  path: string,
  readModel: ReadModel,
): TokenizerSource {
  note(reading, path, where);
  const word = node.kind === "scalar" ? node.text : "";
  if (word === "union" || word === "base") return { kind: word };
  const model = readModel(reading, node, path);
  return model === undefined ? { kind: "union" } : { kind: "model", model };
}

function readTokens(reading: Reading, { node, where }: Entry, parent: string, readModel: ReadModel): TokenWish[] {
  const path = join(parent, "tokens");
  note(reading, path, where);
  if (node.kind !== "dictionary") {
    wrongType(reading, node, path, 'a map from token to {source, force}, e.g. {"<|im_end|>": {source: ./chat}}');
    return [];
  }
  return node.entries.map((entry, index): TokenWish => {
    const shown = join(path, quote(entry.key));
    reading.positions.set(join(path, index), note(reading, shown, entry.where));
    if (isNothing(entry.node)) return { token: entry.key, source: null, force: false };
    const parts = readEntries(reading, entry.node, shown, { known: ["source", "force"] });
    const source = parts?.get("source");
    const force = parts?.get("force");
    return {
      token: entry.key,
      source: source === undefined || isNothing(source.node) ? null : readSource(reading, source, shown, readModel),
      force: (force && readFlag(reading, force.node, join(shown, "force"))) ?? false,
    };
  });
}

/** A model, `{kind: zero}` or `{kind: model_token, model, token or token_id}`. */
function readSource(
  reading: Reading,
  { node, where }: Entry,
  parent: string,
  readModel: ReadModel,
): TokenSource | null {
  const path = join(parent, "source");
  note(reading, path, where);
  const kind = entryOf(node, "kind")?.node;
  if (kind === undefined) {
    const model = readModel(reading, node, path);
    return model === undefined ? null : { kind: "model", model };
  }
  const word = kind.kind === "scalar" ? kind.text : "";
  if (word === "zero") {
    readEntries(reading, node, path, { known: ["kind"] });
    return { kind: "zero" };
  }
  if (word === "model_token") return readModelToken(reading, node, path, readModel);
  wrongType(reading, kind, join(path, "kind"), oneOf(["zero", "model_token"]));
  return null;
}

function readModelToken(reading: Reading, node: Node, path: string, readModel: ReadModel): TokenSource | null {
  const entries = readEntries(reading, node, path, { known: ["kind", "model", "token", "token_id"] })!;
  const model = entries.get("model");
  const token = entries.get("token");
  const id = entries.get("token_id");
  if (model === undefined || (token === undefined) === (id === undefined)) {
    wrongType(reading, node, path, "model, and either token or token_id");
    return null;
  }
  const label = readModel(reading, model.node, join(path, "model"));
  if (label === undefined) return null;
  if (token !== undefined) {
    if (token.node.kind === "scalar" && token.node.value !== null) {
      return { kind: "model-token", model: label, token: token.node.text };
    }
    wrongType(reading, token.node, join(path, "token"), "a token");
    return null;
  }
  const number = readNumber(reading, { min: 0, integer: true }, id!.node, join(path, "token_id"));
  return number === undefined ? null : { kind: "model-token", model: label, token: number };
}

/** `auto`, the name of a built-in template, or a template itself. */
export function readChatTemplate(reading: Reading, node: Node): string | undefined {
  const names = ["auto", ...Object.keys(BUILT_IN_TEMPLATES)];
  const expected = `${oneOf(names)}, or a Jinja template`;
  if (isNothing(node)) return undefined;
  if (node.kind !== "scalar" || typeof node.value !== "string") {
    return wrongType(reading, node, "chat_template", expected);
  }
  const { text } = node;
  if (names.includes(text) || (text.length >= SHORTEST_TEMPLATE && text.includes("{"))) return text;
  const close = nearest(text, names);
  const advice = text.includes("{")
    ? `write a template of ${SHORTEST_TEMPLATE} characters or more`
    : close && `write ${close}`;
  return outOfRange(reading, node, "chat_template", expected, advice);
}
