/**
 * mergekit's twenty methods as its recipes name them: how many models, whether a base, which parameters of which type,
 * required or with which default; and what the same is called in our catalogue. Defaults are mergekit 0.1.5's.
 */

import type { Method, ParameterValue } from "../../methods/method.js";

export type MergekitType = "float" | "int" | "bool";

export interface MergekitParameter {
  readonly type: MergekitType;
  /** `model`: of one model, of a slice or of all. `tensor`: never of one model. */
  readonly per: "model" | "tensor";
  /** `null`: required. */
  readonly default: number | boolean | null;
  /** Has no effect on the result; neither has it in mergekit. */
  readonly idle?: true;
}

export interface MergekitMethod {
  /** Names in our catalogue, the first that is there. */
  readonly native: readonly string[];
  /** `member`: a base is a model like the others. */
  readonly base: "required" | "optional" | "member";
  /** Models beside the base; with `member` all of them. */
  readonly models: { readonly min: number; readonly max?: number };
  readonly parameters: Readonly<Record<string, MergekitParameter>>;
}

const weight: MergekitParameter = { type: "float", per: "model", default: null };
const flag = (value: boolean): MergekitParameter => ({ type: "bool", per: "tensor", default: value });
const number = (value: number | null): MergekitParameter => ({ type: "float", per: "tensor", default: value });
const ofModel = (value: number): MergekitParameter => ({ type: "float", per: "model", default: value });
const idle: MergekitParameter = { type: "bool", per: "tensor", default: false, idle: true };

/** The family that adds sparse task vectors. */
function arithmetic(
  name: string,
  { normalize, rescale, ...more }: { normalize: boolean; rescale: boolean; gamma?: number; epsilon?: number },
): MergekitMethod {
  const sparse = name !== "task_arithmetic";
  const own = Object.entries(more).map(([key, value]): [string, MergekitParameter] => [key, ofModel(value)]);
  return {
    native: [name],
    base: "required",
    models: { min: 1 },
    parameters: {
      weight,
      density: sparse ? ofModel(1) : { ...ofModel(1), idle: true },
      normalize: flag(normalize),
      rescale: sparse ? flag(rescale) : idle,
      lambda: number(1),
      int8_mask: idle,
      ...Object.fromEntries(own),
    },
  };
}

const TWO: MergekitMethod["models"] = { min: 1, max: 1 };

export const MERGEKIT_METHODS: Readonly<Record<string, MergekitMethod>> = {
  linear: {
    native: ["linear", "average"],
    base: "member",
    models: { min: 1 },
    parameters: { weight, normalize: flag(true) },
  },
  slerp: { native: ["slerp"], base: "required", models: TWO, parameters: { t: number(null) } },
  nuslerp: {
    native: ["nuslerp"],
    base: "optional",
    models: { min: 2, max: 2 },
    parameters: { weight, nuslerp_row_wise: flag(false), nuslerp_flatten: flag(true) },
  },
  multislerp: {
    native: ["multislerp"],
    base: "optional",
    models: { min: 1 },
    parameters: { weight, normalize_weights: flag(true), eps: number(1e-8) },
  },
  karcher: {
    native: ["karcher"],
    base: "member",
    models: { min: 1 },
    parameters: { max_iter: { type: "int", per: "tensor", default: 10 }, tol: number(1e-5) },
  },
  passthrough: {
    native: ["passthrough"],
    base: "member",
    models: TWO,
    parameters: { scale: ofModel(1) },
  },
  task_arithmetic: arithmetic("task_arithmetic", { normalize: false, rescale: false }),
  ties: arithmetic("ties", { normalize: true, rescale: false }),
  dare_linear: arithmetic("dare_linear", { normalize: false, rescale: true }),
  dare_ties: arithmetic("dare_ties", { normalize: false, rescale: true }),
  breadcrumbs: arithmetic("breadcrumbs", { normalize: false, rescale: false, gamma: 0.01 }),
  breadcrumbs_ties: arithmetic("breadcrumbs_ties", { normalize: false, rescale: false, gamma: 0.01 }),
  della: arithmetic("della", { normalize: true, rescale: true, epsilon: 0.15 }),
  della_linear: arithmetic("della_linear", { normalize: false, rescale: true, epsilon: 0.15 }),
  sce: {
    native: ["sce"],
    base: "required",
    models: { min: 1 },
    parameters: { select_topk: number(1), int8_mask: idle },
  },
  model_stock: {
    native: ["model_stock"],
    base: "required",
    models: { min: 2 },
    parameters: { filter_wise: flag(false) },
  },
  nearswap: { native: ["nearswap"], base: "required", models: TWO, parameters: { t: number(null) } },
  arcee_fusion: { native: ["arcee_fusion"], base: "required", models: TWO, parameters: {} },
  ram: { native: ["ram"], base: "required", models: { min: 1 }, parameters: { epsilon: number(1e-5) } },
  ramplus_tl: {
    native: ["ramplus_tl"],
    base: "required",
    models: { min: 1 },
    parameters: { epsilon: number(1e-5), r: number(0.1), alpha: number(0.2) },
  },
};

/** Every parameter that some method of mergekit reads: one of another method is ignored there, and told here. */
export const MERGEKIT_PARAMETERS: ReadonlySet<string> = new Set(
  Object.values(MERGEKIT_METHODS).flatMap(({ parameters }) => Object.keys(parameters)),
);

/** Where a method of ours says with a choice what mergekit says with a flag. */
export interface Wording {
  readonly parameter: string;
  readonly value: (given: number | boolean) => ParameterValue;
}

const isSet = (given: number | boolean) => given !== false && given !== 0;

/** `rescale` is to the old L1 norm. `normalize` chooses between mean and sum of what agrees; `null`: the method does not know it. */
export function wordingOf(method: Method, name: string): Wording | null {
  const same = method.parameters[name];
  if (same?.type === "flag") return { parameter: name, value: isSet };
  if (name === "rescale" && same?.type === "choice") {
    return { parameter: name, value: (given) => (isSet(given) ? "norm" : "none") };
  }
  if (same !== undefined) return { parameter: name, value: Number };
  const merge = method.parameters["merge"];
  if (name === "normalize" && merge?.type === "choice") {
    return { parameter: "merge", value: (given) => (isSet(given) ? "mean" : "sum") };
  }
  return null;
}
