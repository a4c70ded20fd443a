import type { Arguments, Tile, TileMethod } from "./method.js";

const { abs, fround } = Math;

/** What mergekit divides by at least. */
const FLOOR = 1e-6;

export const nearswap: TileMethod = {
  name: "nearswap",
  title: "The base, moved towards another model where the two are near",
  paper: null,
  description: `theta = theta_0 + c(tau_1),   c(x) = x where |x| <= t, else t with the sign of x

Written by its authors as theta = s theta_1 + (1 - s) theta_0 with s = min(1, t / |theta_1 - theta_0|), which is the same:
an entry that differs from the base by at most t is taken from the model, any other moves by t towards it. mergekit
divides by at least 1e-6, so below that difference, and for t below it, an entry moves by (t / 1e-6) of its difference
instead; \`floor\` is that number.`,
  base: "required",
  models: { min: 1, max: 1 },
  parameters: {
    t: {
      type: "number",
      default: 0.001,
      min: 0,
      per: "tensor",
      meaning: "largest change of an entry, in units of the weights",
    },
    floor: {
      type: "number",
      default: 0,
      min: 0,
      per: "recipe",
      meaning: "smallest difference that t is divided by; matters only for a smaller t",
    },
  },
  dialects: {
    exact: { meaning: "every entry moves by at most t, and by its whole difference where that is less", values: {} },
    mergekit: { meaning: "mergekit's nearswap: t is divided by at least 1e-6", values: { floor: FLOOR } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  quirk({ global }) {
    if (Number(global.t) >= FLOOR || Number(global.floor) === FLOOR) return null;
    return "with t below 1e-6, mergekit's nearswap divides by 1e-6 instead of a smaller difference (floor: 1e-6)";
  },

  bind({ global }): Arguments {
    const t = fround(Number(global.t));
    const floor = fround(Number(global.floor));
    return { scalars: t < floor ? { t, floor, slope: fround(t / floor) } : { t, floor: 0, slope: 0 }, columns: {} };
  },

  combine({ count, base, inputs, out }: Tile, { scalars }: Arguments) {
    const { t, floor, slope } = scalars as { t: number; floor: number; slope: number };
    const changes = inputs[0]!;
    for (let p = 0; p < count; p++) {
      const x = changes[p]!;
      const magnitude = abs(x);
      const cut = magnitude > t ? (x < 0 ? -t : t) : x;
      out[p] = base[p]! + (magnitude < floor ? fround(x * slope) : cut);
    }
  },

  kernel: () => "nearswap",
};
