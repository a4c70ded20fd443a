import type { Arguments, Tile, TileMethod } from "./method.js";

const { abs, fround } = Math;

export const magmax: TileMethod = {
  name: "magmax",
  title: "Base plus the change of largest magnitude, entry by entry",
  paper: {
    title: "MagMax: Leveraging Model Merging for Seamless Continual Learning",
    authors: "Marczak et al.",
    where: "arXiv 2407.06322",
  },
  description: `theta = theta_0 + lambda w_j tau_j,   j = argmax over i of |w_i tau_i|, for each entry

No trimming and no election: the model that moved an entry furthest decides it. Of equal magnitudes the first model in
the recipe wins. The paper fine-tunes the models one after another, each from the last, which is where it works best; the
task vectors are then taken from the common start all the same. Its lambda is searched on validation data.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the merged change" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model, counted before the comparison" },
  },
  dialects: { paper: { meaning: "equal weights, lambda 1", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind({ global, models }): Arguments {
    return {
      scalars: { lambda: fround(Number(global.lambda)) },
      columns: { weight: models.map((model) => fround(Number(model.weight))) },
    };
  },

  combine({ count, base, inputs, out }: Tile, { scalars, columns }: Arguments) {
    const lambda = scalars.lambda!;
    const weights = columns.weight!;
    for (let p = 0; p < count; p++) {
      let largest = fround(inputs[0]![p]! * weights[0]!);
      for (let i = 1; i < inputs.length; i++) {
        const x = fround(inputs[i]![p]! * weights[i]!);
        if (abs(x) > abs(largest) || Number.isNaN(x)) largest = x;
      }
      out[p] = base[p]! + fround(largest * lambda);
    }
  },

  kernel: () => "magmax",
};
