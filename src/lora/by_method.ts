/**
 * Updates merged by any method of the catalogue: as coordinates in their common subspace (`core`), as the aligned V_t of
 * KnOTS (`knots`), or as the matrices they are, made where they are read (`full`). What comes back is brought into
 * factors module by module.
 */
import type { Matrix } from "../algebra/algebra.js";
import type { Recipe } from "../recipe/recipe.js";
import { Ahead, Outstanding } from "./ahead.js";
import { denseUpdates } from "./dense.js";
import { weightName } from "./given.js";
import type { CombinePlatform, Given, Updates } from "./given.js";
import { cutoffOf, workOf } from "./by_sum.js";
import type { SharedModule } from "./gather.js";
import { sizeOf } from "./gather.js";
import { isSum } from "./methods.js";
import { constantTensor, heldTensor } from "./merging.js";
import type { MadeTensor } from "./merging.js";
import { setsOf, withoutExclude } from "./sets.js";
import type { Cutoff, Recompressed } from "./recompress.js";
import type { Action, Cores, ModuleResult } from "./work.js";

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

/** Alignments are made again in every pass over the tensors; those of the next modules are begun early. */
async function aligned(given: Given): Promise<Updates> {
  const { modules, asked, platform, progress } = given;
  const plain = asked.recipe.models.map(() => 1);
  const alignments = new Ahead(
    async (index) => {
      const result = await platform.run(workOf(given, modules[index]!, plain, { do: "align" }));
      return (result as ModuleResult & { readonly kind: "aligned" }).experts;
    },
    modules.length,
    platform.threads,
  );
  const shapes = new Map<string, readonly [number, number]>();
  for (const [index, { path, first }] of modules.entries()) {
    for (const [expert, { parts }] of (await alignments.get(index)).entries()) {
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
            into.set((await alignments.get(index))[expert]!.parts[part]!.data.subarray(start, start + into.length));
          },
        };
      }),
    each.map(({ name }) => constantTensor(name, shapes.get(name)!, 0)),
  );
  const byName = new Map(each.map((place) => [place.name, place]));
  const updates: Recompressed[][] = modules.map(() => []);
  const cutoff = cutoffOf(given);
  const outstanding = new Outstanding(platform.threads);
  let done = 0;
  const { warnings } = await platform.mergeSets(withoutExclude(asked.recipe), sets, async (name, data) => {
    const { index, expert } = byName.get(name)!;
    const [rows, columns] = shapes.get(name)!;
    const { basis } = (await alignments.get(index))[expert]!;
    const terms = [{ a: { rows, columns, data }, b: basis, scale: 1 }];
    const store = async () => {
      updates[index]![expert] = await oneUpdate(platform, { do: "recompress", terms, cutoff });
      progress({ doing: "merging", done: ++done, of: each.length });
    };
    await outstanding.add(store());
  });
  await outstanding.all();
  return { updates, space: "knots", distance: null, warnings };
}

/** Of an action that has all it needs with it. */
export async function oneUpdate(
  { run }: Pick<CombinePlatform, "run">,
  action: Action & { readonly do: "refactor" | "recompress" },
): Promise<Recompressed> {
  const result = await run({ sources: [], parts: [], action });
  return (result as ModuleResult & { readonly kind: "updates" }).updates[0]!;
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
  const { modules } = given;
  const asked = cutoffOf(given);
  const cutoffFor = (index: number): Cutoff => {
    if (Object.keys(asked).length > 0) return asked;
    return { rank: modules[index]!.parts.reduce((sum, part) => sum + (part?.rank ?? 0), 0) };
  };
  const { updates, warnings } = await mergeInFull(given, withoutExclude(given.asked.recipe), modules, cutoffFor);
  return { updates, space: "full", distance: null, warnings };
}

/**
 * Merges updates as matrices, and brings each into factors; of every adapter one module's is held, and as many merged ones
 * as there are threads.
 */
export async function mergeInFull(
  { adapters, base, names, platform, progress }: Pick<Given, "adapters" | "base" | "names" | "platform" | "progress">,
  recipe: Recipe,
  modules: readonly SharedModule[],
  cutoffFor: (index: number) => Cutoff,
): Promise<{ readonly updates: readonly (readonly Recompressed[])[]; readonly warnings: readonly string[] }> {
  const each = expertsOf(modules);
  const shapeOf = (index: number) => {
    const { out, in: width } = sizeOf(modules[index]!.first);
    return [out, width] as const;
  };
  const make = async (model: number, index: number): Promise<readonly Matrix[]> => {
    const { path, parts } = modules[index]!;
    const module = parts[model]!;
    const { label, source } = adapters[model]!;
    if (module.magnitude !== null) {
      const place = base === null ? null : { checkpoint: base, name: `${names?.find(path, "dotted") ?? path}.weight` };
      return denseUpdates(platform.algebra, { label, source }, module, place);
    }
    const result = await platform.run({
      sources: [{ label, source }],
      parts: [{ source: 0, module, scale: 1 }],
      action: { do: "dense" },
    });
    return (result as ModuleResult & { readonly kind: "dense" }).experts;
  };
  const matrices = new Ahead(
    (index) => {
      // All adapters' are needed together.
      const all = modules[index]!.parts.map((part, model) => (part === null ? null : make(model, index)));
      for (const one of all) one?.catch(() => {});
      return Promise.resolve(all);
    },
    modules.length,
    1,
  );
  const tensor = ({ name, index, expert }: ExpertPlace, model: number): MadeTensor => {
    if (modules[index]!.parts[model] === null) return constantTensor(name, shapeOf(index), 0);
    return {
      name,
      shape: shapeOf(index),
      async read(start, into) {
        const update = (await (await matrices.get(index))[model]!)[expert]!;
        into.set(update.data.subarray(start, start + into.length));
      },
    };
  };
  const sets = setsOf(
    { recipe },
    (model) => each.map((place) => tensor(place, model)),
    each.map(({ name, index }) => constantTensor(name, shapeOf(index), 0)),
  );
  const byName = new Map(each.map((place) => [place.name, place]));
  const updates: Recompressed[][] = modules.map(() => []);
  const outstanding = new Outstanding(platform.threads);
  let done = 0;
  const { warnings } = await platform.mergeSets(recipe, sets, async (name, data) => {
    const { index, expert } = byName.get(name)!;
    const [rows, columns] = shapeOf(index);
    const store = async () => {
      const update = { rows, columns, data };
      updates[index]![expert] = await oneUpdate(platform, { do: "refactor", update, cutoff: cutoffFor(index) });
      progress({ doing: "merging", done: ++done, of: each.length });
    };
    await outstanding.add(store());
  });
  await outstanding.all();
  return { updates, warnings };
}
