import type {
  Arguments,
  EnergyNeed,
  Known,
  MomentsNeed,
  Need,
  NormShareNeed,
  OverlapNeed,
  OverlapValue,
  Score,
  ScoresNeed,
  ScoresValue,
  ThresholdNeed,
  ThresholdValue,
} from "../methods/method.js";
import { deviationOf, energyOf, mergeBlocks } from "../numbers/sums.js";
import { crossingBin, crossingValue } from "../statistics/norm_share.js";
import {
  binCount,
  INFINITY_BITS,
  isFound,
  LOG_ENTRIES,
  magnitudeOf,
  MAX_BINS,
  notesSeen,
  resolve,
  SEEN_AT,
  shareOf,
} from "../statistics/threshold.js";
import type { Bracket, Found } from "../statistics/threshold.js";
import { BLOCK_ENTRIES, blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import type { Crew } from "./crew.js";
import { gatherScores } from "./gather_scores.js";
import { evenRuns, MODEL_SAMPLE, runsTogether, SAMPLE_RUN, takeSlots, tensorSample } from "./sample_runs.js";
import { exactSums } from "./jobs.js";
import type { Quota, SampleBlock, Selection, SurveyPart } from "./jobs.js";
import type { WorkTensor } from "./setup.js";

/** The tensors whose entries a statistic is taken over: all of them, or one. */
export interface Group {
  /** Indices into the setup's tensors; tied copies are left out. */
  readonly tensors: readonly number[];
}

/** Per tensor index and block of it. */
export type Quotas = ReadonlyMap<number, readonly Quota[]>;

/** What a group's statistics are: values for the method and, for an exact quota, numbers per block. */
export interface Gathered {
  readonly known: Known;
  readonly quotas: Quotas;
  /** Where the quotas are predicted: what proves them while blocks are combined. */
  readonly unproved: Guess | null;
}

/** Thresholds and quotas that may be wrong, to be proved by counting while blocks are combined. */
export interface Guess {
  /** Per model: bit pattern of the threshold; `null` where the rank asks for nothing or everything. */
  readonly bits: readonly (number | null)[];
  /** Per model: 0: nothing is kept, `null`: everything. */
  readonly ranks: readonly (number | null)[];
  /** Per model. */
  readonly entries: readonly number[];
  readonly ties: "keep" | "first";
}

/** A method's score by name, and what gives its numbers for a tensor. */
export type ScoresOf = (name: string) => {
  readonly score: Score;
  readonly argsOf: (tensor: number, known: Known) => Arguments;
};

const NO_QUOTAS: Quotas = new Map();
export const NOTHING_GATHERED: Gathered = { known: {}, quotas: NO_QUOTAS, unproved: null };

/** Standard deviations between a guess and the nearest other answer from which on it is worth combining with. */
const CONFIDENT = 3;

/** Logs of blocks and models that a group has room for, 8 MiB; a larger group does without, and so does a whole model. */
const LOGS = 256;

/** Kernel memory that statistics need for one group at a time: samples and histograms of every model, and logs. */
export function statisticsBytes(models: number, scope: "model" | "tensor"): number {
  const sample = scope === "model" ? MODEL_SAMPLE : BLOCK_ENTRIES;
  const logs = scope === "model" ? 0 : LOGS * LOG_ENTRIES;
  return (models * (sample + SAMPLE_RUN + MAX_BINS) + logs) * 4;
}

/** Computes what a method needs over one group with a crew's threads. */
export class Gatherer {
  readonly #crew: Crew;
  readonly #tensors: readonly WorkTensor[];
  readonly #group: Group;
  readonly #models: number;
  readonly #scope: "model" | "tensor";
  readonly #address: number;
  readonly #blocks: readonly Block[];
  #quotas: Quotas = NO_QUOTAS;
  /** Thresholds whose quotas nobody has asked for yet. */
  #unproved: (Guess & { readonly shares: readonly (number | null)[] }) | null = null;
  #selections: Promise<readonly (Selection | null)[]> | null = null;
  readonly #scoresOf: ScoresOf | null;
  readonly #dress: (block: Block) => Block;

  /**
   * @param address of `statisticsBytes` bytes of kernel memory that no other gatherer uses at the same time.
   * @param scoresOf the method's scores with their numbers for a tensor, where it has any.
   * @param dress adds to a block what its jobs must know besides.
   */
  constructor(
    crew: Crew,
    tensors: readonly WorkTensor[],
    group: Group,
    models: number,
    scope: "model" | "tensor",
    address: number,
    scoresOf: ScoresOf | null = null,
    dress: (block: Block) => Block = (block) => block,
  ) {
    this.#scoresOf = scoresOf;
    this.#dress = dress;
    this.#crew = crew;
    this.#tensors = tensors;
    this.#group = group;
    this.#models = models;
    this.#scope = scope;
    this.#address = address;
    this.#blocks = group.tensors.flatMap((tensor) => blocksOf(tensor, tensors[tensor]!.entries)).map(dress);
  }

  /**
   * Asks `next` what is needed until it needs nothing more. Quotas that no survey counted or logged, and that no later
   * statistic depends on, are predicted, to be proved and mended while blocks are combined: that is cheaper than a pass
   * that counts them.
   * @param known what an earlier run gathered; `told` is told of what a restart need not gather again.
   */
  async gather(
    next: (known: Known) => Need | null,
    known: Known = {},
    told: (known: Known) => void = () => {},
  ): Promise<Gathered> {
    for (let need = next(known); need !== null; need = next(known)) {
      if (need.statistic === "scores") {
        known = { ...known, scores: { ...known.scores, [need.key]: await this.#scores(need, known) } };
        // What a quota leaves of equal entries is not told, so that a restart counts it again.
        if (this.#unproved === null && this.#quotas.size === 0) told(known);
      } else known = { ...known, [need.statistic]: await this.#compute(need) };
    }
    const unproved = this.#unproved;
    return { known, quotas: unproved === null ? this.#quotas : this.#predict(unproved.shares), unproved };
  }

  /** As `gather`, with no quota left to be proved. */
  async gatherExactly(next: (known: Known) => Need | null): Promise<Gathered> {
    const { known } = await this.gather(next);
    await this.#settleQuotas();
    return { known, quotas: this.#quotas, unproved: null };
  }

  /**
   * Thresholds and quotas from a sample alone, where it leaves no doubt worth a pass over everything: the entries have
   * few distinct magnitudes (16-bit inputs) and the rank lies well inside one of them. `null` otherwise.
   */
  async guess(need: ThresholdNeed): Promise<Gathered | null> {
    const entries = this.#entries();
    if (this.#isSmall()) return null;
    const ranks = this.#ranksOf(need, entries);
    const selections = await this.#select(ranks, entries);
    if (selections.every((selection) => selection === null)) return null;
    if (selections.some((selection) => selection !== null && selection.standing.confidence < CONFIDENT)) return null;
    const bits = selections.map((selection) => selection?.bracket.guess ?? null);
    const unproved: Guess = { bits, ranks, entries, ties: need.ties };
    const thresholds = bits.map((pattern, model) => thresholdOf(ranks[model]!, pattern));
    const quotas =
      need.ties === "keep"
        ? NO_QUOTAS
        : this.#predict(selections.map((selection) => selection?.standing.share ?? null));
    const known = { threshold: { thresholds, kept: bits.map(() => 0), entries: Math.max(...entries) } };
    return { known, quotas, unproved };
  }

  #ranksOf(need: ThresholdNeed, entries: readonly number[]): (number | null)[] {
    return need.ranks.map((rank, model) => {
      const wanted = entries[model] === 0 ? null : rank(entries[model]!);
      return wanted === null ? null : Math.min(wanted, entries[model]!);
    });
  }

  #scores(need: ScoresNeed, known: Known): Promise<ScoresValue> {
    const { score, argsOf } = this.#scoresOf!(need.score);
    return gatherScores(
      {
        crew: this.#crew,
        tensors: this.#tensors,
        group: this.#group.tensors,
        blocks: this.#blocks,
        dress: this.#dress,
        models: this.#models,
        score,
        argsOf: (tensor) => argsOf(tensor, known),
        address: this.#address,
      },
      need,
    );
  }

  #compute(need: Exclude<Need, ScoresNeed>): Promise<Known[keyof Known]> {
    switch (need.statistic) {
      case "threshold":
        return this.#threshold(need);
      case "moments":
        return this.#moments(need);
      case "energy":
        return this.#energy(need);
      case "norm-share":
        return this.#normShare(need);
      case "overlap":
        return this.#overlap(need);
    }
  }

  /** Entries of the group; more than any model has where each lacks some tensor. */
  #total(): number {
    return this.#group.tensors.reduce((sum, tensor) => sum + this.#tensors[tensor]!.entries, 0);
  }

  /** Entries of the group that each model has. */
  #entries(): number[] {
    const entries = Array.from({ length: this.#models }, () => 0);
    for (const tensor of this.#group.tensors) {
      const { inputs, entries: size } = this.#tensors[tensor]!;
      for (const { model } of inputs) entries[model]! += size;
    }
    return entries;
  }

  async #threshold(need: ThresholdNeed): Promise<ThresholdValue> {
    const entries = this.#entries();
    const ranks = this.#ranksOf(need, entries);
    const largest = Math.max(...entries);
    const found: (Found | null)[] = ranks.map(() => null);
    let parts: SurveyPart[] | null = null;
    if (ranks.some((rank) => rank !== null && rank > 0)) {
      const selections = await this.#select(ranks, entries);
      if (this.#isSmall())
        for (const [model, selection] of selections.entries()) found[model] = selection?.found ?? null;
      else parts = await this.#surveyUntilFound(ranks, selections, found);
    }
    const thresholds = ranks.map((rank, model) => thresholdOf(rank, found[model]?.bits ?? null));
    if (need.ties === "first") await this.#makeQuotas(ranks, found, parts);
    const kept = ranks.map((rank, model) => {
      if (rank === null) return entries[model]!;
      return need.ties === "first" || rank === 0 ? rank : found[model]!.atLeast;
    });
    return { thresholds, kept, entries: largest };
  }

  /** @returns the parts of the last survey, whose bracket or guess every threshold found is. */
  async #surveyUntilFound(
    ranks: readonly (number | null)[],
    selections: readonly (Selection | null)[],
    found: (Found | null)[],
  ): Promise<SurveyPart[]> {
    let brackets = selections.map((selection) => selection?.bracket ?? point(0));
    for (;;) {
      const parts = await this.#survey(brackets);
      const next = brackets.map((bracket, model) => {
        const rank = ranks[model]!;
        if (rank === null || rank === 0) return bracket;
        const result = resolve(bracket, rank, this.#counts(parts, model, bracket));
        if (!isFound(result)) return result;
        found[model] = result;
        return point(result.bits);
      });
      const unresolved = ranks.some((rank, model) => rank !== null && rank > 0 && found[model] === null);
      if (!unresolved) return parts;
      for (const [model, rank] of ranks.entries()) if (rank !== null && rank > 0) found[model] = null;
      brackets = next;
    }
  }

  /** Whether the sample is everything, so that it gives the answer itself. */
  #isSmall(): boolean {
    return this.#total() <= BLOCK_ENTRIES;
  }

  /**
   * What a sample says of each model's rank; `null` for a model whose rank asks for nothing. Drawn once, for a guess and
   * for the brackets should the guess not do.
   */
  #select(ranks: readonly (number | null)[], entries: readonly number[]): Promise<readonly (Selection | null)[]> {
    return (this.#selections ??= this.#drawAndSelect(ranks, entries));
  }

  async #drawAndSelect(ranks: readonly (number | null)[], entries: readonly number[]): Promise<(Selection | null)[]> {
    const drawn = await this.#sample();
    const wanted = [...ranks.keys()].filter((model) => ranks[model] !== null && ranks[model]! > 0);
    const blocks = wanted.map((model) => {
      const { address, count } = drawn[model]!;
      return {
        tensor: this.#group.tensors[0]!,
        start: 0,
        count,
        address,
        rank: ranks[model]!,
        entries: entries[model]!,
      };
    });
    const parts = await this.#crew.run({ job: "select", blocks, args: { complete: this.#isSmall() } });
    const selections: (Selection | null)[] = ranks.map(() => null);
    for (const [index, model] of wanted.entries()) selections[model] = parts[index]!;
    return selections;
  }

  /** Puts a sample of each model's magnitudes into kernel memory; all of them where the group is a block or less. */
  async #sample(): Promise<{ address: number; count: number }[]> {
    const filled = Array.from({ length: this.#models }, () => 0);
    const { tensors } = this.#group;
    const entriesOf = (tensor: number) => this.#tensors[tensor]!.entries;
    const size = this.#scope === "model" ? MODEL_SAMPLE : tensorSample(this.#total());
    const runs = this.#isSmall()
      ? tensors.map((tensor): Block => ({ tensor, start: 0, count: entriesOf(tensor) }))
      : evenRuns(tensors, entriesOf, size, SAMPLE_RUN);
    const drawn = runs.filter(({ count }) => count > 0).map((run) => this.#dress(run));
    const blocks = runsTogether(drawn).map((some): SampleBlock => {
      const models = this.#tensors[some.tensor]!.inputs.map(({ model }) => model);
      return { ...some, slots: takeSlots(filled, models, some.count) };
    });
    const capacity = (this.#sampleCapacity() + SAMPLE_RUN) * 4;
    const buffers = filled.map((_, model) => this.#address + model * capacity);
    await this.#crew.run({ job: "sample", blocks, args: { buffers } });
    return filled.map((count, model) => ({ address: buffers[model]!, count }));
  }

  #sampleCapacity(): number {
    return this.#scope === "model" ? MODEL_SAMPLE : BLOCK_ENTRIES;
  }

  #binsOf(model: number): number {
    return this.#address + this.#models * (this.#sampleCapacity() + SAMPLE_RUN) * 4 + model * MAX_BINS * 4;
  }

  #survey(brackets: readonly Bracket[]): Promise<SurveyPart[]> {
    const rows = brackets.map((bracket, model) => {
      const bins = this.#binsOf(model);
      const seen = notesSeen(bracket) ? bins + 4 * SEEN_AT : 0;
      this.#words(bins, binCount(bracket)).fill(0);
      if (seen !== 0) this.#words(seen, binCount(bracket)).fill(0);
      return { ...bracket, bins, seen };
    });
    const blocks = this.#blocks.map((block, index) => ({ ...block, log: this.#logOf(index) }));
    return this.#crew.run({ job: "survey", blocks, args: { rows } });
  }

  /** Where the survey of a block logs what lies inside the brackets, or 0 where there is no room for it. */
  #logOf(block: number): number {
    const hasRoom = this.#scope === "tensor" && this.#blocks.length * this.#models <= LOGS;
    return hasRoom ? this.#binsOf(this.#models) + block * this.#models * LOG_ENTRIES * 4 : 0;
  }

  #counts(parts: readonly SurveyPart[], model: number, bracket: Bracket) {
    let atHigh = 0;
    let above = 0;
    let atLeast = 0;
    for (const [index, part] of parts.entries()) {
      const input = this.#inputOf(index, model);
      if (input < 0) continue;
      atHigh += part.atHigh[input]!;
      above += part.above[input]!;
      atLeast += part.atLeast[input]!;
    }
    const bins = this.#words(this.#binsOf(model), binCount(bracket));
    const seen = notesSeen(bracket) ? this.#words(this.#binsOf(model) + 4 * SEEN_AT, binCount(bracket)) : null;
    return { atHigh, above, atLeast, bins, seen };
  }

  #words(address: number, count: number): Uint32Array {
    return new Uint32Array(this.#crew.memory.buffer, address, count);
  }

  /** Which input of a block's tensor is a model's, or −1. */
  #inputOf(block: number, model: number): number {
    const { inputs } = this.#tensors[this.#blocks[block]!.tensor]!;
    // Nearly always the model's own index; tensors that a model lacks shift it.
    return inputs[model]?.model === model ? model : inputs.findIndex((input) => input.model === model);
  }

  /** Entries equal to each threshold are kept in block order until the rank is reached. */
  async #makeQuotas(ranks: readonly (number | null)[], found: readonly (Found | null)[], parts: SurveyPart[] | null) {
    const above = found.map((result) => result?.above ?? 0);
    const shares = ranks.map((rank, model) => {
      const result = found[model];
      return rank === null || result == null || result.bits >= INFINITY_BITS ? null : shareOf(result, rank);
    });
    if (shares.every((share) => share === null || share === 1)) return;
    const bits = found.map((result) => result?.bits ?? null);
    const guess: Guess = { bits, ranks, entries: this.#entries(), ties: "first" };
    const only = this.#blocks.length === 1 ? this.#tensors[this.#blocks[0]!.tensor]! : null;
    if (only !== null) {
      const count = (of: (result: Found) => number) =>
        only.inputs.map(({ model }) => (found[model] ? of(found[model]) : 0));
      const part = { above: count((result) => result.above), atLeast: count((result) => result.atLeast) };
      this.#quotas = quotasOf(guess, above, this.#blocks, [part], this.#tensors);
      return;
    }
    const equal = parts === null ? null : this.#countEqual(found, parts);
    if (equal === null) this.#unproved = { ...guess, shares };
    else this.#quotas = quotasOf(guess, above, this.#blocks, equal, this.#tensors);
  }

  /**
   * Per block and input the entries equal to a threshold, as those that are at or above it beside none that are above.
   * @returns `null` where they were neither counted nor logged.
   */
  #countEqual(
    found: readonly (Found | null)[],
    parts: readonly SurveyPart[],
  ): Pick<SurveyPart, "above" | "atLeast">[] | null {
    const counts: Pick<SurveyPart, "above" | "atLeast">[] = [];
    for (const [block, { above, atLeast, logged, padding }] of parts.entries()) {
      const { tensor } = this.#blocks[block]!;
      const log = this.#logOf(block);
      const equal: number[] = [];
      for (const [input, { model }] of this.#tensors[tensor]!.inputs.entries()) {
        const threshold = found[model];
        if (threshold == null || threshold.guessed) equal.push(atLeast[input]! - above[input]!);
        else if (log === 0 || logged[input]! > LOG_ENTRIES) return null;
        else {
          const met = this.#words(log + input * LOG_ENTRIES * 4, logged[input]!);
          // The padding's magnitudes are zero.
          equal.push(countOf(met, threshold.bits) - (threshold.bits === 0 ? padding : 0));
        }
      }
      counts.push({ above: equal.map(() => 0), atLeast: equal });
    }
    return counts;
  }

  /** Counts what was left to be proved, for a statistic that depends on it. */
  async #settleQuotas(): Promise<void> {
    if (this.#unproved === null) return;
    const { bits } = this.#unproved;
    const parts = await this.#survey(bits.map((pattern) => point(pattern ?? 0)));
    const above = bits.map((_, model) =>
      parts.reduce((sum, part, index) => {
        const input = this.#inputOf(index, model);
        return input < 0 ? sum : sum + part.above[input]!;
      }, 0),
    );
    this.#quotas = quotasOf(this.#unproved, above, this.#blocks, parts, this.#tensors);
    this.#unproved = null;
  }

  /**
   * Quotas under the assumption that entries equal to a threshold lie evenly over the blocks: those in the first blocks
   * are kept, the others not.
   * @param shares per model, of the entries equal to its threshold; `null`: all.
   */
  #predict(shares: readonly (number | null)[]): Quotas {
    const quotas = new Map<number, Quota[]>();
    for (const [index, { tensor }] of this.#blocks.entries()) {
      const quota = this.#tensors[tensor]!.inputs.map(({ model }) => {
        const share = shares[model]!;
        return share === null || index < Math.round(share * this.#blocks.length) ? null : 0;
      });
      const list = quotas.get(tensor);
      if (list === undefined) quotas.set(tensor, [quota]);
      else list.push(quota);
    }
    return quotas;
  }

  async #blockMoments(trim: EnergyNeed["trim"] | null) {
    await this.#settleQuotas();
    const quotaOf = ({ tensor, start }: Block) => this.#quotas.get(tensor)?.[start / BLOCK_ENTRIES] ?? null;
    const blocks = this.#blocks.map((block) => ({ ...block, quota: quotaOf(block) }));
    const parts = await this.#crew.run({ job: "moments", blocks, args: { trim } });
    return Array.from({ length: this.#models }, (_, model) =>
      mergeBlocks(
        parts.flatMap((part, index) => {
          const input = this.#inputOf(index, model);
          return input < 0 ? [] : [part[input]!];
        }),
      ),
    );
  }

  async #moments(_need: MomentsNeed) {
    const moments = await this.#blockMoments(null);
    return {
      entries: Math.max(...moments.map(({ entries }) => entries)),
      mean: moments.map(({ mean }) => mean),
      deviation: moments.map((part) => deviationOf(part)),
    };
  }

  async #energy({ trim }: EnergyNeed) {
    return { energy: (await this.#blockMoments(trim)).map((part) => energyOf(part)) };
  }

  async #overlap({ thresholds }: OverlapNeed): Promise<OverlapValue> {
    const parts = await this.#crew.run({ job: "overlap", blocks: this.#blocks, args: { thresholds } });
    const total = (count: "shared" | "unique") =>
      thresholds.map((_, model) =>
        parts.reduce((sum, part, index) => sum + (part[count][this.#inputOf(index, model)] ?? 0), 0),
      );
    return { shared: total("shared"), unique: total("unique") };
  }

  async #normShare({ shares }: NormShareNeed): Promise<ThresholdValue> {
    const entries = this.#entries();
    const bins = await this.#perModel("energyBins", null);
    const crossings = shares.map((share, model) => (bins[model] ? crossingBin(bins[model], share) : null));
    const patterns = await this.#perModel("patterns", { bins: crossings.map((crossing) => crossing?.bin ?? -1) });
    const values = crossings.map((crossing, model) => {
      if (shares[model] === 1) return { threshold: 0, kept: entries[model]! };
      if (crossing === null) return { threshold: Number.POSITIVE_INFINITY, kept: 0 };
      const { bits, kept } = crossingValue(crossing, patterns[model]!);
      return { threshold: magnitudeOf(bits), kept };
    });
    return {
      thresholds: values.map(({ threshold }) => threshold),
      kept: values.map(({ kept }) => kept),
      entries: Math.max(...entries),
    };
  }

  /**
   * Runs a job whose parts are arrays per input, tensors with the same models together, and adds up per model; `null`
   * for a model that has none of the tensors.
   */
  async #perModel<N extends "energyBins" | "patterns">(job: N, args: N extends "patterns" ? { bins: number[] } : null) {
    type Part = N extends "patterns"
      ? Float64Array
      : { counts: Float64Array; upper: Float64Array; lower: Float64Array };
    const sums: (Part | null)[] = Array.from({ length: this.#models }, () => null);
    const add = exactSums[job] as unknown as (a: readonly Part[], b: readonly Part[]) => Part[];
    const byInputs = new Map<string, Block[]>();
    for (const block of this.#blocks) {
      const key = this.#tensors[block.tensor]!.inputs.map(({ model }) => model).join();
      const blocks = byInputs.get(key);
      if (blocks === undefined) byInputs.set(key, [block]);
      else blocks.push(block);
    }
    for (const [key, blocks] of byInputs) {
      const parts = (await this.#crew.run({ job, blocks, args })) as Part[][];
      for (const part of parts) {
        for (const [input, model] of key.split(",").map(Number).entries()) {
          sums[model] = sums[model] === null ? part[input]! : add([sums[model]!], [part[input]!])[0]!;
        }
      }
    }
    return sums;
  }
}

/** The smallest magnitude that survives: 0 keeps everything, infinity nothing but itself. */
function thresholdOf(rank: number | null, bits: number | null): number {
  if (rank === null) return 0;
  return rank === 0 ? Number.POSITIVE_INFINITY : magnitudeOf(bits!);
}

/**
 * Shares the entries equal to each threshold out over the blocks, in order, until the rank is reached.
 * @param above per model: entries above its threshold.
 * @param parts per block and input: entries above and at or above the threshold.
 */
export function quotasOf(
  { bits, ranks }: Guess,
  above: readonly number[],
  blocks: readonly Block[],
  parts: readonly Pick<SurveyPart, "above" | "atLeast">[],
  tensors: readonly WorkTensor[],
): Quotas {
  const left = bits.map((pattern, model) => {
    const none = pattern === null || pattern >= INFINITY_BITS;
    return none ? null : ranks[model]! - above[model]!;
  });
  const quotas = new Map<number, Quota[]>();
  for (const [index, part] of parts.entries()) {
    const { tensor } = blocks[index]!;
    const quota = tensors[tensor]!.inputs.map(({ model }, input) => {
      if (left[model] === null) return null;
      const here = part.atLeast[input]! - part.above[input]!;
      const keep = Math.min(here, left[model]!);
      left[model]! -= keep;
      return keep === here ? null : keep;
    });
    const list = quotas.get(tensor);
    if (list === undefined) quotas.set(tensor, [quota]);
    else list.push(quota);
  }
  return quotas;
}

function countOf(words: Uint32Array, wanted: number): number {
  let count = 0;
  for (let at = 0; at < words.length; at++) if (words[at] === wanted) count++;
  return count;
}

/** A bracket that only counts what is above and at a value. */
function point(bits: number): Bracket {
  return { high: bits, guess: bits, low: bits - 1, shift: 0 };
}
