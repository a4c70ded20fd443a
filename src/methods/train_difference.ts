import { twoModels } from "./add_difference.js";
import type { Arguments, Tile, TileMethod } from "./method.js";

const { abs, fround } = Math;

export const trainDifference: TileMethod = {
  name: "train_difference",
  title: "Base plus the difference of two other models, weighted by how far the base is from it",
  paper: null,
  description: `theta = theta_0 + lambda g s (theta_A - theta_B),   models: [A, B]
s = |theta_A - theta_0| / (|theta_A - theta_0| + |theta_A - theta_B|),   0 where both distances are

Like add_difference, but an entry in which the base already agrees with A stays, and one in which the base lies far from A
takes more: as if the base were trained on what A learned since B. Follows supermerger's "train difference", which writes
its models A, B, C (here: base, A, B) and multiplies by g = 1.8 (\`gain\`). Tools that share the name use other weights.`,
  base: "required",
  models: { min: 2, max: 2 },
  parameters: {
    lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the difference" },
    gain: { type: "number", default: 1.8, per: "recipe", meaning: "constant factor, supermerger's 1.8" },
  },
  dialects: { supermerger: { meaning: "supermerger's rule", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  check: ({ models }) => twoModels(models.length),

  bind: ({ global }): Arguments => ({
    scalars: { scale: fround(Number(global.lambda) * Number(global.gain)) },
    columns: {},
  }),

  combine({ count, base, inputs, out }: Tile, { scalars }: Arguments) {
    const scale = scalars.scale!;
    const [plus, minus] = inputs as [Float32Array, Float32Array];
    for (let p = 0; p < count; p++) {
      const difference = fround(plus[p]! - minus[p]!);
      const distance = abs(plus[p]!);
      const sum = fround(distance + abs(difference));
      const share = sum === 0 ? 0 : fround(distance / sum);
      out[p] = base[p]! + fround(fround(difference * share) * scale);
    }
  },

  kernel: () => "train_difference",
};
