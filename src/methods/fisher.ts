import type { Arguments, Settings, Tile, TileMethod } from "./method.js";

const { fround } = Math;

/**
 * Fisher merging: the average of the models weighted, entry by entry, with how sure each model is of the entry.
 */
export const fisher: TileMethod = {
  name: "fisher",
  title: "Fisher merging: an average weighted entry by entry with squared gradients",
  paper: {
    title: "Merging Models with Fisher-Weighted Averaging",
    authors: "Matena, Raffel",
    where: "arXiv 2111.09832",
  },
  description: `theta_p = sum_i w_i F_ip theta_ip / sum_i w_i F_ip

F_i is the mean of the squared gradients of log p over examples of model i's task, from a file that
\`mergewright collect fisher\` writes; the recipe names it as the model's \`statistics\`. Before it weighs anything F gets a
floor, so that entries which no example moves are averaged: \`maximum\` raises what is smaller to the floor, \`add\` adds it
everywhere. \`normalize: model\` divides each model's F by its length (L2) over all merged tensors, so that a model with
large gradients does not win everywhere; \`tensor\` by that over each tensor. With a floor that is added the length gets it
too. Where all weights of an entry are zero, and in tensors without statistics, the result is the average by w. Sums run in
recipe order in f32. Equal F give the plain average.`,
  base: "optional",
  models: { min: 1 },
  parameters: {
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "strength of a model" },
    floor: { type: "number", default: 1e-6, min: 0, per: "recipe", meaning: "least value of F" },
    floor_rule: {
      type: "choice",
      default: "maximum",
      per: "recipe",
      meaning: "how the floor is applied",
      choices: { maximum: "max(F, floor)", add: "F + floor" },
    },
    floor_scope: {
      type: "choice",
      default: "all",
      per: "recipe",
      meaning: "whose F gets the floor",
      choices: {
        all: "every model's",
        target: "the first model's only; where no other knows an entry, it keeps its own",
      },
    },
    floor_order: {
      type: "choice",
      default: "before",
      per: "recipe",
      meaning: "whether the floor comes before F is divided by its length",
      choices: { before: "the floor first", after: "division first" },
    },
    normalize: {
      type: "choice",
      default: "model",
      per: "recipe",
      meaning: "by what each model's F is divided",
      choices: {
        none: "by nothing",
        model: "by its length over all merged tensors",
        tensor: "by its length over the tensor",
      },
    },
  },
  dialects: {
    exact: { meaning: "max(F, 1e-6), divided by the model's length", values: {} },
    plain: { meaning: "F as it is, raised to 1e-6", values: { normalize: "none" } },
    mergelm: { meaning: "MergeLM and fusion_bench: F + 1e-6 over its length + 1e-6", values: { floor_rule: "add" } },
    matena: {
      meaning: "the paper's released code: divided by its length, then raised to 1e-6 for the first model only",
      values: { floor_scope: "target", floor_order: "after" },
    },
    mats: { meaning: "the diagonal baseline of MaTS: max(F, 1e-8)", values: { floor: 1e-8, normalize: "none" } },
    regmean: {
      meaning: "RegMean's repository: F + 1e-10",
      values: { floor: 1e-10, floor_rule: "add", normalize: "none" },
    },
  },
  inputs: "weights",
  grain: "tile",
  counters: { unseen: "entries whose weights are all zero, and which are averaged" },
  statistics: { kinds: () => ["fisher"] },

  needs: () => null,

  check({ models }) {
    if (models.some(({ weight }) => Number(weight) > 0)) return null;
    return "all weights are zero, so there is nothing to average; raise one";
  },

  bind({ global, models }: Settings, { collected }): Arguments {
    const floor = Number(global.floor);
    const isAdded = global.floor_rule === "add";
    const isFirst = global.floor_order === "before";
    const lengths =
      collected === undefined || global.normalize === "none"
        ? null
        : global.normalize === "model"
          ? collected.norms
          : collected.tensorNorms;
    const columns = models.map(({ weight }, index) => {
      const length = lengths === null ? 1 : lengths[index]! + (isAdded ? floor : 0);
      const inverse = length > 0 ? 1 / length : 0;
      const own = global.floor_scope === "all" || index === 0 ? floor : 0;
      const mean = 1 / (collected?.counts[index] ?? 1);
      return {
        weight: fround(Number(weight)),
        factor: fround(isFirst ? mean : mean * inverse),
        add: fround(isAdded ? own : 0),
        least: fround(isAdded ? 0 : own),
        scale: fround(Number(weight) * (isFirst ? inverse : 1)),
      };
    });
    const pick = (key: keyof (typeof columns)[number]) => columns.map((column) => column[key]);
    return {
      scalars: { known: collected === undefined ? 0 : 1 },
      columns: {
        weight: pick("weight"),
        factor: pick("factor"),
        add: pick("add"),
        least: pick("least"),
        scale: pick("scale"),
      },
    };
  },

  combine({ count, inputs, extra, out, counters }: Tile, { scalars, columns }: Arguments) {
    const { weight, factor, add, least, scale } = columns as Record<string, readonly number[]>;
    const sums = inputs.map((_, model) => (scalars.known === 0 ? null : extra[`statistics.${model}`]!));
    for (let p = 0; p < count; p++) {
      let above = 0;
      let below = 0;
      for (let i = 0; i < inputs.length; i++) {
        const f = sums[i] === null ? 0 : fround(fround(sums[i]![p]! * factor![i]!) + add![i]!);
        const w = sums[i] === null ? 0 : fround(Math.max(f, least![i]!) * scale![i]!);
        above = fround(above + fround(w * inputs[i]![p]!));
        below = fround(below + w);
      }
      if (below === 0) {
        counters.unseen!++;
        for (let i = 0; i < inputs.length; i++) {
          above = fround(above + fround(weight![i]! * inputs[i]![p]!));
          below = fround(below + weight![i]!);
        }
      }
      out[p] = above / below;
    }
  },

  // Whatever no statistics know is little, such as a head.
  kernel: ({ scalars }) => (scalars.known === 1 ? "fisher" : null),
};
