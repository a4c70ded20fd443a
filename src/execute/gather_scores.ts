/**
 * Ranks, ranges and sums of a method's scores over a group of tensors: exact, streaming, in bounded memory. A sample
 * brackets the ranks, one pass over everything counts around them and proves them (statistics/threshold.ts).
 */
import type { Arguments, RowScores, Score, ScoresNeed, ScoresValue, TileMethod } from "../methods/method.js";
import { sumOf } from "../numbers/sums.js";
import { LARGEST_KEY, scoreOf } from "../statistics/order.js";
import { binCount, isFound, MAX_BINS, notesSeen, resolve, SEEN_AT } from "../statistics/threshold.js";
import type { Bracket } from "../statistics/threshold.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Block } from "./blocks.js";
import type { Crew } from "./crew.js";
import type { ScoreArgs, ScoreBlock, ScorePart } from "./jobs.js";
import { evenRuns, MODEL_SAMPLE, runsTogether, SAMPLE_RUN, takeSlots, tensorSample } from "./sample_runs.js";
import { rowCount, rowsOf } from "../statistics/score_rows.js";
import type { WorkTensor } from "./setup.js";

/** A group whose scores are gathered. */
export interface ScoredGroup {
  readonly crew: Crew;
  readonly tensors: readonly WorkTensor[];
  /** Indices into `tensors`. */
  readonly group: readonly number[];
  /** Of the whole group, in order. */
  readonly blocks: readonly Block[];
  readonly models: number;
  readonly score: Score;
  /** The score's numbers for a tensor. */
  readonly argsOf: (tensor: number) => Arguments;
  /** Adds to a block what its jobs must know besides; `blocks` have it. */
  readonly dress: (block: Block) => Block;
  /** Of `scoresBytes` bytes of kernel memory. */
  readonly address: number;
}

/** Kernel memory that a method's scores need for one group at a time. */
export function scoresBytes(method: TileMethod, models: number): number {
  const sizes = Object.values(method.scores ?? {}).map(({ per, ranks }) =>
    ranks === 0 ? 0 : rowCount(per, models) * (sampleBytes() + ranks * MAX_BINS * 4),
  );
  return Math.max(0, ...sizes);
}

/** Room for one row's sample, a whole small group included. */
function sampleBytes(): number {
  return (MODEL_SAMPLE + SAMPLE_RUN) * 4;
}

type Variants = ScoreArgs["variants"];

export async function gatherScores(scored: ScoredGroup, need: ScoresNeed): Promise<ScoresValue> {
  return new ScoreGathering(scored, need).gather();
}

class ScoreGathering {
  readonly #scored: ScoredGroup;
  readonly #need: ScoresNeed;
  readonly #variants: Variants;
  /** By tensor. */
  readonly #variantOf: ReadonlyMap<number, number>;
  /** Scores of each row of the group. */
  readonly #scores: readonly number[];
  readonly #total: number;

  constructor(scored: ScoredGroup, need: ScoresNeed) {
    this.#scored = scored;
    this.#need = need;
    const variants = new Map<string, { index: number; variant: Variants[number] }>();
    const variantOf = new Map<number, number>();
    const scores = Array.from({ length: rowCount(scored.score.per, scored.models) }, () => 0);
    for (const tensor of scored.group) {
      const { inputs, entries } = scored.tensors[tensor]!;
      const present = inputs.map(({ model }) => model);
      const variant = { args: scored.argsOf(tensor), rows: rowsOf(scored.score.per, present, scored.models) };
      for (const row of variant.rows) scores[row]! += entries;
      const key = JSON.stringify(variant, (_, value: unknown) => (typeof value === "number" ? String(value) : value));
      if (!variants.has(key)) variants.set(key, { index: variants.size, variant });
      variantOf.set(tensor, variants.get(key)!.index);
    }
    this.#variants = [...variants.values()].map(({ variant }) => variant);
    this.#variantOf = variantOf;
    this.#scores = scores;
    this.#total = scored.group.reduce((sum, tensor) => sum + scored.tensors[tensor]!.entries, 0);
  }

  async gather(): Promise<ScoresValue> {
    const { ranks } = this.#need;
    const rows =
      ranks.length === 0
        ? this.#join(await this.#pass(null, null))
        : this.#isSmall()
          ? await this.#fromEverything()
          : await this.#fromSample();
    return { per: this.#scored.score.per, rows };
  }

  #isSmall(): boolean {
    return this.#total <= BLOCK_ENTRIES;
  }

  /** A group of a block or less: its scores fit into the sample. */
  async #fromEverything(): Promise<RowScores[]> {
    const blocks = this.#scored.group.map((tensor) => ({
      tensor,
      start: 0,
      count: this.#scored.tensors[tensor]!.entries,
    }));
    const { filled, drawn, parts } = await this.#draw(blocks, this.#need.sum);
    const rows = this.#join({ blocks: drawn, parts });
    const ranks = rows.map((row) => this.#ranksOf(row));
    const brackets = await this.#select(filled, ranks);
    return rows.map((row, at) => ({
      ...row,
      ranked: ranks[at]!.map((rank, index) =>
        rank === 0 ? Number.POSITIVE_INFINITY : scoreOf(brackets[at]![index]!.guess),
      ),
    }));
  }

  async #fromSample(): Promise<RowScores[]> {
    const { group, tensors, score } = this.#scored;
    const size = this.#need.scope === "model" ? MODEL_SAMPLE : tensorSample(this.#total);
    const runs = evenRuns(group, (tensor) => tensors[tensor]!.entries, size, SAMPLE_RUN);
    const { filled, drawn, parts } = await this.#draw(runs, "none");
    const seen = this.#join({ blocks: drawn, parts });
    // As many above zero as in the sample; where the rank hangs on them, the sample is off by less than it may be.
    const guessed = seen.map((row, at) => {
      const share = filled[at] === 0 ? 0 : row.positive / filled[at]!;
      return this.#ranksOf({ ...row, scores: this.#scores[at]!, positive: Math.round(share * this.#scores[at]!) });
    });
    let brackets: (Bracket | null)[][] = await this.#select(filled, guessed);
    let rows: RowScores[] | null = null;
    const ranked = brackets.map(() => Array.from({ length: score.ranks }, () => Number.POSITIVE_INFINITY));
    while (rows === null || brackets.some((row) => row.some((bracket) => bracket !== null))) {
      const counted = await this.#pass(brackets, rows);
      rows ??= this.#join(counted);
      const ranks = rows.map((row) => this.#ranksOf(row));
      brackets = brackets.map((row, at) =>
        row.map((bracket, index) => {
          const rank = ranks[at]![index]!;
          if (bracket === null || rank === 0) return null;
          if (rank === 1) {
            ranked[at]![index] = rows![at]!.most;
            return null;
          }
          const result = resolve(bracket, rank, this.#counts(counted, at, index, bracket), LARGEST_KEY);
          if (!isFound(result)) return result;
          ranked[at]![index] = scoreOf(result.bits);
          return null;
        }),
      );
    }
    return rows.map((row, at) => ({ ...row, ranked: ranked[at]!.slice(0, this.#need.ranks.length) }));
  }

  #ranksOf({ scores, positive }: RowScores): number[] {
    return this.#need.ranks.map((rank) => (scores === 0 ? 0 : Math.min(rank(scores, positive), scores)));
  }

  #block(block: Block, sampled: ScoreBlock["sampled"]): ScoreBlock {
    return { ...block, variant: this.#variantOf.get(block.tensor)!, sampled };
  }

  /** Puts the keys of the scores of some entries into the samples of their rows. */
  async #draw(blocks: readonly Block[], sum: ScoresNeed["sum"]) {
    const filled = this.#scores.map(() => 0);
    const drawn = runsTogether(blocks.map((run) => this.#scored.dress(run)));
    const sampled = drawn.map(({ runs, ...all }) =>
      this.#block(all, { runs, slots: takeSlots(filled, this.#rowsOf(all), all.count) }),
    );
    const buffers = filled.map((_, row) => this.#sampleOf(row));
    const args = { score: this.#need.score, variants: this.#variants, range: true, sum, brackets: null, buffers };
    const parts = await this.#scored.crew.run({ job: "score", blocks: sampled, args });
    return { filled, drawn, parts };
  }

  /** Where each row's ranks lie; a point where the sample is everything. */
  async #select(filled: readonly number[], ranks: readonly (readonly number[])[]): Promise<Bracket[][]> {
    const blocks = filled.map((count, row) => ({
      tensor: this.#scored.group[0]!,
      start: 0,
      count,
      address: this.#sampleOf(row),
      // A rank of zero is not looked for; the smallest is as good as any.
      ranks: ranks[row]!.map((rank) => Math.max(1, rank)),
      entries: this.#scores[row]!,
    }));
    const some = blocks.filter(({ count }) => count > 0);
    const parts = await this.#scored.crew.run({
      job: "selectScores",
      blocks: some,
      args: { complete: this.#isSmall() },
    });
    const brackets: Bracket[][] = filled.map(() => []);
    for (const [index, block] of some.entries()) brackets[blocks.indexOf(block)] = [...parts[index]!];
    return brackets;
  }

  /** All blocks: range and sum unless they are known, and what is counted in brackets. */
  async #pass(brackets: readonly (readonly (Bracket | null)[])[] | null, known: readonly RowScores[] | null) {
    const { crew, blocks } = this.#scored;
    const withMemory = (bracket: Bracket | null, row: number, rank: number) => {
      if (bracket === null) return null;
      const bins = this.#binsOf(row, rank);
      const seen = notesSeen(bracket) ? bins + 4 * SEEN_AT : 0;
      this.#words(bins, binCount(bracket)).fill(0);
      if (seen !== 0) this.#words(seen, binCount(bracket)).fill(0);
      return { ...bracket, bins, seen };
    };
    const args: ScoreArgs = {
      score: this.#need.score,
      variants: this.#variants,
      range: known === null && this.#need.range !== false,
      sum: known === null ? this.#need.sum : "none",
      brackets: brackets?.map((row, at) => row.map((bracket, rank) => withMemory(bracket, at, rank))) ?? null,
      buffers: null,
    };
    const parts = await crew.run({ job: "score", blocks: blocks.map((block) => this.#block(block, null)), args });
    return { blocks, parts };
  }

  /** What the parts of blocks say of each row, in block order. */
  #join({ blocks, parts }: { blocks: readonly Block[]; parts: readonly ScorePart[] }): RowScores[] {
    const joined = this.#scores.map((scores) => ({ scores, positive: 0, least: Infinity, most: -Infinity }));
    const sums = this.#scores.map((): number[] => []);
    for (const [index, block] of blocks.entries()) {
      for (const [at, row] of this.#rowsOf(block).entries()) {
        const part = parts[index]![at]!;
        const into = joined[row]!;
        into.positive += part.positive;
        into.least = Math.min(into.least, part.least);
        into.most = Math.max(into.most, part.most);
        sums[row]!.push(part.sum);
      }
    }
    return joined.map((row, at) => ({ ...row, ranked: [], sum: sumOf(sums[at]!) }));
  }

  #rowsOf({ tensor }: Block): readonly number[] {
    return this.#variants[this.#variantOf.get(tensor)!]!.rows;
  }

  #counts(
    { blocks, parts }: { blocks: readonly Block[]; parts: readonly ScorePart[] },
    row: number,
    rank: number,
    bracket: Bracket,
  ) {
    let atHigh = 0;
    let above = 0;
    let atLeast = 0;
    for (const [index, block] of blocks.entries()) {
      const at = this.#rowsOf(block).indexOf(row);
      const counts = at < 0 ? null : parts[index]![at]!.counts[rank]!;
      if (counts === null) continue;
      atHigh += counts.atHigh;
      above += counts.above;
      atLeast += counts.atLeast;
    }
    const words = binCount(bracket);
    const bins = this.#words(this.#binsOf(row, rank), words);
    const seen = notesSeen(bracket) ? this.#words(this.#binsOf(row, rank) + 4 * SEEN_AT, words) : null;
    return { atHigh, above, atLeast, bins, seen };
  }

  #sampleOf(row: number): number {
    return this.#scored.address + row * sampleBytes();
  }

  #binsOf(row: number, rank: number): number {
    const after = this.#scored.address + this.#scores.length * sampleBytes();
    return after + (row * this.#scored.score.ranks + rank) * MAX_BINS * 4;
  }

  #words(address: number, count: number): Uint32Array {
    return new Uint32Array(this.#scored.crew.memory.buffer, address, count);
  }
}
