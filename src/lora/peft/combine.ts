/**
 * The combinations of PEFT 0.21's add_weighted_adapter, for parity with adapters that were made by it. `linear`, `ties`,
 * `dare_linear`, `dare_ties` and `magnitude_prune` merge the factors A and B separately, which leaves cross terms B_j A_i
 * in the product; the `_svd` forms merge the updates and cut the result to a rank. What PEFT calls by the name of a method
 * is that method of the catalogue under PEFT's rules, so nothing is computed here a second time. How far the result is
 * from Σ weight·ΔW is measured and told.
 */
import { findMethod } from "../../methods/catalogue.js";
import { NO_BASE } from "../../recipe/adapters.js";
import { parseRecipe } from "../../recipe/native.js";
import type { Recipe } from "../../recipe/recipe.js";
import { readFactors } from "../../adapters/adapter.js";
import type { Factors, LoraModule } from "../../adapters/adapter.js";
import { defect } from "../../adapters/defect.js";
import { mergeInFull } from "../by_method.js";
import { setsOf } from "../sets.js";
import { cutoffOf, refuseGradients, weightsOf, workOf } from "../by_sum.js";
import type { Given, Updates } from "../given.js";
import { cat, svd } from "../methods.js";
import { heldTensor } from "../merging.js";
import type { MadeTensor } from "../merging.js";
import { recompress } from "../recompress.js";
import type { Recompressed } from "../recompress.js";
import type { LowRank } from "../low_rank.js";
import { clampFactors } from "./clamp.js";
import { MEANINGS } from "./methods.js";
import { quirksOf } from "./quirks.js";
import type { Quirks } from "./quirks.js";

/** The updates, all at PEFT's one rank, and what else the merged adapter has. */
export async function combineAsPeft(whole: Given): Promise<{ readonly updates: Updates; readonly quirks: Quirks }> {
  refuseGradients(whole.asked.recipe);
  const quirks = await quirksOf(whole);
  // Magnitudes and biases are no part of what PEFT combines.
  const bare = (part: LoraModule | null) => part && { ...part, magnitude: null, bias: null };
  const modules = whole.modules.map((module) => ({ ...module, parts: module.parts.map(bare) }));
  const given = { ...whole, base: null, modules };
  const { recipe } = given.asked;
  // PEFT combines one adapter by linear, whatever is asked for.
  const name = given.adapters.length === 1 ? "linear" : recipe.method.name;
  const [plain, isSvd] = name.endsWith("_svd") ? [name.slice(0, -4), true] : [name, name === svd.name];
  const rank = rankOf(given, name, isSvd);
  const merged =
    plain === cat.name || plain === svd.name
      ? await sums(given, plain === svd.name ? rank : null)
      : isSvd
        ? await onUpdates(given, plain, rank)
        : await onFactors(given, plain);
  const clamp = isSvd ? Number(recipe.parameters["svd_clamp"]?.value ?? 0) : 0;
  const updates = merged.map((experts, index) => {
    const outer = given.modules[index]!.first.layout === "embedding" ? "a" : "b";
    return experts.map((update) =>
      padded(clamp > 0 ? { ...update, ...clampFactors(update, clamp, outer) } : update, rank),
    );
  });
  const distance = await distanceFromSum(given, updates, quirks.rsLora ? Math.sqrt(rank) : 1);
  const percent = (100 * distance).toPrecision(3);
  const warning =
    `PEFT's ${name}: the merged update is ${percent} % away from the weighted sum of the updates (relative, Frobenius)` +
    (isSvd || plain === cat.name
      ? ""
      : "; it merges A and B separately, so B_j A_i of different adapters appear in it");
  return { updates: { updates, space: "peft", distance, warnings: [warning, ...quirks.warnings] }, quirks };
}

/** The one rank that PEFT gives every module. */
function rankOf({ adapters, asked }: Given, name: string, isSvd: boolean): number {
  const ranks = adapters.map(({ config: { fields } }) =>
    Math.max(fields.r, ...Object.values(fields.rank_pattern ?? {})),
  );
  if (name === cat.name) return ranks.reduce((sum, rank) => sum + rank, 0);
  const most = Math.max(...ranks);
  if (isSvd) return asked.wish.rank ?? most;
  if (ranks.every((rank) => rank === most)) return most;
  throw defect("adapter/kind", "PEFT's combination of factors needs equal ranks", {
    where: { file: adapters[ranks.findIndex((rank) => rank !== ranks[0])]!.label },
    expected: `rank ${ranks[0]}, as ${adapters[0]!.label} has`,
    found: `ranks ${ranks.join(", ")}`,
    advice: "leave out the dialect peft, or use one of its _svd forms",
  });
}

/** Filled up with zeros, or cut where PEFT has no room for more. */
function padded(update: Recompressed, rank: number): Recompressed {
  const { a, b } = update;
  if (a.rows === rank) return update;
  const data = new Float32Array(rank * a.columns);
  data.set(a.data);
  const left = new Float32Array(b.rows * rank);
  for (let row = 0; row < b.rows; row++) {
    left.set(b.data.subarray(row * b.columns, (row + 1) * b.columns), row * rank);
  }
  return { ...update, a: { rows: rank, columns: a.columns, data }, b: { rows: b.rows, columns: rank, data: left } };
}

/** @param rank `null`: stacked. */
async function sums(given: Given, rank: number | null): Promise<readonly (readonly Recompressed[])[]> {
  const { modules, asked, platform, progress } = given;
  const cutoff = rank === null ? null : { ...cutoffOf(given), rank };
  const rounded = cutoff === null;
  const works = modules.map((module) =>
    workOf(given, module, weightsOf(asked.recipe, module), { do: "sum", cutoff, rounded }),
  );
  const updates: (readonly Recompressed[])[] = [];
  let done = 0;
  await platform.workOn(works, (index, result) => {
    if (result.kind === "updates") updates[index] = result.updates;
    progress({ doing: "summing", done: ++done, of: modules.length });
  });
  return updates;
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
    const key = JSON.stringify([weights, only, module.first.layout === "embedding"]);
    const group = groups.get(key) ?? { modules: [], weights, only };
    group.modules.push(index);
    groups.set(key, group);
  }
  return [...groups.values()];
}

async function onFactors(given: Given, name: string): Promise<Recompressed[][]> {
  const { modules, platform, adapters, progress } = given;
  let done = 0;
  const merged = new Map<string, Float32Array>();
  for (const { modules: own, weights, only } of groupsOf(given, true)) {
    const held = new Map<string, Factors>();
    for (const index of own) {
      const ranks = new Set(only.map((model) => modules[index]!.parts[model]!.rank));
      if (ranks.size > 1) throw unequalRanks(given, index);
      progress({ doing: "merging", done: ++done, of: modules.length });
      for (const model of only) {
        const factors = await readFactors(adapters[model]!, modules[index]!.parts[model]!);
        for (const [expert, pair] of factors.entries()) held.set(`${model} ${index}.${expert}`, pair);
      }
    }
    for (const side of ["a", "b"] as const) {
      // The sign goes to one side only, or two would cancel: to A as it is stored.
      const storedA = modules[own[0]!]!.first.layout === "embedding" ? "b" : "a";
      const roots = weights.map((weight) => Math.sqrt(Math.abs(weight)) * (side === storedA && weight < 0 ? -1 : 1));
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

async function onUpdates(given: Given, name: string, rank: number): Promise<Recompressed[][]> {
  const updates: Recompressed[][] = given.modules.map(() => []);
  for (const { modules: own, weights, only } of groupsOf(given, false)) {
    const modules = own.map((index) => {
      const module = given.modules[index]!;
      return { ...module, parts: only.map((model) => module.parts[model]!) };
    });
    const part = { ...given, adapters: only.map((model) => given.adapters[model]!) };
    const merged = await mergeInFull(part, recipeFor(given, name, weights, only), modules, () => ({ rank }));
    for (const [at, experts] of merged.updates.entries()) updates[own[at]!] = [...experts];
  }
  return updates;
}

/** ‖scale·merged − Σ weight·ΔW‖ / ‖Σ weight·ΔW‖ over all modules, from the factors. */
async function distanceFromSum(given: Given, updates: readonly (readonly LowRank[])[], scale: number): Promise<number> {
  const { modules, asked, platform } = given;
  const works = modules.map((module, index) => {
    const scaled = updates[index]!.map(({ a, b }) => ({ b, a: { ...a, data: a.data.map((value) => value * scale) } }));
    return workOf(given, module, weightsOf(asked.recipe, module), { do: "apart", updates: scaled });
  });
  const parts: { readonly away: number; readonly whole: number }[] = [];
  await platform.workOn(works, (index, result) => {
    if (result.kind === "apart") parts[index] = result;
  });
  const total = (of: (part: (typeof parts)[number]) => number) => parts.reduce((sum, part) => sum + of(part), 0);
  const whole = total((part) => part.whole);
  return whole === 0 ? 0 : Math.sqrt(total((part) => part.away) / whole);
}
