/**
 * The methods that work entry by entry, from files to files: same bytes whatever the threads, and a naive f64 answer.
 * A decision that falls on nearly equal numbers could differ between f32 and f64; none does in these inputs.
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { Folder, merge, type Merged, readTensors, type RecipeObject, tensor, valuesOf } from "./support/family.js";
import { normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

const SIZES = [BLOCK_ENTRIES + 7001, 1, 4099, 24];
const MODELS = 3;

/** Checkpoints on disk and their widened entries, base first; per checkpoint one array per tensor. */
interface TestFamily {
  readonly base: string;
  readonly models: readonly string[];
  readonly names: readonly string[];
  readonly entries: readonly (readonly Float32Array[])[];
}

/** A third of every model's entries is the base's. */
function family(name: string, dtype: (checkpoint: number) => FloatDtype): TestFamily {
  const checkpoints = Array.from({ length: MODELS + 1 }, (_, checkpoint) =>
    SIZES.map((size, index) => {
      const start = normals(size, index, 0.05);
      const moves = normals(size, 100 * checkpoint + index, 0.004);
      const values = checkpoint === 0 ? start : start.map((x, p) => (p % 3 === checkpoint - 1 ? x : x + moves[p]!));
      return tensor(`t${index}`, values, dtype(checkpoint));
    }),
  );
  const [base, ...models] = checkpoints.map((tensors, index) => folder.write(`${name}${index}`, tensors));
  const names = SIZES.map((_, index) => `t${index}`);
  return { base: base!, models, names, entries: checkpoints.map((tensors) => tensors.map(valuesOf)) };
}

async function zooFamily(): Promise<TestFamily> {
  let root = import.meta.dirname;
  while (!existsSync(path.join(root, "zoo"))) root = path.dirname(root);
  const [base, ...models] = ["base", "mnist", "fashion", "latin"].map((name) => path.join(root, "zoo/vision", name));
  const checkpoints = await Promise.all([base!, ...models].map(readTensors));
  const names = [...checkpoints[0]!.keys()].filter((name) => !name.startsWith("classifier."));
  const entries = checkpoints.map((tensors) => names.map((name) => valuesOf(tensors.get(name)!)));
  return { base: base!, models, names, entries };
}

const FORMATS = [() => "BF16", () => "F16", () => "F32", (c: number) => (["F32", "BF16", "F16", "F32"] as const)[c]!];
const families = (FORMATS as readonly ((checkpoint: number) => FloatDtype)[]).map((dtype, index) =>
  family(`f${index}-`, dtype),
);

/** What a method makes of one entry: the base's and the models'. `known` is what `learn` found in all of them. */
interface Naive {
  readonly recipe: RecipeObject;
  readonly models: number;
  readonly withBase: boolean;
  learn?(changes: readonly (readonly number[])[]): unknown;
  entry(base: number, models: readonly number[], known: unknown): number;
}

const sum = (values: readonly number[]) => values.reduce((total, x) => total + x, 0);
const mean = (values: readonly number[]) => (values.length === 0 ? 0 : sum(values) / values.length);
const taus = (base: number, models: readonly number[]) => models.map((x) => Math.fround(x - base));
const weights = [1, -0.5, 0.25];
const EPSILON = 0.003;

/** The value of rank trunc(d·density) among the magnitudes, the largest first. */
const thresholds = (density: number) => (changes: readonly (readonly number[])[]) =>
  changes.map((values) => values.map(Math.abs).sort((a, b) => b - a)[Math.trunc(values.length * density) - 1]!);

const overlaps = (changes: readonly (readonly number[])[]) => {
  const counts = changes.map(() => ({ shared: 0, unique: 0 }));
  for (let p = 0; p < changes[0]!.length; p++) {
    const active = changes.flatMap((values, i) => (Math.abs(values[p]!) > EPSILON ? [i] : []));
    for (const i of active) counts[i]![active.length > 1 ? "shared" : "unique"]++;
  }
  return counts.map(({ shared, unique }) => 1 + 0.4 * Math.min(shared / Math.max(unique, EPSILON), 1.3));
};

const weighted = (index: number) => ({ weight: weights[index] });

const CASES: Readonly<Record<string, Naive>> = {
  linear: {
    recipe: { method: "linear", parameters: {} },
    models: 3,
    withBase: false,
    entry: (_, models) => sum(models.map((x, i) => weights[i]! * x)) / sum(weights),
  },
  passthrough: {
    recipe: { method: "passthrough", parameters: { scale: 0.75 } },
    models: 1,
    withBase: false,
    entry: (_, [x]) => 0.75 * x!,
  },
  nearswap: {
    recipe: { method: "nearswap", parameters: { t: 0.004 } },
    models: 1,
    withBase: true,
    entry: (base, [x]) => base + Math.max(-0.004, Math.min(0.004, x! - base)),
  },
  "task_arithmetic, normalized": {
    recipe: { method: "task_arithmetic/mergekit", parameters: { normalize: true, lambda: 0.7 } },
    models: 3,
    withBase: true,
    entry: (base, models) => base + (0.7 * sum(taus(base, models).map((x, i) => weights[i]! * x))) / sum(weights),
  },
  magmax: {
    recipe: { method: "magmax", parameters: { lambda: 0.6 } },
    models: 3,
    withBase: true,
    entry: (base, models) => {
      const scaled = taus(base, models).map((x, i) => weights[i]! * x);
      return base + 0.6 * scaled.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best));
    },
  },
  consensus: {
    recipe: { method: "consensus", parameters: { lambda_t: 0.3517, lambda: 0.4 } },
    models: 3,
    withBase: true,
    entry: (base, models) => {
      const scaled = taus(base, models).map((x, i) => weights[i]! * x);
      const total = sum(scaled);
      return base + 0.4 * (scaled.filter((x) => Math.abs(x) > 0.3517 * Math.abs(total - x)).length >= 2 ? total : 0);
    },
  },
  ram: {
    recipe: { method: "ram", parameters: { epsilon: EPSILON } },
    models: 3,
    withBase: true,
    entry: (base, models) => base + mean(taus(base, models).filter((x) => Math.abs(x) > EPSILON)),
  },
  ramplus_tl: {
    recipe: { method: "ramplus_tl", parameters: { epsilon: EPSILON, r: 0.4, alpha: 1.3 } },
    models: 3,
    withBase: true,
    learn: overlaps,
    entry: (base, models, known) => {
      const active = taus(base, models).flatMap((x, i) => (Math.abs(x) > EPSILON ? [{ x, i }] : []));
      const factor = active.length === 1 ? (known as number[])[active[0]!.i]! : 1;
      return base + factor * mean(active.map(({ x }) => x));
    },
  },
  localize_and_stitch: {
    recipe: { method: "localize_and_stitch", parameters: { density: 0.1 } },
    models: 3,
    withBase: true,
    learn: thresholds(0.1),
    entry: (base, models, known) =>
      base + mean(taus(base, models).filter((x, i) => Math.abs(x) >= (known as number[])[i]!)),
  },
  add_difference: {
    recipe: { method: "add_difference", parameters: { lambda: 0.8 } },
    models: 2,
    withBase: true,
    entry: (base, [a, b]) => base + 0.8 * (a! - b!),
  },
  train_difference: {
    recipe: { method: "train_difference" },
    models: 2,
    withBase: true,
    entry: (base, [a, b]) => {
      const distances = Math.abs(a! - base) + Math.abs(a! - b!);
      return base + (distances === 0 ? 0 : (1.8 * (a! - b!) * Math.abs(a! - base)) / distances);
    },
  },
};

function recipeFor({ recipe, models, withBase }: Naive, from: TestFamily): RecipeObject {
  const isWeighted = ["linear", "task_arithmetic/mergekit", "magmax", "consensus"].includes(recipe.method as string);
  const listed = from.models.slice(0, models).map((model, index) => ({ model, ...(isWeighted && weighted(index)) }));
  return { ...recipe, ...(withBase && { base: from.base }), models: listed, output: { dtype: "float32" } };
}

/** @param scopes over which tensors the method learns: all of them, or each by itself. */
function compare(merged: Merged, naive: Naive, from: TestFamily, scopes: "model" | "tensor" = "model"): void {
  const [base, ...models] = from.entries as [Float32Array[], ...Float32Array[][]];
  const used = models.slice(0, naive.models);
  const changesOf = (tensors: readonly number[]) =>
    used.map((entries) => tensors.flatMap((t) => Array.from(entries[t]!, (x, p) => Math.fround(x - base[t]![p]!))));
  const all = naive.learn?.(changesOf([...from.names.keys()]));
  for (const [t, name] of from.names.entries()) {
    const known = scopes === "model" ? all : naive.learn?.(changesOf([t]));
    const found = merged.values(name);
    assert.equal(found.length, base[t]!.length);
    for (let p = 0; p < found.length; p++) {
      const entries = used.map((tensors) => tensors[t]![p]!);
      const expected = naive.entry(base[t]![p]!, entries, known);
      if (!(Math.abs(found[p]! - expected) <= 1e-6)) assert.fail(`${name}[${p}]: ${found[p]}, not ${expected}`);
    }
  }
}

for (const [name, naive] of Object.entries(CASES)) {
  describe(name, () => {
    for (const [index, from] of families.entries()) {
      it(`gives the naive answer in ${["BF16", "F16", "F32", "three formats"][index]}`, async () => {
        compare(await merge(recipeFor(naive, from), { out: folder.fresh() }), naive, from);
      });
    }

    it("the same bytes for any number of threads and any tile", async () => {
      for (const from of [families[0]!, families[3]!]) {
        const recipe = { ...recipeFor(naive, from), output: {} };
        const first = await merge(recipe, { out: folder.fresh() });
        for (const [threads, tileEntries] of [
          [2, 1024],
          [3, 65_536],
        ] as const) {
          const tuning = { tileEntries, chunkEntries: 65_536 };
          const other = await merge(recipe, { out: folder.fresh(), threads, tuning });
          assert.deepEqual(other.prints, first.prints);
          assert.deepEqual(other.result.result, first.result.result);
        }
      }
    });
  });
}

describe("ramplus_tl", () => {
  it("counts per tensor give every tensor its own factors", async () => {
    const from = families[1]!;
    const naive = CASES.ramplus_tl!;
    const recipe = { ...recipeFor(naive, from), dialect: "mergekit" };
    compare(await merge(recipe, { out: folder.fresh(), threads: 2 }), naive, from, "tensor");
  });
});

describe("on the zoo's vision models", () => {
  for (const name of ["consensus", "ramplus_tl", "localize_and_stitch", "magmax"]) {
    it(`${name} gives the naive answer`, async () => {
      const from = await zooFamily();
      const recipe = { ...recipeFor(CASES[name]!, from), exclude: ["classifier.*"] };
      compare(await merge(recipe, { out: folder.fresh(), threads: 2 }), CASES[name]!, from);
    });
  }
});
