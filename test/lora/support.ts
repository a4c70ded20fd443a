/** Merges of adapters in memory, and what their updates are by the book. */
import type { Adapter, LoraModule } from "../../src/adapters/adapter.js";
import { readFactors } from "../../src/adapters/adapter.js";
import { peftFiles } from "../../src/adapters/write.js";
import { combineAdapters } from "../../src/lora/combine.js";
import type { CombineOptions } from "../../src/lora/combine.js";
import { adapterContext } from "../../src/lora/context.js";
import { withWeights } from "../../src/lora/methods.js";
import { methods } from "../../src/methods/catalogue.js";
import type { Checkpoint } from "../../src/models/model.js";
import { soloCombinePlatform } from "../../src/platform/memory/lora.js";
import { readAdapterRecipe } from "../../src/recipe/adapters.js";
import type { AdapterWish } from "../../src/recipe/adapters.js";
import { openFiles } from "../adapters/support.js";

export const platform = soloCombinePlatform();

export interface Asked extends Partial<AdapterWish>, CombineOptions {
  readonly method?: string;
  readonly weights?: readonly number[];
  /** `density=0.3`, as with -p. */
  readonly parameters?: readonly string[];
  readonly exclude?: readonly string[];
  readonly dare?: string;
  readonly seed?: number;
}

/** Merges, writes and reads again. */
export async function merge(adapters: readonly Adapter[], asked: Asked = {}, base: Checkpoint | null = null) {
  const { method, weights, parameters, exclude, dare, seed, anyBase = false, ...wish } = asked;
  const recipe = readAdapterRecipe(
    null,
    { method, parameters, exclude, dare, seed, models: adapters.map((_, index) => `a${index}`) },
    wish,
    adapterContext(methods),
  );
  const weighted = weights === undefined ? recipe : { ...recipe, recipe: withWeights(recipe.recipe, weights) };
  const { draft, report } = await combineAdapters(adapters, base, weighted, platform, { anyBase });
  const files = peftFiles(draft, { action: "test", summary: "", inputs: [], details: {} });
  return { report, draft, adapter: await openFiles(Object.fromEntries(files), "merged") };
}

/** scaling·B·A per expert in f64, by the definition. */
export async function updateOf(adapter: Adapter, path: string): Promise<Float64Array[]> {
  const module = adapter.lora.get(path);
  if (module === undefined) return [];
  return (await readFactors(adapter, module)).map(({ a, b, out, rank, in: width }) => {
    const update = new Float64Array(out * width);
    for (let row = 0; row < out; row++) {
      for (let k = 0; k < rank; k++) {
        const left = module.scaling * b[row * rank + k]!;
        for (let i = 0; i < width; i++) update[row * width + i]! += left * a[k * width + i]!;
      }
    }
    return update;
  });
}

/** Σ weight_i·ΔW_i of one module. */
export async function sumOf(
  adapters: readonly Adapter[],
  weights: readonly number[],
  path: string,
): Promise<Float64Array[]> {
  const sums: Float64Array[] = [];
  for (const [index, adapter] of adapters.entries()) {
    for (const [expert, update] of (await updateOf(adapter, path)).entries()) {
      const sum = (sums[expert] ??= new Float64Array(update.length));
      for (let i = 0; i < sum.length; i++) sum[i]! += weights[index]! * update[i]!;
    }
  }
  return sums;
}

/** ‖a − b‖ / ‖b‖; 0 where both are zero. */
export function distance(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  let away = 0;
  let whole = 0;
  for (const [part, wanted] of b.entries()) {
    for (let i = 0; i < wanted.length; i++) {
      away += (a[part]![i]! - wanted[i]!) ** 2;
      whole += wanted[i]! ** 2;
    }
  }
  return whole === 0 ? Math.sqrt(away) : Math.sqrt(away / whole);
}

export function pathsOf(adapters: readonly Adapter[]): string[] {
  return [...new Set(adapters.flatMap(({ lora }) => [...lora.keys()]))].sort();
}

export type { LoraModule };
