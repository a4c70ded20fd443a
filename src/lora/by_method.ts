/**
 * Updates merged by any method of the catalogue: as coordinates in their common subspace (`core`), as the aligned V_t of
 * KnOTS (`knots`), or as the matrices they are, made where they are read (`full`). What comes back is brought into
 * factors module by module.
 */
import type { Matrix } from "../algebra/algebra.js";
import type { Recipe } from "../recipe/recipe.js";
import { denseUpdates } from "./dense.js";
import { weightName } from "./given.js";
import type { Given, Updates } from "./given.js";
import { cutoffOf, workOf } from "./by_sum.js";
import type { SharedModule } from "./gather.js";
import { sizeOf } from "./gather.js";
import { align } from "./knots.js";
import type { Aligned } from "./knots.js";
import { isSum } from "./methods.js";
import { constantTensor, heldTensor } from "./merging.js";
import type { MadeTensor } from "./merging.js";
import { setsOf, withoutExclude } from "./sets.js";
import { recompress } from "./recompress.js";
import type { Cutoff, Recompressed } from "./recompress.js";
import { readTerms, refactor } from "./work.js";
import type { Cores } from "./work.js";

export function updatesByMethod(given: Given): Promise<Updates> {
  const dora = given.modules.some(({ parts }) => parts.some((part) => part?.magnitude != null));
  if (dora || given.asked.wish.space === "full" || isSum(given.asked.recipe.method)) return inFull(given);
  return given.asked.wish.space === "knots" ? aligned(given) : inCoreSpace(given);
}

async function inCoreSpace(given: Given): Promise<Updates> {
  const { modules, asked, platform, progress } = given;
  const plain = asked.recipe.models.map(() => 1);
  const cores: (readonly Cores[])[] = modules.map(() => []);
  let done = 0;
  const step = (doing: string) => progress({ doing, done: ++done, of: 2 * modules.length });
  await platform.workOn(
    modules.map((module) => workOf(given, module, plain, { do: "cores" })),
    (index, result) => {
      if (result.kind === "cores") cores[index] = result.cores;
      step("finding the common subspace");
    },
  );
  const places = modules.flatMap(({ path, first }, index) =>
    cores[index]!.map((core, expert) => ({ name: weightName(path, expert, first.experts), index, expert, core })),
  );
  const tensor = ({ name, core, index }: (typeof places)[number], model: number): MadeTensor => {
    const part = partIndex(modules[index]!, model);
    const shape = [core.rows, core.columns];
    return part === null ? constantTensor(name, shape, 0) : heldTensor(name, shape, core.parts[part]!);
  };
  const sets = setsOf(
    asked,
    (model) => places.map((place) => tensor(place, model)),
    places.map(({ name, core }) => constantTensor(name, [core.rows, core.columns], 0)),
  );
  const merged = new Map<string, Float32Array>();
  const { warnings } = await platform.mergeSets(withoutExclude(asked.recipe), sets, (name, data) => {
    merged.set(name, data);
  });
  const cutoff = cutoffOf(given);
  const updates: (readonly Recompressed[])[] = modules.map(() => []);
  const works = modules.map((module) => {
    const { path, first } = module;
    const own = Array.from(
      { length: first.experts },
      (_, expert) => merged.get(weightName(path, expert, first.experts))!,
    );
    return workOf(given, module, plain, { do: "expand", cores: own, cutoff });
  });
  await platform.workOn(works, (index, result) => {
    if (result.kind === "updates") updates[index] = result.updates;
    step("bringing the result into factors");
  });
  return { updates, space: "core", distance: null, warnings };
}

/** Where an adapter stands among those that have the module; `null`: it has not. */
function partIndex({ parts }: SharedModule, model: number): number | null {
  return parts[model] === null ? null : parts.slice(0, model).filter((part) => part !== null).length;
}

/** Alignments are made again in every pass over the tensors; the last one is remembered. */
async function aligned(given: Given): Promise<Updates> {
  const { modules, asked, platform, progress } = given;
  const { algebra } = platform;
  const plain = asked.recipe.models.map(() => 1);
  let last: { readonly index: number; readonly experts: readonly Aligned[] } | null = null;
  const alignmentOf = async (index: number) => {
    if (last?.index !== index) {
      const terms = await readTerms(workOf(given, modules[index]!, plain, { do: "cores" }));
      last = { index, experts: terms.map((own) => align(algebra, own)) };
    }
    return last.experts;
  };
  const shapes = new Map<string, readonly [number, number]>();
  for (const [index, { path, first }] of modules.entries()) {
    for (const [expert, { parts }] of (await alignmentOf(index)).entries()) {
      shapes.set(weightName(path, expert, first.experts), [parts[0]!.rows, parts[0]!.columns]);
    }
    progress({ doing: "aligning", done: index + 1, of: modules.length });
  }
  const each = expertsOf(modules);
  const sets = setsOf(
    asked,
    (model) =>
      each.map(({ name, index, expert }) => {
        const part = partIndex(modules[index]!, model);
        if (part === null) return constantTensor(name, shapes.get(name)!, 0);
        return {
          name,
          shape: shapes.get(name)!,
          async read(start, into) {
            into.set((await alignmentOf(index))[expert]!.parts[part]!.data.subarray(start, start + into.length));
          },
        };
      }),
    each.map(({ name }) => constantTensor(name, shapes.get(name)!, 0)),
  );
  const byName = new Map(each.map((place) => [place.name, place]));
  const updates: Recompressed[][] = modules.map(() => []);
  const cutoff = cutoffOf(given);
  let done = 0;
  const { warnings } = await platform.mergeSets(withoutExclude(asked.recipe), sets, async (name, data) => {
    const { index, expert } = byName.get(name)!;
    const [rows, columns] = shapes.get(name)!;
    const { basis } = (await alignmentOf(index))[expert]!;
    updates[index]![expert] = recompress(algebra, [{ a: { rows, columns, data }, b: basis, scale: 1 }], cutoff);
    progress({ doing: "merging", done: ++done, of: each.length });
  });
  return { updates, space: "knots", distance: null, warnings };
}

interface ExpertPlace {
  readonly name: string;
  readonly index: number;
  readonly expert: number;
}

export function expertsOf(modules: readonly SharedModule[]): ExpertPlace[] {
  return modules.flatMap(({ path, first: { experts } }, index) =>
    Array.from({ length: experts }, (_, expert) => ({ name: weightName(path, expert, experts), index, expert })),
  );
}

async function inFull(given: Given): Promise<Updates> {
  const { modules, platform, progress } = given;
  const updates: Recompressed[][] = modules.map(() => []);
  const asked = cutoffOf(given);
  let done = 0;
  const { warnings } = await mergeInFull(
    given,
    withoutExclude(given.asked.recipe),
    modules,
    (index, expert, update) => {
      const parts = modules[index]!.parts.map((part) => part?.rank ?? 0);
      const cutoff: Cutoff =
        Object.keys(asked).length > 0 ? asked : { rank: parts.reduce((sum, rank) => sum + rank, 0) };
      updates[index]![expert] = refactor(platform.algebra, update, cutoff);
      progress({ doing: "merging", done: ++done, of: modules.length });
    },
  );
  return { updates, space: "full", distance: null, warnings };
}

/** Merges updates as matrices; of each adapter one module's is held. */
export async function mergeInFull(
  { adapters, base, names, platform }: Pick<Given, "adapters" | "base" | "names" | "platform">,
  recipe: Recipe,
  modules: readonly SharedModule[],
  take: (index: number, expert: number, update: Matrix) => void,
): Promise<{ readonly warnings: readonly string[] }> {
  const each = expertsOf(modules);
  const shapeOf = (index: number) => {
    const { out, in: width } = sizeOf(modules[index]!.first);
    return [out, width] as const;
  };
  const last = adapters.map((): { index: number; updates: readonly Matrix[] } => ({ index: -1, updates: [] }));
  const updateOf = async (model: number, index: number, expert: number) => {
    if (last[model]!.index !== index) {
      const { path, parts } = modules[index]!;
      const found = base === null ? null : (names?.find(path, "dotted") ?? path);
      const place = base === null ? null : { checkpoint: base, name: `${found}.weight` };
      const updates = await denseUpdates(platform.algebra, adapters[model]!, parts[model]!, place);
      last[model] = { index, updates };
    }
    return last[model]!.updates[expert]!;
  };
  const tensor = ({ name, index, expert }: ExpertPlace, model: number): MadeTensor => {
    if (modules[index]!.parts[model] === null) return constantTensor(name, shapeOf(index), 0);
    return {
      name,
      shape: shapeOf(index),
      async read(start, into) {
        into.set((await updateOf(model, index, expert)).data.subarray(start, start + into.length));
      },
    };
  };
  const sets = setsOf(
    { recipe },
    (model) => each.map((place) => tensor(place, model)),
    each.map(({ name, index }) => constantTensor(name, shapeOf(index), 0)),
  );
  const byName = new Map(each.map((place) => [place.name, place]));
  return platform.mergeSets(recipe, sets, (name, data) => {
    const { index, expert } = byName.get(name)!;
    const [rows, columns] = shapeOf(index);
    take(index, expert, { rows, columns, data });
  });
}
