/** How sure a measured number is, and whether two models that saw the same examples differ. */

import { randomWords, streamKey } from "../numbers/random.js";
import { type Answers, betterOf, correctOf, type Outcomes, sizeOf, sum, valueOf, type Windows } from "./outcomes.js";

/** Of all intervals. */
export const LEVEL = 0.95;
/** The standard normal's (1 + LEVEL) / 2 quantile. */
const Z = 1.959963984540054;
const RESAMPLES = 2000;
/** Fixed: the same outcomes always have the same interval. */
const SEED = 0;

export interface Interval {
  readonly level: number;
  readonly low: number;
  readonly high: number;
  readonly by: "wilson" | "bootstrap" | "normal";
}

/** `null` for a number that a command printed, which tells nothing about its spread. */
export function intervalOf(outcomes: Outcomes): Interval | null {
  if (outcomes.kind === "answers") return wilson(correctOf(outcomes), outcomes.labels.length);
  return outcomes.kind === "windows"
    ? bootstrap(outcomes.nats.length, (picked) => bitsPerByte(outcomes, picked))
    : null;
}

/**
 * The score interval of a share: Wilson, "Probable inference, the law of succession, and statistical inference", JASA
 * 22 (1927). Stays inside 0 to 1 and is useful for shares near its ends.
 */
export function wilson(correct: number, total: number): Interval {
  const share = correct / total;
  const square = (Z * Z) / total;
  const centre = (share + square / 2) / (1 + square);
  const half = (Z * Math.sqrt((share * (1 - share)) / total + square / total / 4)) / (1 + square);
  const [low, high] = [correct === 0 ? 0 : centre - half, correct === total ? 1 : centre + half];
  return { level: LEVEL, low, high, by: "wilson" };
}

/** The percentile interval of a number over examples that are drawn with replacement. @param count examples. */
export function bootstrap(count: number, measure: (picked: Uint32Array) => number): Interval {
  const key = streamKey(SEED, "bootstrap", String(count));
  const words = new Uint32Array(count);
  const values = Float64Array.from({ length: RESAMPLES }, (_, round) => {
    randomWords(key, round * count, words);
    for (let i = 0; i < count; i++) words[i] = Math.floor((words[i]! / 2 ** 32) * count);
    return measure(words);
  }).sort();
  const at = (share: number) => values[Math.round(share * (RESAMPLES - 1))]!;
  return { level: LEVEL, low: at((1 - LEVEL) / 2), high: at((1 + LEVEL) / 2), by: "bootstrap" };
}

function bitsPerByte({ nats, bytes }: Windows, picked: Uint32Array): number {
  let information = 0;
  let size = 0;
  for (const window of picked) {
    information += nats[window]!;
    size += bytes[window]!;
  }
  return information / Math.LN2 / size;
}

/** Two models on the same examples. */
export interface Comparison {
  /** The value of the other model. */
  readonly against: number;
  /** This model's value minus the other's. */
  readonly difference: number;
  /** Of the difference, examples taken in pairs; `null` where there is one number only. */
  readonly interval: Interval | null;
  /** Examples that this model alone, and the other alone, got right. */
  readonly only: { readonly this: number; readonly other: number } | null;
  /** McNemar's exact test, two-sided: how often chance alone parts the models at least this far. */
  readonly p: number | null;
  /** `null`: the data do not say, at the interval's level. */
  readonly better: "this" | "other" | null;
}

/** @throws RangeError unless both are outcomes of the same examples. */
export function comparePaired(one: Outcomes, other: Outcomes): Comparison {
  const against = valueOf(other);
  const difference = valueOf(one) - against;
  const none = { against, difference, interval: null, only: null, p: null };
  if (one.kind !== other.kind || sizeOf(one) !== sizeOf(other)) throw new RangeError("outcomes of different examples");
  const sign = betterOf(one) === "higher" ? 1 : -1;
  const verdict = (decided: boolean) => (!decided ? null : sign * difference > 0 ? "this" : "other");
  if (one.kind === "printed") return { ...none, better: verdict(difference !== 0) };
  const count = sizeOf(one);
  if (one.kind === "windows") {
    const interval = bootstrap(count, (picked) => bitsPerByte(one, picked) - bitsPerByte(other as Windows, picked));
    return { ...none, interval, better: verdict(interval.low > 0 || interval.high < 0) };
  }
  const only = { this: 0, other: 0 };
  for (const [at, label] of one.labels.entries()) {
    const [mine, others] = [one.answers[at] === label, (other as Answers).answers[at] === label];
    if (mine && !others) only.this++;
    if (others && !mine) only.other++;
  }
  const interval = normal(difference, Math.sqrt((only.this + only.other) / count - difference ** 2) / Math.sqrt(count));
  const p = mcnemar(only.this, only.other);
  return { ...none, interval, only, p, better: verdict(p < 1 - LEVEL) };
}

function normal(centre: number, deviation: number): Interval {
  return { level: LEVEL, low: centre - Z * deviation, high: centre + Z * deviation, by: "normal" };
}

/**
 * The exact two-sided binomial test on the examples that only one of two models gets right: McNemar, "Note on the
 * sampling error of the difference between correlated proportions or percentages", Psychometrika 12 (1947).
 */
export function mcnemar(a: number, b: number): number {
  const total = a + b;
  const least = Math.min(a, b);
  // Binomial coefficients as logarithms: they leave the range of numbers above a thousand.
  let logarithm = -total * Math.LN2;
  const terms = [Math.exp(logarithm)];
  for (let k = 1; k <= least; k++) {
    logarithm += Math.log((total - k + 1) / k);
    terms.push(Math.exp(logarithm));
  }
  return Math.min(1, 2 * sum(terms));
}
