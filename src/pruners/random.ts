import { DENSITY, isSpared, rescaleParameter, VECTORS } from "./pruner.js";
import type { Pruner } from "./pruner.js";
import type { Rescale } from "../methods/method.js";

export const random: Pruner = {
  name: "random",
  title: "DARE: drop at random and rescale",
  paper: {
    title: "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
    authors: "Yu et al.",
    where: "arXiv 2311.03099",
  },
  description: `m ~ Bernoulli(density) for each entry,   tau' = m tau / density

The paper's drop rate is 1 - density. It works while changes are small (about 0.005) and fails where models moved far.
Masks are a function of seed, model name, tensor name and entry.`,
  parameters: { density: DENSITY, rescale: rescaleParameter("inverse"), vectors: VECTORS },

  cut(values, shape) {
    if (isSpared(values, shape)) return null;
    return { kind: "chance", density: Number(values.density), rescale: values.rescale as Rescale };
  },
};
