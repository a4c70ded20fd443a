/**
 * Looks at a union from outside, with the maintained library: whether it splits the base's words as before, and whether
 * texts lead to the new tokens. What the rules of the union promise is checked here on the vocabulary at hand, together
 * with what they cannot know: how the tokenizer normalises texts and cuts them into words.
 */

import { someOf } from "../formats/safetensors/text.js";
import type { JsonObject } from "./json.js";
import { shown } from "./read.js";
import type { Tokenizer } from "./tokenizer.js";
import type { Member, Vocabulary } from "./vocabulary.js";

/** Tokens looked at, spread evenly over the vocabulary; more would be felt in the time of a merge. */
const SAMPLE = 500;

/** @param json tokenizer.json of the result. @returns warnings. */
export async function checkUnion(
  { donor, ordinary }: Vocabulary,
  members: readonly Member[],
  json: JsonObject,
): Promise<string[]> {
  const encoders = new Map<JsonObject, Encoder>();
  try {
    // Loaded only here: most merges have no new words.
    const { Tokenizer: Library } = await import("@huggingface/tokenizers");
    const encoderOf = (file: JsonObject) => {
      const known = encoders.get(file) ?? new Encoder(new Library({ ...PARTS, ...file }, QUIET));
      encoders.set(file, known);
      return known;
    };
    const after = encoderOf(json);
    return [
      ...checkOldWords(donor.tokenizer, encoderOf(donor.tokenizer.json), after, new Set(ordinary)),
      ...checkNewTokens(ordinary, members, encoderOf, after),
    ];
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [`how the united tokenizer splits texts could not be checked: ${reason}`];
  }
}

/** Keys that older files leave out. */
const PARTS = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
const QUIET = { clean_up_tokenization_spaces: false };

interface LibraryTokenizer {
  tokenize(text: string, options: { add_special_tokens: boolean }): string[];
  decode(ids: number[]): string;
  readonly model: { encode(words: string[]): string[] } | null;
}

class Encoder {
  readonly #library: LibraryTokenizer;

  constructor(library: LibraryTokenizer) {
    this.#library = library;
  }

  tokens(text: string): string[] {
    return this.#library.tokenize(text, { add_special_tokens: false });
  }

  /** The text of a token; `null` where it is part of a character. */
  textOf(id: number): string | null {
    const text = this.#library.decode([id]);
    return text === "" || text.includes("\u{fffd}") ? null : text;
  }

  /** A token's text taken for a word. */
  split(token: string): string[] {
    return this.#library.model!.encode([token]);
  }
}

function checkOldWords(
  { tokens, isOrdinary }: Tokenizer,
  before: Encoder,
  after: Encoder,
  fresh: ReadonlySet<string>,
): string[] {
  const numbers = sample(tokens.flatMap((token, id) => (token !== undefined && isOrdinary(token) ? [id] : [])));
  const changed = numbers.filter((id) => {
    const text = before.textOf(id);
    if (text === null) return false;
    const apart = after.tokens(text).flatMap((token) => (fresh.has(token) ? before.split(token) : [token]));
    return apart.join("\n") !== before.tokens(text).join("\n");
  });
  if (changed.length === 0) return [];
  const names = someOf(changed.map((id) => shown(tokens[id]!)));
  return [`${changed.length} of ${numbers.length} old tokens looked at are split in another way than before: ${names}`];
}

function checkNewTokens(
  ordinary: readonly string[],
  members: readonly Member[],
  encoderOf: (file: JsonObject) => Encoder,
  after: Encoder,
): string[] {
  const looked = sample(ordinary);
  const lost = looked.filter((token) => {
    const owner = members.find(({ tokenizer }) => tokenizer.ids.has(token))!.tokenizer;
    const own = encoderOf(owner.json);
    const text = own.textOf(owner.ids.get(token)!);
    if (text === null || own.tokens(text).join("\n") !== token) return false;
    return after.tokens(text).join("\n") !== token;
  });
  if (lost.length === 0) return [];
  return [
    `${lost.length} of ${looked.length} new tokens looked at do not come out of their own text any more, which is cut into ` +
      `words before: ${someOf(lost.map(shown))}`,
  ];
}

function sample<T>(items: readonly T[]): readonly T[] {
  if (items.length <= SAMPLE) return items;
  return Array.from({ length: SAMPLE }, (_, i) => items[Math.floor((i * items.length) / SAMPLE)]!);
}
