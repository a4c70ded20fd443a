import { average } from "./average.js";
import type { Arguments, TileMethod } from "./method.js";

const { fround } = Math;

export const passthrough: TileMethod = {
  name: "passthrough",
  title: "One model's tensors, scaled",
  paper: null,
  description: `theta = s theta_1

One model per tensor, multiplied by \`scale\`: 1 copies every entry, 0 switches a tensor off. Scaling o_proj and down_proj
of repeated layers by a pattern damps what they add to the residual stream.`,
  base: "unused",
  models: { min: 1, max: 1 },
  parameters: { scale: { type: "number", default: 1, per: "model", meaning: "factor of every entry" } },
  dialects: { mergekit: { meaning: "mergekit's passthrough", values: {} } },
  inputs: "weights",
  grain: "tile",
  counters: {},

  needs: () => null,

  // An average of one: its kernel and its definition serve.
  bind: ({ models }): Arguments => ({
    scalars: { divisor: 1 },
    columns: { weight: models.map((model) => fround(Number(model.scale))) },
  }),
  combine: (tile, args) => average.combine(tile, args),
  kernel: (args) => average.kernel(args),
};
