/**
 * The contract of a pruner: a step before a method that makes some entries of every model's change zero. Its declaration
 * says what a recipe may set; `cut` turns the values into one of three plain rules, which are all the engine knows.
 */
import type { BandCut, Cut, Paper, Parameter, Rescale, Values } from "../methods/method.js";

export interface Pruner {
  readonly name: string;
  /** One line. */
  readonly title: string;
  readonly paper: Paper | null;
  readonly description: string;
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** Errors in the values that no single parameter's range can express. */
  check?(values: Values): string | null;
  /** What is cut from a tensor of this shape, or `null`: nothing. */
  cut(values: Values, shape: readonly number[]): Cut | null;
}

export const DENSITY: Parameter = {
  type: "number",
  default: 0.5,
  min: 0,
  max: 1,
  per: "model",
  meaning: "share of entries kept; 1 prunes nothing",
};

export const VECTORS: Parameter = {
  type: "choice",
  default: "prune",
  per: "recipe",
  choices: { prune: "pruned like others", keep: "kept whole" },
  meaning: "tensors of less than two dimensions: biases, norms",
};

export function rescaleParameter(rule: Rescale): Parameter {
  return {
    type: "choice",
    default: rule,
    per: "recipe",
    choices: {
      none: "not at all",
      inverse: "by 1 / the probability or share of being kept",
      norm: "to the old L1 norm of each tensor",
    },
    meaning: "how survivors are scaled",
  };
}

export const SCOPE: Parameter = {
  type: "choice",
  default: "tensor",
  per: "recipe",
  choices: {
    tensor: "within each tensor",
    layer: "within each layer; outside the layers within the embeddings, or one module",
    model: "over a model's whole change",
  },
  meaning: "over which entries magnitudes are ranked",
};

/** What all pruners agree on: nothing is cut at density 1, nor from a vector that is to be kept. */
export function isSpared({ density, vectors }: Values, shape: readonly number[]): boolean {
  return Number(density) >= 1 || (vectors === "keep" && shape.length < 2);
}

/**
 * The ranks that a band keeps of so many entries: `above` are dropped as too large, the `within` next are kept. The
 * products are IEEE doubles, cut to whole numbers.
 */
export function bandRanks({ density, gamma, least }: BandCut, entries: number): { above: number; within: number } {
  const within = density <= 0 ? 0 : Math.min(entries, Math.max(least, Math.trunc(density * entries)));
  return { above: Math.min(Math.trunc(gamma * entries), entries - within), within };
}

export type CutScope = BandCut["scope"];

/** Over which entries the cuts of a plan's tensors need something known; `null`: they need nothing. */
export function cutScope(cuts: Iterable<Cut | null>): CutScope | null {
  let scope: CutScope | null = null;
  for (const cut of cuts) {
    if (cut?.kind === "band") return cut.scope;
    if (cut?.rescale === "norm") scope = "tensor";
  }
  return scope;
}

/** Whether a cut looks at the magnitudes of whole rows. */
export function ranksRows(cut: Cut, shape: readonly number[]): boolean {
  return cut.kind === "rows" && cut.drop === "magnitude" && shape.length > 1;
}

/** Entries of a row: of the last axis, once a tensor is seen as a matrix [first axis, all others]. */
export function rowLength(shape: readonly number[]): number {
  return shape.slice(shape.length < 2 ? 0 : 1).reduce((product, size) => product * size, 1);
}
