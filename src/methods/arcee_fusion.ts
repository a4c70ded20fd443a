import { excess, exp, expm1, log1p } from "../numbers/functions.js";
import type { Arguments, Known, Need, RowMeasure, ScoreTile, Settings, Tile, TileMethod } from "./method.js";

const { abs, floor, fround, max } = Math;
/** Where a row's state has its sums (four lanes each: places 0-3 modulo 4), its largest entry, and epsilon. */
const POWERS = 0;
const SHIFTS = 4;
const DIVERGENCE = 8;
const LARGEST = 12;
const EPSILON = 13;
/** Changes of logarithms up to here are handled without their powers, which would cancel. */
const NEAR = 0.5;
/** Above so many entries mergekit takes the threshold from a sample of as many. */
const SAMPLED = 1_000_000;

export const arceeFusion: TileMethod = {
  name: "arcee_fusion",
  title: "The base, with the entries of another model that matter most",
  paper: null,
  description: `theta = theta_1 where I >= t, else theta_0, tensor by tensor
I   = |theta_1 - theta_0| · KL(softmax(theta_1) || softmax(theta_0))
t   = median + 1.5 (third quartile - first quartile) of I

mergekit's name for the merge of Arcee's models; no paper defines it. The softmaxes run along the last axis (a tensor of
one axis is one row), and one divergence holds for all entries of a row. Quartiles and median are the order statistics at
the places floor(q (entries - 1)), counted from 0 in ascending order, exact over all entries of the tensor; every entry
equal to the threshold is taken from the model.

The divergence is a sum of terms q (e^x (x - 1) + 1), x = log(p / q), which are never negative: computed from the changes
in f32 without cancellation and added in f64, it is off by about a millionth, also for typical changes, where it is
near 1e-9. mergekit subtracts logarithms in the format of the weights, where rounding decides over most rows, and above a
million entries it draws the quartiles from a random sample. Its formula adds 1e-8 to every probability; the dialect
mergekit does, too. A row of one entry has no divergence. Entries that are not finite take no
part in their row's divergence, and such an entry of the model reaches the result.`,
  base: "required",
  models: { min: 1, max: 1 },
  parameters: {
    epsilon: {
      type: "number",
      default: 0,
      min: 0,
      max: 1,
      per: "recipe",
      meaning: "added to every probability of the divergence",
    },
  },
  dialects: {
    exact: { meaning: "the divergence of the softmaxes themselves", values: {} },
    mergekit: {
      meaning: "mergekit's formula, which adds 1e-8, without its rounding and sampling",
      values: { epsilon: 1e-8 },
    },
  },
  inputs: "weights",
  grain: "tile",
  counters: { taken: "entries that change to the model's" },

  quirk(_, { shape }) {
    const entries = shape.reduce((product, size) => product * size, 1);
    const rounding =
      "mergekit computes the divergence of rows in the format of the weights, where rounding decides over most";
    return entries > SAMPLED ? `${rounding}, and takes the threshold from a random sample` : rounding;
  },

  rows({ scalars }: Arguments): RowMeasure {
    return {
      state: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Number.NEGATIVE_INFINITY, scalars.epsilon!],
      steps: [findLargest, sumPowers, sumDivergence],
      kernel: "divergence",
      result: (state, length) => (length > 1 && sumOf(state, POWERS) > 0 ? divergenceOf(state) : 0),
    };
  },

  scores: {
    importance: {
      per: "column",
      ranks: 3,
      bind: ({ global }) => ({ scalars: { epsilon: Number(global.epsilon) }, columns: {} }),
      define({ count, base, inputs, rows, scores }: ScoreTile) {
        for (let p = 0; p < count; p++) scores[0]![p] = importanceOf(base[p]!, inputs[0]![p]!, rows![p]!);
      },
      kernel: () => "arcee_importance",
    },
  },

  needs(_, { scores }): Need | null {
    if (scores !== undefined) return null;
    const quartile = (share: number) => (entries: number) => entries - floor(share * (entries - 1));
    const ranks = [quartile(0.25), quartile(0.5), quartile(0.75)];
    return { statistic: "scores", scope: "tensor", key: "importance", score: "importance", ranks, sum: "none" };
  },

  bind({ global }: Settings, { scores }: Known): Arguments {
    const [first, median, third] = scores?.importance?.rows[0]!.ranked ?? [0, 0, 0];
    const threshold = fround(median! + fround(1.5 * fround(third! - first!)));
    return { scalars: { epsilon: Number(global.epsilon), threshold }, columns: {} };
  },

  combine({ count, base, inputs, rows, out, counters }: Tile, { scalars }: Arguments) {
    let taken = 0;
    for (let p = 0; p < count; p++) {
      // Written so that what is not a number is taken, and reaches the result.
      const isLess = importanceOf(base[p]!, inputs[0]![p]!, rows![p]!) < scalars.threshold!;
      out[p] = isLess ? base[p]! : inputs[0]![p]!;
      if (!isLess && base[p] !== inputs[0]![p]) taken++;
    }
    counters.taken = (counters.taken ?? 0) + taken;
  },

  kernel: () => "arcee_fusion",
};

function importanceOf(base: number, entry: number, divergence: number): number {
  return fround(abs(fround(entry - base)) * divergence);
}

type Step = RowMeasure["steps"][number];

/** Visits the entries that are finite in both tensors. */
function eachFinite(
  base: Float32Array,
  model: Float32Array,
  use: (entry: number, change: number, place: number) => void,
): void {
  for (const [place, entry] of base.entries()) {
    const change = fround(model[place]! - entry);
    if (Number.isFinite(entry) && Number.isFinite(change)) use(entry, change, place);
  }
}

function sumOf(state: Float64Array, lanes: number): number {
  return state[lanes]! + state[lanes + 1]! + (state[lanes + 2]! + state[lanes + 3]!);
}

/** Beyond f32, as where an entry of the model exceeds the base's largest by 88, it counts as infinite. */
function divergenceOf(state: Float64Array): number {
  const sum = fround(sumOf(state, DIVERGENCE));
  return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum;
}

const findLargest: Step = (base, model, state) => {
  eachFinite(base, model, (entry) => {
    state[LARGEST] = max(state[LARGEST]!, entry);
  });
};

const sumPowers: Step = (base, model, state, at) => {
  eachFinite(base, model, (entry, change, place) => {
    const lane = (at + place) & 3;
    const power = exp(fround(entry - state[LARGEST]!));
    state[POWERS + lane]! += power;
    // Of powers of their own where the change is large: the factor could be infinite.
    const isLarge = abs(change) > NEAR;
    const moved = isLarge ? exp(fround(model[place]! - state[LARGEST]!)) - power : power * expm1(change);
    state[SHIFTS + lane]! += fround(moved);
  });
};

const sumDivergence: Step = (base, model, state, at) => {
  const powers = sumOf(state, POWERS);
  const shift = log1p(fround(sumOf(state, SHIFTS) / powers));
  const share = fround(1 / powers);
  const epsilon = fround(state[EPSILON]!);
  eachFinite(base, model, (entry, change, place) => {
    const x = fround(change - shift);
    const under = fround(entry - state[LARGEST]!);
    const q = fround(exp(under) * share);
    const isLarge = abs(x) > NEAR;
    const p = isLarge ? fround(exp(fround(under + x)) * share) : q;
    const raised = fround(q + epsilon);
    let term: number;
    if (state[EPSILON] === 0) term = isLarge ? fround(p * fround(x - 1)) + q : q * excess(x);
    else {
      const ratio = isLarge ? fround(p - q) / raised : expm1(x) * fround(q / raised);
      term = raised * excess(log1p(fround(ratio)));
    }
    state[DIVERGENCE + ((at + place) & 3)]! += fround(term);
  });
};
