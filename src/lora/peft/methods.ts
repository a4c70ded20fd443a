/** The combinations of PEFT's add_weighted_adapter as methods that a recipe over adapters can name under the dialect peft. */
import type { Method, Parameter } from "../../methods/method.js";
import type { Recipe } from "../../recipe/recipe.js";
import { cat } from "../methods.js";

export const PEFT = "peft";

/** What of the catalogue PEFT's words mean: method, its parameters, and pruning before it. */
type Meaning = (density: number, majority: string) => Readonly<Record<string, unknown>>;

const total = (majority: string) => (majority === "frequency" ? "count" : "mass");

export const MEANINGS: Readonly<Record<string, Meaning>> = {
  linear: () => ({ method: "task_arithmetic", parameters: { lambda: 1 } }),
  ties: (density, majority) => ({ method: "ties/peft", parameters: { density, elect: total(majority) } }),
  magnitude_prune: (density) => ({
    method: "ties/peft",
    parameters: { density, elect: "none", merge: "sum" },
  }),
  dare_linear: (density) => ({
    method: "task_arithmetic",
    parameters: { lambda: 1 },
    prune: { by: "random", density },
  }),
  dare_ties: (density, majority) => ({
    method: "ties/peft",
    parameters: { select: "none", elect: total(majority) },
    prune: { by: "random", density },
  }),
};

const parameters: Readonly<Record<string, Parameter>> = {
  weight: { type: "number", default: 1, per: "model", meaning: "PEFT's weights" },
  density: { type: "number", default: 0.5, min: 0, max: 1, per: "recipe", meaning: "share of entries kept" },
  majority: {
    type: "choice",
    default: "total",
    choices: { total: "sign of the sum", frequency: "sign of the sum of signs" },
    per: "recipe",
    meaning: "PEFT's majority_sign_method",
  },
};

const clamp: Readonly<Record<string, Parameter>> = {
  svd_clamp: {
    type: "number",
    default: 0,
    min: 0,
    max: 1,
    per: "recipe",
    meaning: "PEFT's svd_clamp: the quantile of the entries of U·S and Vᵀ at which they are cut off; 0: none",
  },
};

/** Declarations alone: they are carried out here, and never reach the engine. */
export const peftMethods: readonly Method[] = [
  declare("cat", "PEFT's cat: stacked factors", { weight: parameters["weight"]! }),
  declare("svd", "PEFT's svd: the sum at a rank", { weight: parameters["weight"]!, ...clamp }),
  ...Object.keys(MEANINGS).flatMap((name) => [
    declare(name, `PEFT's ${name}, on A and on B`, parameters),
    ...(name === "linear"
      ? []
      : [declare(`${name}_svd`, `PEFT's ${name}, on the updates, then a rank`, { ...parameters, ...clamp })]),
  ]),
];

function declare(name: string, title: string, own: Readonly<Record<string, Parameter>>): Method {
  return {
    ...cat,
    name,
    title,
    parameters: own,
    dialects: { [PEFT]: { meaning: "as PEFT 0.21 computes it", values: {} } },
  };
}

export function isPeft({ dialect, method }: Recipe): boolean {
  return dialect === PEFT && peftMethods.includes(method);
}
