/**
 * The combinations of PEFT 0.21's add_weighted_adapter, for parity with adapters that were made by it. `linear`, `ties`,
 * `dare_linear`, `dare_ties` and `magnitude_prune` merge the factors A and B separately, which leaves cross terms B_j A_i
 * in the product; the `_svd` forms merge the updates and cut the result to a rank. What PEFT calls by the name of a method
 * is that method of the catalogue under PEFT's rules, so nothing is computed here a second time. How far the result is
 * from Σ weight·ΔW is measured and told.
 */
import { findMethod } from "../methods/catalogue.js";
import type { Method, Parameter } from "../methods/method.js";
import { NO_BASE } from "../recipe/adapters.js";
import { parseRecipe } from "../recipe/native.js";
import type { Recipe } from "../recipe/recipe.js";
import { readFactors } from "../adapters/adapter.js";
import type { Factors } from "../adapters/adapter.js";
import { defect } from "../adapters/defect.js";
import { mergeInFull } from "./by_method.js";
import { setsOf } from "./sets.js";
import { cutoffOf, refuseGradients, weightsOf, workOf } from "./by_sum.js";
import type { Given, Updates } from "./given.js";
import type { SharedModule } from "./gather.js";
import { cat, svd } from "./methods.js";
import { heldTensor } from "./merging.js";
import type { MadeTensor } from "./merging.js";
import { recompress } from "./recompress.js";
import type { Recompressed } from "./recompress.js";
import { concatenate } from "./low_rank.js";
import type { LowRank, Term } from "./low_rank.js";
import { readTerms, refactor } from "./work.js";

export const PEFT = "peft";

/** What of the catalogue PEFT's words mean: method, its parameters, and pruning before it. */
type Meaning = (density: number, majority: string) => Readonly<Record<string, unknown>>;

const total = (majority: string) => (majority === "frequency" ? "count" : "mass");

const MEANINGS: Readonly<Record<string, Meaning>> = {
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

/** Declarations alone: they are carried out here, and never reach the engine. */
export const peftMethods: readonly Method[] = [
  declare("cat", "PEFT's cat: stacked factors", { weight: parameters["weight"]! }),
  declare("svd", "PEFT's svd: the sum at a rank", { weight: parameters["weight"]! }),
  ...Object.keys(MEANINGS).flatMap((name) => [
    declare(name, `PEFT's ${name}, on A and on B`, parameters),
    ...(name === "linear" ? [] : [declare(`${name}_svd`, `PEFT's ${name}, on the updates, then a rank`, parameters)]),
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

export async function updatesByPeft(given: Given): Promise<Updates> {
  refuseGradients(given.asked.recipe);
  refuseWhatPeftDrops(given);
  const name = given.asked.recipe.method.name;
  const [plain, isSvd] = name.endsWith("_svd") ? [name.slice(0, -4), true] : [name, name === svd.name];
  const updates =
    plain === cat.name || plain === svd.name
      ? await sums(given, plain === svd.name)
      : isSvd
        ? await onUpdates(given, plain)
        : await onFactors(given, plain);
  const distance = await distanceFromSum(given, updates);
  const percent = (100 * distance).toPrecision(3);
  const warning =
    `PEFT's ${name}: the merged update is ${percent} % away from the weighted sum of the updates (relative, Frobenius)` +
    (isSvd || plain === cat.name
      ? ""
      : "; it merges A and B separately, so B_j A_i of different adapters appear in it");
  return { updates, space: "peft", distance, warnings: [warning] };
}

function refuseWhatPeftDrops({ adapters, modules }: Given): void {
  for (const [index, { label, config }] of adapters.entries()) {
    const parts = modules.map(({ parts: all }) => all[index] ?? null);
    const dropped = parts.some((part) => part?.magnitude != null)
      ? "the magnitudes of DoRA"
      : parts.some((part) => part?.bias != null)
        ? "lora_bias"
        : config.fields.use_rslora
          ? "the scaling of rsLoRA"
          : null;
    if (dropped === null) continue;
    throw defect(
      "adapter/kind",
      `PEFT gets ${dropped} wrong when it merges adapters, so there is nothing to be equal to`,
      {
        where: { file: label },
        advice: "leave out the dialect peft",
      },
    );
  }
}

/** PEFT's rank: the one asked for, else the largest. */
function rankOf(given: Given): number {
  return (
    given.asked.wish.rank ??
    Math.max(...given.adapters.flatMap(({ lora }) => [...lora.values()].map(({ rank }) => rank)))
  );
}

async function sums(given: Given, isSvd: boolean): Promise<Recompressed[][]> {
  const { algebra } = given.platform;
  const updates: Recompressed[][] = [];
  for (const module of given.modules) {
    const experts = await termsOf(given, module);
    const scalings = module.parts.flatMap((part) => part?.scaling ?? []);
    updates.push(
      experts.map((terms) =>
        isSvd
          ? recompress(algebra, terms, { ...cutoffOf(given), rank: rankOf(given) })
          : {
              ...concatenate(roundedTwice(terms, scalings)),
              error: 0,
              norm: recompress(algebra, terms, { rank: 1 }).norm,
            },
      ),
    );
  }
  return updates;
}

/** PEFT multiplies A by the weight and then by the scaling, and rounds both times. */
function roundedTwice(terms: readonly Term[], scalings: readonly number[]): Term[] {
  const { fround } = Math;
  return terms.map(({ a, b, scale }, index) => {
    const scaling = scalings[index]!;
    const weight = fround(scale / scaling);
    const data = a.data.map((value) => fround(value * weight) * fround(scaling));
    return { a: { ...a, data }, b, scale: 1 };
  });
}

function termsOf(given: Given, module: SharedModule): Promise<Term[][]> {
  return readTerms(workOf(given, module, weightsOf(given.asked.recipe, module), { do: "sum", cutoff: null }));
}

/** The catalogue's recipe over the given models, each with a weight. */
function recipeFor(
  { asked: { recipe } }: Given,
  name: string,
  weights: readonly number[],
  only: readonly number[],
): Recipe {
  const { density, majority } = recipe.parameters;
  const value = (setting: typeof density) => setting?.value;
  const text = JSON.stringify({
    ...MEANINGS[name]!(Number(value(density)), String(value(majority))),
    base: NO_BASE,
    models: only.map((model) => ({ model: recipe.models[model]!.model, weight: weights[model] })),
    seed: recipe.seed,
  });
  return parseRecipe(text, { methods: [findMethod("ties")!, findMethod("task_arithmetic")!] });
}

/** Modules whose merge is one and the same: of the same adapters, with the same weights. */
function groupsOf(given: Given, scaled: boolean): { modules: number[]; weights: number[]; only: number[] }[] {
  const groups = new Map<string, { modules: number[]; weights: number[]; only: number[] }>();
  for (const [index, module] of given.modules.entries()) {
    const plain = weightsOf(given.asked.recipe, module);
    const weights = plain.map((weight, model) => weight * (scaled ? (module.parts[model]?.scaling ?? 0) : 1));
    const only = [...weights.keys()].filter((model) => module.parts[model] !== null);
    const key = JSON.stringify([weights, only]);
    const group = groups.get(key) ?? { modules: [], weights, only };
    group.modules.push(index);
    groups.set(key, group);
  }
  return [...groups.values()];
}

async function onFactors(given: Given, name: string): Promise<Recompressed[][]> {
  const { modules, platform, adapters } = given;
  const merged = new Map<string, Float32Array>();
  for (const { modules: own, weights, only } of groupsOf(given, true)) {
    const held = new Map<string, Factors>();
    for (const index of own) {
      const ranks = new Set(only.map((model) => modules[index]!.parts[model]!.rank));
      if (ranks.size > 1) throw unequalRanks(given, index);
      for (const model of only) {
        const factors = await readFactors(adapters[model]!, modules[index]!.parts[model]!);
        for (const [expert, pair] of factors.entries()) held.set(`${model} ${index}.${expert}`, pair);
      }
    }
    for (const side of ["a", "b"] as const) {
      // The sign goes to one side only, or two would cancel.
      const roots = weights.map((weight) => Math.sqrt(Math.abs(weight)) * (side === "a" && weight < 0 ? -1 : 1));
      const tensorsOf = (model: number, value?: number): MadeTensor[] =>
        own.flatMap((index) =>
          Array.from({ length: modules[index]!.first.experts }, (_, expert): MadeTensor => {
            const { [side]: data, out, rank, in: width } = held.get(`${model} ${index}.${expert}`)!;
            const shape = side === "a" ? [rank, width] : [out, rank];
            return heldTensor(`${index}.${expert}.${side}`, shape, value === undefined ? data : data.map(() => value));
          }),
        );
      const recipe = recipeFor(given, name, roots, only);
      const sets = setsOf({ recipe }, (at) => tensorsOf(only[at]!), tensorsOf(only[0]!, 0));
      await platform.mergeSets(recipe, sets, (key, data) => void merged.set(key, data));
    }
  }
  return modules.map(({ first, parts }, index) =>
    Array.from({ length: first.experts }, (_, expert) => {
      const a = merged.get(`${index}.${expert}.a`)!;
      const b = merged.get(`${index}.${expert}.b`)!;
      const { rank } = parts.find((part) => part !== null)!;
      const update: LowRank = {
        a: { rows: rank, columns: a.length / rank, data: a },
        b: { rows: b.length / rank, columns: rank, data: b },
      };
      return { ...update, error: 0, norm: recompress(platform.algebra, [{ ...update, scale: 1 }], { rank: 1 }).norm };
    }),
  );
}

function unequalRanks({ adapters, modules }: Given, index: number) {
  return defect("adapter/kind", "PEFT's combination of factors needs equal ranks", {
    where: { file: adapters[0]!.label, key: modules[index]!.path },
    found: `ranks ${modules[index]!.parts.map((part) => part?.rank ?? "none").join(", ")}`,
    advice: "leave out the dialect peft, or use one of its _svd forms",
  });
}

async function onUpdates(given: Given, name: string): Promise<Recompressed[][]> {
  const updates: Recompressed[][] = given.modules.map(() => []);
  const rank = rankOf(given);
  for (const { modules: own, weights, only } of groupsOf(given, false)) {
    const modules = own.map((index) => {
      const module = given.modules[index]!;
      return { ...module, parts: only.map((model) => module.parts[model]!) };
    });
    const part = { ...given, adapters: only.map((model) => given.adapters[model]!) };
    await mergeInFull(part, recipeFor(given, name, weights, only), modules, (at, expert, update) => {
      updates[own[at]!]![expert] = refactor(given.platform.algebra, update, { rank });
    });
  }
  return updates;
}

/** ‖merged − Σ weight·ΔW‖ / ‖Σ weight·ΔW‖ over all modules, from the factors. */
async function distanceFromSum(given: Given, updates: readonly (readonly LowRank[])[]): Promise<number> {
  const { algebra } = given.platform;
  let away = 0;
  let whole = 0;
  for (const [index, module] of given.modules.entries()) {
    for (const [expert, terms] of (await termsOf(given, module)).entries()) {
      const negative = terms.map((term) => ({ ...term, scale: -term.scale }));
      away += recompress(algebra, [{ ...updates[index]![expert]!, scale: 1 }, ...negative], { rank: 1 }).norm ** 2;
      whole += recompress(algebra, terms, { rank: 1 }).norm ** 2;
    }
  }
  return whole === 0 ? 0 : Math.sqrt(away / whole);
}
