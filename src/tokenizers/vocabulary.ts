/** Which tokens the result has, under which numbers, and how many rows its vocabulary tensors get. */

import { MergewrightError } from "../errors.js";
import { someOf } from "../formats/safetensors/text.js";
import type { Checkpoint } from "../models/model.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe, TokenizerWish } from "../recipe/recipe.js";
import { addedToken, shown } from "./read.js";
import { tokenizerDefect } from "./json.js";
import type { AddedToken, Tokenizer } from "./tokenizer.js";

/** A checkpoint with its tokenizer. */
export interface Member {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  /** Rows of its vocabulary tensors. */
  readonly rows: number;
  /** Whether it is merged; the others only lend rows or a tokenizer. */
  readonly merged: boolean;
}

/** The row that a member has for a token, or -1: not every token has one. */
export function rowOf({ tokenizer, rows }: Member, token: string): number {
  const id = tokenizer.ids.get(token);
  return id === undefined || id >= rows ? -1 : id;
}

/** The tokens of the result. */
export interface Vocabulary {
  /** Whose tokenizer it is made from; its tokens keep their numbers. */
  readonly donor: Member;
  /** By number; `undefined` where a row has no token. */
  readonly tokens: readonly (string | undefined)[];
  /** Of the vocabulary tensors; at least `tokens.length`. */
  readonly rows: number;
  /** New tokens that words are split into, in the order of their numbers. */
  readonly ordinary: readonly string[];
  /** New added tokens, and ordinary tokens of the donor that are added tokens elsewhere. */
  readonly added: readonly AddedToken[];
  /** Added tokens of the donor for which nobody has a row. */
  readonly removed: ReadonlySet<string>;
}

/**
 * @param members the base first where there is one, then the models, then those that are not merged.
 * @throws plan/vocabulary, checkpoint/tokenizer
 */
export function makeVocabulary(
  wish: TokenizerWish,
  recipe: Recipe,
  members: readonly Member[],
  donor: Member,
  warnings: string[],
): Vocabulary {
  const others = members.filter((member) => member !== donor && member.merged);
  checkShared(donor, others, recipe, warnings);
  const { tokens, removed } = rowsOfDonor(donor, members, warnings);
  const union = new Union(tokens, donor, removed);
  if (wish.source.kind === "union") for (const member of others) union.addAll(member, warnings);
  for (const { token } of wish.tokens) union.addNamed(token, members);
  const keeps = wish.keepPadding && recipe.compat !== "strict";
  const kept = keeps ? Math.max(donor.rows, tokens.length) : tokens.length;
  if (wish.keepPadding && !keeps && donor.rows > tokens.length) {
    warnings.push(`${donor.rows - tokens.length} rows of padding of ${donor.tokenizer.label} are lost, as in mergekit`);
  }
  const multiple = wish.padToMultipleOf ?? 1;
  return {
    donor,
    tokens,
    rows: Math.ceil(kept / multiple) * multiple,
    ordinary: union.ordinary,
    added: union.added,
    removed,
  };
}

/** The donor's tokens, without those for which no member has a row. */
function rowsOfDonor(
  donor: Member,
  members: readonly Member[],
  warnings: string[],
): { tokens: (string | undefined)[]; removed: Set<string> } {
  const { tokenizer, rows } = donor;
  const tokens = [...tokenizer.tokens];
  const removed = new Set<string>();
  for (let id = rows; id < tokens.length; id++) {
    const token = tokens[id];
    if (token === undefined || members.some((member) => rowOf(member, token) >= 0)) continue;
    if (tokenizer.isOrdinary(token)) throw tooManyTokens(donor);
    removed.add(token);
    tokens[id] = undefined;
  }
  while (tokens.length > 0 && tokens.at(-1) === undefined) tokens.pop();
  if (removed.size > 0) {
    warnings.push(
      `${tokenizer.label} has tokens beyond the ${rows} rows of its embedding; they are left out: ` +
        someOf([...removed].map(shown)),
    );
  }
  return { tokens, removed };
}

function tooManyTokens({ tokenizer, rows }: Member): MergewrightError {
  return tokenizerDefect("the tokenizer has more tokens than the embedding has rows", tokenizer.label, {
    expected: `at most ${rows} tokens`,
    found: `${tokenizer.tokens.length} tokens`,
    advice: "check that tokenizer and weights belong to the same model",
  });
}

class Union {
  readonly ordinary: string[] = [];
  readonly added: AddedToken[] = [];
  readonly #tokens: (string | undefined)[];
  readonly #donor: Member;
  readonly #removed: ReadonlySet<string>;
  readonly #fresh = new Map<string, number>();
  readonly #defined: Set<string>;

  constructor(tokens: (string | undefined)[], donor: Member, removed: ReadonlySet<string>) {
    this.#tokens = tokens;
    this.#donor = donor;
    this.#removed = removed;
    this.#defined = new Set(donor.tokenizer.added.map(({ content }) => content));
  }

  /** The number of a token of the union so far. */
  #numberOf(token: string): number | undefined {
    const own = this.#removed.has(token) ? undefined : this.#donor.tokenizer.ids.get(token);
    return own ?? this.#fresh.get(token);
  }

  /** Every token that a member has a row for, in the order of its numbers; the first definition wins. */
  addAll(member: Member, warnings: string[]): void {
    const { tokenizer, rows } = member;
    if (tokenizer.ids === this.#donor.tokenizer.ids && rows <= this.#donor.rows) return;
    const added = new Map(tokenizer.added.map((token) => [token.content, token]));
    const rowless: string[] = [];
    for (const [id, token] of tokenizer.tokens.entries()) {
      if (token === undefined) continue;
      if (id >= rows && this.#numberOf(token) === undefined) rowless.push(token);
      else this.#add(token, added.get(token) ?? null);
    }
    if (rowless.length > 0) {
      warnings.push(
        `${tokenizer.label} has tokens beyond the ${rows} rows of its embedding; they are left out: ` +
          someOf(rowless.map(shown)),
      );
    }
  }

  /** A token that the recipe names; as some member defines it, else found wherever its text stands. */
  addNamed(token: string, members: readonly Member[]): void {
    if (this.#numberOf(token) !== undefined) return;
    const definitions = members.flatMap(({ tokenizer }) => tokenizer.added.filter(({ content }) => content === token));
    this.#append(token, definitions[0] ?? addedToken({ normalized: false }, token, 0));
  }

  #add(token: string, definition: AddedToken | null): void {
    const id = this.#numberOf(token);
    if (id === undefined) this.#append(token, definition);
    else if (definition !== null && !this.#defined.has(token)) this.#define({ ...definition, id });
  }

  #append(token: string, definition: AddedToken | null): void {
    const id = this.#tokens.push(token) - 1;
    this.#fresh.set(token, id);
    if (definition === null) this.ordinary.push(token);
    else this.#define({ ...definition, id });
  }

  #define(token: AddedToken): void {
    this.#defined.add(token.content);
    this.added.push(token);
  }
}

/** Below this share of common tokens something is likely to be wrong. */
const FEW = 0.5;

function checkShared(donor: Member, others: readonly Member[], recipe: Recipe, warnings: string[]): void {
  for (const member of others) {
    if (member.tokenizer.ids === donor.tokenizer.ids) continue;
    let shared = 0;
    for (const token of member.tokenizer.ids.keys()) if (rowOf(donor, token) >= 0) shared++;
    const share = shared / member.tokenizer.ids.size;
    if (shared === 0) {
      throw new MergewrightError("two vocabularies share nothing", {
        kind: "request",
        code: "plan/vocabulary",
        where: whereOf(recipe, "tokenizer"),
        expected: `tokens of ${donor.tokenizer.label} in ${member.tokenizer.label}`,
        found: "not one",
        advice: "merge models of one family; rows of unrelated tokens cannot be averaged",
      });
    }
    if (share < FEW) {
      warnings.push(
        `${member.tokenizer.label} shares only ${(100 * share).toFixed(0)} % of its tokens with ` +
          `${donor.tokenizer.label}; they may be of different families`,
      );
    }
  }
}
