import type { Arguments, Tile, TileMethod } from "./method.js";

const { abs, fround } = Math;

export const consensus: TileMethod = {
  name: "consensus",
  title: "Task Arithmetic on the entries that at least k models need",
  paper: {
    title: "Localizing Task Information for Improved Model Merging and Compression",
    authors: "Wang et al.",
    where: "arXiv 2405.07813",
  },
  description: `tau = w_1 tau_1 + … + w_n tau_n
m_i = [ |w_i tau_i| > lambda_t |tau - w_i tau_i| ]            (the TALL mask of model i)
theta = theta_0 + lambda tau [ m_1 + … + m_n >= k ]

A model needs an entry if its own change there outweighs, by the factor lambda_t, what the sum would do to it. Entries
needed by one model alone ("selfish") or by none ("catastrophic") fall back to the base. The paper and its code take k = 2,
search lambda_t per model in 0.2 … 0.6 and lambda on validation data; without such data 0.4 and 0.3 stand here, as in Task
Arithmetic. k = 0 is Task Arithmetic itself, to the bit. The larger lambda_t, the fewer entries a model needs. Consensus
over another sum than the plain one (the paper also shows TIES) is not this method.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 0.3, per: "tensor", meaning: "scale of the merged change" },
    lambda_t: {
      type: "number",
      default: 0.4,
      min: 0,
      per: "model",
      meaning: "how many times the rest of the sum a model's change must outweigh",
    },
    k: {
      type: "number",
      default: 2,
      min: 0,
      integer: true,
      per: "tensor",
      meaning: "number of models that must need an entry",
    },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model; negative to subtract its task" },
  },
  dialects: { paper: { meaning: "k 2, the middle of the searched lambda_t, lambda 0.3", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {
    kept: "entries whose summed change is kept",
    dropped: "entries whose summed change too few models need",
  },

  needs: () => null,

  check({ global, models }) {
    if (Number(global.k) <= models.length) return null;
    return `k is ${Number(global.k)} but only ${models.length} models have this tensor, so nothing of it would be kept; lower k`;
  },

  bind({ global, models }): Arguments {
    return {
      scalars: { lambda: fround(Number(global.lambda)), k: Number(global.k) },
      columns: {
        weight: models.map((model) => fround(Number(model.weight))),
        ratio: models.map((model) => fround(Number(model.lambda_t))),
      },
    };
  },

  combine({ count, base, inputs, out, counters }: Tile, { scalars, columns }: Arguments) {
    const { lambda, k } = scalars as { lambda: number; k: number };
    const weights = columns.weight!;
    const ratios = columns.ratio!;
    let kept = 0;
    let dropped = 0;
    for (let p = 0; p < count; p++) {
      let sum = 0;
      for (let i = 0; i < inputs.length; i++) sum = fround(sum + fround(inputs[i]![p]! * weights[i]!));
      let needed = 0;
      for (let i = 0; i < inputs.length; i++) {
        const x = fround(inputs[i]![p]! * weights[i]!);
        if (abs(x) > fround(abs(fround(sum - x)) * ratios[i]!)) needed++;
      }
      // What is not finite reaches the result, so that it is seen.
      const keep = needed >= k || !Number.isFinite(sum);
      if (sum !== 0) {
        if (keep) kept++;
        else dropped++;
      }
      out[p] = base[p]! + fround((keep ? sum : 0) * lambda);
    }
    counters.kept = (counters.kept ?? 0) + kept;
    counters.dropped = (counters.dropped ?? 0) + dropped;
  },

  kernel: () => "consensus",
};
