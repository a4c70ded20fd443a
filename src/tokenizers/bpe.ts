/**
 * Adds tokens to a BPE vocabulary without changing what it does.
 *
 * A new merge ranks below all that were there, its result is a new token, and no older merge takes part in it. So the old
 * merges run first and to the same end, and new ones only join neighbours in what the old ones leave: every text splits as
 * before, except that some neighbours may have become one new token. Expanding each new token into what it was made of
 * gives back the old splitting exactly. Added tokens, mergekit's way, cut texts before BPE sees them and have no such law.
 */

import { isObject, tokenizerDefect } from "./json.js";
import type { JsonObject } from "./json.js";

/** Ranks by left and right half. */
type Ranks = Map<string, Map<string, number>>;

/** Symbols beyond which a token is not tried: no word of a text is that long. */
const LONGEST = 256;

export interface BpeAddition {
  /** New merges, in order; they follow the old ones. */
  readonly merges: readonly (readonly [string, string])[];
  /** New tokens that no merge makes. */
  readonly unmade: readonly string[];
}

/** The merges of a BPE model, in either spelling. @throws checkpoint/tokenizer */
export function mergesOf(model: JsonObject, place: string): readonly (readonly [string, string])[] {
  const merges = model["merges"];
  const wrong = (found: unknown) =>
    tokenizerDefect("the tokenizer's merges are not pairs of tokens", place, {
      found: JSON.stringify(found)?.slice(0, 80) ?? "nothing",
      advice: "download it again",
    });
  if (!Array.isArray(merges)) throw wrong(merges);
  return (merges as unknown[]).map((merge) => {
    const pair: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== "string" || typeof right !== "string") throw wrong(merge);
    return [left, right] as const;
  });
}

/**
 * @param model `model` of the tokenizer.json that is added to.
 * @param merges its merges.
 * @param fresh the new tokens; those that others are made of come first (the order of their own tokenizer's merges).
 * @param isToken whether a text is a token, old or new.
 */
export function extendBpe(
  model: JsonObject,
  merges: readonly (readonly [string, string])[],
  fresh: readonly string[],
  isToken: (token: string) => boolean,
): BpeAddition {
  const ranks: Ranks = new Map();
  for (const [rank, [left, right]] of merges.entries()) setRank(ranks, left, right, rank);
  const added: (readonly [string, string])[] = [];
  // Merges of continuing words glue other texts than their halves; such vocabularies are old and rare.
  const plain = (model["continuing_subword_prefix"] ?? "") === "";
  let waiting = plain ? fresh : [];
  for (let before = -1; before !== waiting.length; ) {
    before = waiting.length;
    waiting = waiting.filter((token) => {
      const parts = splitWord(ranks, symbolsOf(model, token));
      if (parts === null || !parts.every(isToken)) return true;
      if (parts.length === 2) {
        setRank(ranks, parts[0]!, parts[1]!, merges.length + added.length);
        added.push([parts[0]!, parts[1]!]);
      }
      return parts.length > 2;
    });
  }
  return { merges: added, unmade: plain ? waiting : fresh };
}

/** Whether a BPE model makes every one of these tokens out of its own text. */
export function makesAll(
  model: JsonObject,
  merges: readonly (readonly [string, string])[],
  tokens: Iterable<string>,
): boolean {
  const ranks: Ranks = new Map();
  for (const [rank, [left, right]] of merges.entries()) setRank(ranks, left, right, rank);
  for (const token of tokens) if (splitWord(ranks, symbolsOf(model, token))?.length !== 1) return false;
  return true;
}

/** The rank at which a BPE model makes each of its tokens. */
export function birthRanks(model: JsonObject, place: string): ReadonlyMap<string, number> {
  const ranks = new Map<string, number>();
  for (const [rank, [left, right]] of mergesOf(model, place).entries()) {
    const token = left + right;
    if (!ranks.has(token)) ranks.set(token, rank);
  }
  return ranks;
}

function setRank(ranks: Ranks, left: string, right: string, rank: number): void {
  const rights = ranks.get(left);
  if (rights === undefined) ranks.set(left, new Map([[right, rank]]));
  else rights.set(right, rank);
}

/** Characters; the last one with the suffix that marks the end of a word. */
function symbolsOf({ end_of_word_suffix: suffix }: JsonObject, token: string): string[] {
  if (typeof suffix !== "string" || suffix === "" || !token.endsWith(suffix)) return [...token];
  const symbols = [...token.slice(0, -suffix.length)];
  if (symbols.length > 0) symbols[symbols.length - 1] += suffix;
  return symbols;
}

/** BPE: of all neighbours the pair with the lowest rank is joined, leftmost first, until none has one. */
function splitWord(ranks: Ranks, symbols: string[]): string[] | null {
  if (symbols.length > LONGEST) return null;
  const parts = symbols;
  for (;;) {
    let best = Number.POSITIVE_INFINITY;
    let at = -1;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(parts[i]!)?.get(parts[i + 1]!);
      if (rank !== undefined && rank < best) [best, at] = [rank, i];
    }
    if (at === -1) return parts;
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}

/** Whether a model takes a whole word that is a token as it is. */
export function ignoresMerges(model: JsonObject): boolean {
  return isObject(model) && model["ignore_merges"] === true;
}
