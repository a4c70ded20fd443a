/**
 * Adds pieces to a Unigram vocabulary without changing what it does. Unigram takes the splitting whose scores have the
 * largest sum. A new piece gets the best sum that its text has without it, and a trace more for each joint it saves. So
 * the best splitting stays the best, up to such traces, and among spellings of it the one with the fewest pieces wins:
 * a text splits as before, except that some neighbours may have become one new piece.
 */

import type { JsonObject } from "./json.js";

/** What each joint saved is worth: far below the differences between scores, far above the error of their sums. */
const TRACE = 2 ** -20;
/** As the tokenizers library: an unknown character costs this much more than the worst piece. */
const UNKNOWN_PENALTY = 10;

export type Piece = readonly [text: string, score: number];

/**
 * The scores of new pieces.
 * @param model `model` of the tokenizer.json that is added to; its `vocab` is a list of pieces.
 * @param scoreOf a piece with characters that the vocabulary does not know: its score where it comes from, if any.
 */
export function extendUnigram(
  model: JsonObject,
  fresh: readonly string[],
  scoreOf: (piece: string) => number | undefined,
): readonly Piece[] {
  const pieces = new Map((model["vocab"] as readonly Piece[]).map(([text, score]) => [text, score]));
  const unknown = (model["vocab"] as readonly Piece[])[model["unk_id"] as number]?.[0];
  if (unknown !== undefined) pieces.delete(unknown);
  let [longest, worst] = [1, 0];
  for (const [text, score] of pieces) {
    longest = Math.max(longest, text.length);
    worst = Math.min(worst, score);
  }
  return fresh.map((text) => {
    const best = bestSplit(pieces, longest, text);
    if (best !== null) return [text, best.score + TRACE * (best.count - 1)] as const;
    return [text, Math.max(worst, scoreOf(text) ?? worst - UNKNOWN_PENALTY)] as const;
  });
}

/** The best splitting of a text into known pieces, or `null` where a character is in none. */
function bestSplit(
  pieces: ReadonlyMap<string, number>,
  longest: number,
  text: string,
): { readonly score: number; readonly count: number } | null {
  const scores = [0];
  const counts = [0];
  for (let end = 1; end <= text.length; end++) {
    let best = Number.NEGATIVE_INFINITY;
    let count = 0;
    for (let start = Math.max(0, end - longest); start < end; start++) {
      const score = pieces.get(text.slice(start, end));
      if (score === undefined || scores[start]! + score <= best) continue;
      best = scores[start]! + score;
      count = counts[start]! + 1;
    }
    scores.push(best);
    counts.push(count);
  }
  const score = scores.at(-1)!;
  return Number.isFinite(score) ? { score, count: counts.at(-1)! } : null;
}
