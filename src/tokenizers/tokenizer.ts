import type { JsonObject } from "./json.js";

/** How a tokenizer splits a word: its `model.type` in tokenizer.json. */
export type TokenizerKind = "BPE" | "Unigram" | "WordPiece" | "WordLevel";

/** A token that is found in a text before anything else looks at it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** The tokenizer of a checkpoint, as its files say. */
export interface Tokenizer {
  /** Of the checkpoint. */
  readonly label: string;
  readonly kind: TokenizerKind;
  /** Every token's number, added tokens included. Numbers are unique; they may have gaps. */
  readonly ids: ReadonlyMap<string, number>;
  /** By number; `undefined` in gaps. */
  readonly tokens: readonly (string | undefined)[];
  /** In the order of their numbers. */
  readonly added: readonly AddedToken[];
  /** Whether a token is part of the model's vocabulary, not only an added token. */
  readonly isOrdinary: (token: string) => boolean;
  /** tokenizer.json, parsed; made from vocab.json and merges.txt where there is none. */
  readonly json: JsonObject;
  /** tokenizer.json as it is written, or `null` where there is none. */
  readonly text: string | null;
  /** tokenizer_config.json, or `null`. */
  readonly config: JsonObject | null;
  /** special_tokens_map.json, or `null`. */
  readonly specialTokens: JsonObject | null;
  /** The chat template, wherever it is kept, or `null`. */
  readonly chatTemplate: string | null;
  /** Contradictions between its files that were settled, one sentence each. */
  readonly notes: readonly string[];
}

/** Files that make up a tokenizer; those of one tokenizer belong together. */
export function isTokenizerFile(name: string): boolean {
  return TOKENIZER_FILES.some((pattern) => pattern.test(name));
}

const TOKENIZER_FILES: readonly RegExp[] = [
  /^tokenizer[\w.-]*\.(json|txt|model)$/,
  /^(special_tokens_map|added_tokens|normalizer|tekken)\.json$/,
  /^(source_|target_)?vocab(ulary)?\.(json|txt)$/,
  /^(merges|dict)\.txt$/,
  /^bpe\.codes$/,
  /^[\w.-]+\.(model|spm|tiktoken)$/,
  /^chat_template\.(jinja|json)$/,
  /^additional_chat_templates\//,
];
