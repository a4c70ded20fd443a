import { exp, tanh } from "../numbers/functions.js";
import type { Arguments, Known, Need, Score, ScoresValue, ScoreTile, Settings, Tile, TileMethod } from "./method.js";

const { abs, fround, trunc } = Math;
/** The smallest sum of scores that the mean divides by, as released. */
const FLOOR = fround(1e-12);
/** How `variant` travels as a number. */
const VARIANT = { es: 0, readme: 1, vision: 2, paper: 3 } as const;

export const pcb: TileMethod = {
  name: "pcb",
  title: "PCB-Merging: a mean weighted by how much parameters compete within and between tasks",
  paper: {
    title: "Parameter Competition Balancing for Model Merging",
    authors: "Du et al.",
    where: "arXiv 2410.02396",
  },
  description: `tau_i = theta_i - theta_0, over the whole model; Norm(x) = (x - min x) / (max x - min x)
clip     a_i = |tau_i|, raised to its clip-quantile and cut at its (1 - clip)-quantile;  tau~_i = sign(tau_i) a_i
intra    e_i = exp(n Norm(a_i)^2)
inter    es      c_i = sum over j of tanh(x_i x_j),   x_i = sign(tau_i) Norm(a_i)
         vision  c_i = tanh(tau_i · sum over j of x_j)
         readme  c_i = tanh(tau_i · sum over j of tau_j)
drop     S_i = Norm of e_i c_i, raised to its (1 - ratio)-quantile: what is at or below that is 0
theta    = theta_0 + sum of lambda_i S_i tau~_i / sum of S_i

Three rules circulate in the released code and none is the paper's; each is a dialect. es, the rule of the released
evolution-strategy script, is the default: its scores do not depend on the scale of the changes. paper is the formula
as printed, without clipping:
         beta_i = softmax(n Norm(tau_i^2)) · sum over j of softmax(Norm(tau_i tau_j))
         S_i    = Norm of beta_i where beta_i >= its (1 - ratio)-quantile, else of 0
         theta  = theta_0 + sum of lambda_i S_i tau_i / sum of S_i
softmax running over the entries.

Quantiles are exact order statistics of a model's d entries, as released: clip takes the ascending places
trunc(d clip) and trunc(d (1 - clip) - 1), counted from 0, ratio the place trunc(d (1 - ratio)). Equal scores are kept or
dropped together. A zero change stays zero. Where a norm has no width (all entries equal) it is 0: a model whose scores
are all equal has no say, and where no model has any the base stays. n is the number of models that have the tensor.

lambda_i is searched per model by the released scripts, from 0.8 to 1.3 for vision models and 0.5 to 3 for language
models; the one for language models tunes on its test sets. Without validation data the paper takes ratio 0.2, lambda 1.
exp and tanh are this program's own in f32 (at most 2 units in the last place off), so that results are the same
everywhere. An infinite change is clipped like any large one; a NaN ranks below all scores and reaches its entry.`,
  base: "required",
  models: { min: 1, max: 64 },
  parameters: {
    variant: {
      type: "choice",
      default: "es",
      per: "recipe",
      choices: {
        es: "sum of tanh over pairs of normalised changes",
        readme: "tanh of the change times the sum of changes",
        vision: "tanh of the change times the sum of normalised changes",
        paper: "the paper's softmaxes",
      },
      meaning: "how the competition between models is scored",
    },
    ratio: {
      type: "number",
      default: 0.2,
      min: 0,
      max: 1,
      per: "recipe",
      meaning: "share of a model's entries whose score is not dropped",
    },
    clip: {
      type: "number",
      default: 0.01,
      min: 0,
      max: 0.5,
      per: "recipe",
      meaning: "share of a model's magnitudes clipped at either end (not in variant paper)",
    },
    lambda: { type: "number", default: 1, per: "model", late: true, meaning: "scale of a model's change" },
  },
  dialects: {
    es: { meaning: "the released evolution-strategy script's scores, without its search", values: {} },
    vision: {
      meaning: "the released vision script: ratio 0.05, lambda 1.2",
      values: { variant: "vision", ratio: 0.05, lambda: 1.2 },
    },
    readme: { meaning: "the released language scripts and the readme", values: { variant: "readme" } },
    paper: { meaning: "the printed formula, which no released script computes", values: { variant: "paper" } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  scores: {
    magnitude: {
      per: "model",
      ranks: 2,
      bind: () => ({ scalars: {}, columns: {} }),
      define({ count, inputs, scores }: ScoreTile) {
        for (const [i, values] of inputs.entries()) for (let p = 0; p < count; p++) scores[i]![p] = abs(values[p]!);
      },
      kernel: () => "magnitude",
    },
    score: {
      per: "model",
      ranks: 1,
      bind: (settings, known) => clipping(settings, known),
      define({ count, inputs, scores }: ScoreTile, args: Arguments) {
        const column = makeColumn(inputs.length);
        for (let p = 0; p < count; p++) {
          scoreColumn(inputs, p, args, column);
          for (let i = 0; i < inputs.length; i++) scores[i]![p] = column.score[i]!;
        }
      },
      kernel: () => "pcb_scores",
    },
    product: pairScore("pcb_product", (x, y) => fround(x * y)),
    likeness: pairScore("pcb_likeness", (x, y, { table }, pair) => exp(normal(fround(x * y), table!, pair))),
    balance: {
      per: "model",
      ranks: 1,
      bind: (settings, known) => balancing(settings, known),
      define({ count, inputs, scores }: ScoreTile, args: Arguments) {
        const column = new Float32Array(inputs.length);
        for (let p = 0; p < count; p++) {
          balanceColumn(inputs, p, args, column);
          for (let i = 0; i < inputs.length; i++) scores[i]![p] = column[i]!;
        }
      },
      kernel: () => "pcb_balance",
    },
  },

  check({ global }) {
    return Number(global.ratio) > 0 ? null : "ratio 0 drops every score; it must be larger";
  },

  needs({ global }, { scores }): Need | null {
    const isPaper = global.variant === "paper";
    const ratio = Number(global.ratio);
    const kept = (d: number) => Math.max(1, d - trunc(d * (1 - ratio)));
    const need = { statistic: "scores", scope: "model" } as const;
    if (isPaper) {
      if (scores?.product === undefined) {
        return { ...need, key: "product", score: "product", ranks: [], sum: "none" };
      }
      if (scores.likeness === undefined) {
        return { ...need, key: "likeness", score: "likeness", ranks: [], sum: "values" };
      }
      if (scores.score === undefined) return { ...need, key: "score", score: "balance", ranks: [kept], sum: "none" };
      return null;
    }
    const clip = Number(global.clip);
    if (scores?.magnitude === undefined) {
      const low = (d: number) => d - trunc(d * clip);
      const high = (d: number) => d - trunc(d * (1 - clip) - 1);
      return { ...need, key: "magnitude", score: "magnitude", ranks: [low, high], sum: "none" };
    }
    if (scores.score === undefined) return { ...need, key: "score", score: "score", ranks: [kept], sum: "none" };
    return null;
  },

  bind(settings: Settings, known: Known): Arguments {
    const isPaper = settings.global.variant === "paper";
    const args = isPaper ? balancing(settings, known) : clipping(settings, known);
    const rows = rowsOf(known.scores?.score, settings.models.length);
    // The printed formula takes the norm with the dropped ones as 0, the released code with them at the cut.
    const from = rows.map(({ least, ranked }) => (isPaper ? (ranked[0]! > least ? 0 : least) : ranked[0]!));
    return {
      ...args,
      columns: {
        ...args.columns,
        cut: rows.map(({ ranked }) => ranked[0]!),
        spread: rows.map(({ most }, i) => width(from[i]!, most)),
        lambda: settings.models.map(({ lambda }) => fround(Number(lambda))),
        ...(isPaper && { from }),
      },
    };
  },

  combine(tile: Tile, args: Arguments) {
    if (args.scalars.variant === VARIANT.paper) combineBalanced(tile, args);
    else combineClipped(tile, args);
  },

  kernel: ({ scalars }) => (scalars.variant === VARIANT.paper ? "pcb_paper" : "pcb"),
};

/** max − min as a divisor: 1 where there is no width, whose numerators are all 0. */
function width(least: number, most: number): number {
  const range = fround(most - least);
  return range > 0 ? range : 1;
}

/** Rows of zeros before anything is known. */
function rowsOf(value: ScoresValue | undefined, rows: number): ScoresValue["rows"] {
  const none = { scores: 0, positive: 0, least: 0, most: 0, ranked: [0, 0], sum: 0 };
  return value?.rows ?? Array.from({ length: rows }, () => none);
}

/** The numbers of the released variants' scores. */
function clipping({ global, models }: Settings, known: Known): Arguments {
  // The bounds of a vector of a few entries can cross; then the upper one holds for all, as released.
  const rows = rowsOf(known.scores?.magnitude, models.length).map(({ ranked: [low, high] }) => {
    return { low: Math.min(low!, high!), high: high! };
  });
  return {
    scalars: { variant: VARIANT[global.variant as keyof typeof VARIANT], models: models.length },
    columns: {
      low: rows.map(({ low }) => low),
      high: rows.map(({ high }) => high),
      range: rows.map(({ low, high }) => width(low, high)),
    },
  };
}

/** Numbers of a pair of models in the table: least product, width of the products, share. */
const TRIPLE = 3;

interface Column {
  /** x_i, tau~_i and the scores of one column. */
  readonly normal: Float32Array;
  readonly clipped: Float32Array;
  readonly score: Float32Array;
}

function makeColumn(models: number): Column {
  return {
    normal: new Float32Array(models),
    clipped: new Float32Array(models),
    score: new Float32Array(models),
  };
}

function scoreColumn(
  inputs: readonly Float32Array[],
  p: number,
  { scalars, columns }: Arguments,
  { normal, clipped, score }: Column,
): void {
  const { low, high, range } = columns as Record<string, readonly number[]>;
  const models = inputs.length;
  for (let i = 0; i < models; i++) {
    const x = inputs[i]![p]!;
    const sign = x < 0 || Object.is(x, -0) ? -1 : 1;
    const size = Math.min(Math.max(abs(x), low![i]!), high![i]!);
    normal[i] = sign * fround(fround(size - low![i]!) / range![i]!);
    clipped[i] = x === 0 ? 0 : sign * size;
  }
  score.fill(0);
  if (scalars.variant === VARIANT.es) {
    for (let i = 0; i < models; i++) {
      for (let j = 0; j < models; j++) score[i] = score[i]! + tanh(fround(normal[i]! * normal[j]!));
    }
  } else {
    let sum = 0;
    for (let j = 0; j < models; j++) {
      sum = fround(sum + (scalars.variant === VARIANT.readme ? inputs[j]![p]! : normal[j]!));
    }
    for (let i = 0; i < models; i++) score[i] = tanh(fround(inputs[i]![p]! * sum));
  }
  for (let i = 0; i < models; i++) {
    score[i] = exp(fround(fround(normal[i]! * normal[i]!) * scalars.models!)) * score[i]!;
  }
}

function combineClipped({ count, base, inputs, out }: Tile, args: Arguments): void {
  const { cut, spread, lambda } = args.columns as Record<string, readonly number[]>;
  const column = makeColumn(inputs.length);
  for (let p = 0; p < count; p++) {
    scoreColumn(inputs, p, args, column);
    let sum = 0;
    let weights = 0;
    for (let i = 0; i < inputs.length; i++) {
      const weight = fround(fround(Math.max(column.score[i]!, cut![i]!) - cut![i]!) / spread![i]!);
      sum = fround(sum + fround(fround(column.clipped[i]! * lambda![i]!) * weight));
      weights = fround(weights + weight);
    }
    out[p] = base[p]! + fround(sum / Math.max(weights, FLOOR));
  }
}

/** The place of a pair of models, i <= j, among the rows of a pair score. */
function pairAt(i: number, j: number, models: number): number {
  const [first, second] = i <= j ? [i, j] : [j, i];
  return first * models - (first * (first - 1)) / 2 + (second - first);
}

/** Norm of a product. */
function normal(product: number, table: readonly number[], pair: number): number {
  return fround(fround(product - table[TRIPLE * pair]!) / table[TRIPLE * pair + 1]!);
}

/** The numbers of the printed formula's scores, per pair of models. */
function balancing({ models }: Settings, known: Known): Arguments {
  const pairs = (models.length * (models.length + 1)) / 2;
  const products = rowsOf(known.scores?.product, pairs);
  const sums = rowsOf(known.scores?.likeness, pairs);
  return {
    scalars: { variant: VARIANT.paper, models: models.length },
    columns: {},
    table: products.flatMap(({ least, most }, pair) => {
      const { scores, sum } = sums[pair]!;
      // The denominator of the softmax over the entries, as their mean; that of intra changes no norm.
      return [fround(least), width(least, most), sum > 0 ? fround(scores / sum) : 0];
    }),
  };
}

function balanceColumn(
  inputs: readonly Float32Array[],
  p: number,
  { scalars, table }: Arguments,
  balance: Float32Array,
): void {
  const models = inputs.length;
  for (let i = 0; i < models; i++) {
    const x = inputs[i]![p]!;
    let inter = 0;
    for (let j = 0; j < models; j++) {
      const pair = pairAt(i, j, models);
      const likeness = exp(normal(fround(x * inputs[j]![p]!), table!, pair));
      inter = fround(inter + fround(likeness * table![TRIPLE * pair + 2]!));
    }
    const intra = exp(fround(normal(fround(x * x), table!, pairAt(i, i, models)) * scalars.models!));
    balance[i] = intra * inter;
  }
}

function combineBalanced({ count, base, inputs, out }: Tile, args: Arguments): void {
  const { cut, from, spread, lambda } = args.columns as Record<string, readonly number[]>;
  const balance = new Float32Array(inputs.length);
  for (let p = 0; p < count; p++) {
    balanceColumn(inputs, p, args, balance);
    let sum = 0;
    let weights = 0;
    for (let i = 0; i < inputs.length; i++) {
      if (balance[i]! < cut![i]!) continue;
      const weight = fround(fround(balance[i]! - from![i]!) / spread![i]!);
      sum = fround(sum + fround(fround(inputs[i]![p]! * lambda![i]!) * weight));
      weights = fround(weights + weight);
    }
    out[p] = base[p]! + fround(sum / (weights === 0 ? 1 : weights));
  }
}

/** A score of every pair of models' changes. */
function pairScore(kernel: string, of: (x: number, y: number, args: Arguments, pair: number) => number): Score {
  return {
    per: "pair",
    ranks: 0,
    bind: (settings, known) => balancing(settings, known),
    define({ count, inputs, scores }: ScoreTile, args: Arguments) {
      for (let p = 0; p < count; p++) {
        let pair = 0;
        for (let i = 0; i < inputs.length; i++) {
          for (let j = i; j < inputs.length; j++, pair++) {
            scores[pair]![p] = of(inputs[i]![p]!, inputs[j]![p]!, args, pair);
          }
        }
      }
    },
    kernel: () => kernel,
  };
}
