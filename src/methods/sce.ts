import type { Arguments, Known, Need, ScoreTile, Settings, Tile, TileMethod } from "./method.js";

const { fround } = Math;

export const sce: TileMethod = {
  name: "sce",
  title: "SCE: select what varies, calculate coefficients, erase minority signs",
  paper: {
    title: "FuseChat: Knowledge Fusion of Chat Models",
    authors: "Wan et al.",
    where: "arXiv 2408.07990",
  },
  description: `tau_i = theta_i - theta_0, tensor by tensor
select     v = population variance of tau_1 … tau_n;  tau_i = 0 where v < the k-th largest v,
           k = floor(select_topk · number of non-zero v)
calculate  c_i = mean of tau_i^2 / sum over the models of that mean
erase      s = sign of tau_1 + … + tau_n (a zero sum: positive);  m_i = 1 where sign(tau_i) = s, else 0
theta      = theta_0 + sum of c_i m_i tau_i / sum of c_i m_i

Select. Every entry whose variance equals the k-th largest is kept. k = 0 (few entries, or a single model, whose variance
is zero) selects nothing, and the tensor stays the base's. select_topk 1 selects everything. The variance is that of the
distances from the first model's change, so that equal changes have the variance 0 exactly.

Calculate. The means are over all entries of the tensor, after selection, in f64. Entries that are not finite are left
out of them; they still reach the result.

Coefficients of small changes. mergekit gives all models the same coefficient where the means sum to less than 1e-6,
which holds for most fine-tuned models (changes of 1e-3 and less), so that nothing is calculated there. The paper's
formula has no such rule, nor has the default here; the dialect mergekit has it.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    select_topk: {
      type: "number",
      default: 1,
      min: 0,
      max: 1,
      per: "tensor",
      meaning: "share of the entries with a non-zero variance that is kept",
    },
    small: {
      type: "choice",
      default: "weighted",
      per: "recipe",
      choices: {
        weighted: "coefficients by the formula, however small the changes",
        uniform: "equal coefficients where the mean squares sum to less than 1e-6, and no divisor below 1e-6",
      },
      meaning: "the coefficients of small changes",
    },
  },
  dialects: {
    paper: { meaning: "the paper's formula", values: {} },
    mergekit: { meaning: "mergekit 0.1.5: equal coefficients for small changes", values: { small: "uniform" } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  quirk({ global }) {
    if (global.small === "uniform") return null;
    return "mergekit gives all models equal coefficients where their mean squared changes sum to less than 1e-6";
  },

  scores: {
    variance: {
      per: "column",
      ranks: 1,
      bind: () => ({ scalars: {}, columns: {} }),
      define({ count, inputs, scores }: ScoreTile) {
        for (let p = 0; p < count; p++) scores[0]![p] = varianceOf(inputs, p);
      },
      kernel: () => "sce_variance",
    },
    selected: {
      per: "model",
      ranks: 0,
      bind: (settings, known) => ({ scalars: selection(settings, known), columns: {} }),
      define({ count, inputs, scores }: ScoreTile, { scalars }: Arguments) {
        for (let p = 0; p < count; p++) {
          const dropped = isDropped(inputs, p, scalars);
          for (let i = 0; i < inputs.length; i++) scores[i]![p] = dropped ? 0 : inputs[i]![p]!;
        }
      },
      kernel: () => "sce_selected",
      squares: "sce_squares",
    },
  },

  needs({ global }, { scores }): Need | null {
    const share = Number(global.select_topk);
    if (share < 1 && scores?.variance === undefined) {
      const rank = (_: number, positive: number) => Math.floor(share * positive);
      return { statistic: "scores", scope: "tensor", key: "variance", score: "variance", ranks: [rank], sum: "none" };
    }
    if (scores?.energy === undefined) {
      const need = { statistic: "scores", scope: "tensor", key: "energy", score: "selected" } as const;
      return { ...need, ranks: [], sum: "squares", range: false };
    }
    return null;
  },

  bind(settings: Settings, known: Known): Arguments {
    const uniform = settings.global.small === "uniform";
    const rows = known.scores?.energy?.rows ?? settings.models.map(() => ({ sum: 1, scores: 1 }));
    const means = rows.map(({ sum, scores }) => sum / Math.max(1, scores));
    const total = means.reduce((sum, mean) => sum + mean, 0);
    const equal = uniform ? total < 1e-6 : total === 0;
    return {
      scalars: { ...selection(settings, known), floor: uniform ? fround(1e-6) : 0 },
      columns: { coefficient: means.map((mean) => fround(equal ? 1 / means.length : mean / total)) },
    };
  },

  combine({ count, base, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const { floor } = scalars as Record<string, number>;
    const coefficients = columns.coefficient!;
    for (let p = 0; p < count; p++) {
      const dropped = isDropped(inputs, p, scalars);
      let sum = 0;
      for (let i = 0; i < inputs.length; i++) sum = fround(sum + inputs[i]![p]!);
      const positive = dropped || sum >= 0;
      let merged = 0;
      let weight = 0;
      for (let i = 0; i < inputs.length; i++) {
        const x = dropped ? 0 : inputs[i]![p]!;
        // Written so that a NaN, which has no sign, is taken in every case.
        if (!(positive ? x < 0 : x > 0)) merged = fround(merged + fround(x * coefficients[i]!));
        if (positive ? x > 0 : x < 0) weight = fround(weight + coefficients[i]!);
      }
      weight = Math.max(weight, floor!);
      out[p] = base[p]! + fround(merged / (weight === 0 ? 1 : weight));
    }
  },

  kernel: () => "sce",
};

function selection({ global }: Settings, { scores }: Known): { select: number; threshold: number } {
  const select = Number(global.select_topk) < 1;
  return { select: select ? 1 : 0, threshold: select ? (scores?.variance?.rows[0]!.ranked[0] ?? 0) : 0 };
}

function isDropped(inputs: readonly Float32Array[], p: number, scalars: Arguments["scalars"]): boolean {
  return scalars.select === 1 && varianceOf(inputs, p) < scalars.threshold!;
}

/**
 * n^3 times the population variance of a column's n entries, from the distances from its first entry. Nothing is divided,
 * so columns of the same entries in another order have the same variance wherever f32 holds their sums.
 */
function varianceOf(inputs: readonly Float32Array[], p: number): number {
  const origin = inputs[0]![p]!;
  let sum = 0;
  for (let i = 0; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! - origin));
  let squares = 0;
  for (let i = 0; i < inputs.length; i++) {
    const distance = fround(fround(fround(inputs[i]![p]! - origin) * inputs.length) - sum);
    squares = fround(squares + fround(distance * distance));
  }
  return squares;
}
