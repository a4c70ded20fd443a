/** LiNeS from files to files, on made-up layers and on a real network. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { methods as catalogue } from "../../src/methods/catalogue.js";
import { Interrupted, interruptedAfter } from "../faults/support.js";
import { Folder, merge, readTensors, type RecipeObject, tensor, valuesOf, watched } from "./support/family.js";
import { writeImportances } from "./support/importances.js";
import { normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

const NAMES = ["model.embed_tokens.weight", ...[0, 1, 2].map((l) => `model.layers.${l}.w`), "model.norm.weight"];
const write = (name: string, seed: number) =>
  folder.write(
    name,
    NAMES.map((key, index) =>
      tensor(
        key,
        normals(200, index, 1).map((x, p) => x + normals(200, seed * 10 + index, 0.1)[p]!),
      ),
    ),
  );
const base = write("base", 0);
const models = [write("one", 1), write("two", 2), write("three", 3)];
const withStatistics = async (model: string) => {
  const sums = Object.fromEntries(NAMES.map((name) => [name, [name.length]]));
  return {
    model,
    statistics: await writeImportances(`${model}.safetensors`, { model, base }, sums, { per: "tensor" }),
  };
};
const run = (recipe: RecipeObject) => merge({ base, models, ...recipe }, { out: folder.fresh() });

describe("lines", () => {
  const methods: readonly RecipeObject[] = [
    { method: "ties", parameters: { density: 0.4, lambda: 0.8 } },
    { method: "task_arithmetic", parameters: { lambda: 0.5 } },
    { method: "consensus" },
    { method: "magmax" },
    { method: "localize_and_stitch", parameters: { density: 0.3 } },
    { method: "ramplus_tl" },
    { method: "ties", dare: { drop: 0.3 } },
  ];

  for (const recipe of methods) {
    const name = `${String(recipe.method)}${recipe.dare === undefined ? "" : " with DARE"}`;
    it(`${name}: alpha 1 and beta 0 give the same bytes`, async () => {
      const plain = await run(recipe);
      const scaled = await run({ ...recipe, lines: { alpha: 1, beta: 0 } });
      assert.deepEqual(scaled.prints, plain.prints);
    });

    it(`${name}: a layer is merged as with lambda times its factor`, async () => {
      const { lambda = null, ...others } = (recipe.parameters ?? {}) as Record<string, number>;
      const own = lambda ?? { consensus: 0.3 }[recipe.method as string] ?? 1;
      const scaled = await run({ ...recipe, lines: { alpha: 0.25, beta: 0.5 } });
      for (const [factor, tensors] of [
        [0.25, [NAMES[0]!, NAMES[1]!, NAMES[4]!]],
        [0.5, [NAMES[2]!]],
        [0.75, [NAMES[3]!]],
      ] as const) {
        const plain = await run({ ...recipe, parameters: { ...others, lambda: own * factor } });
        for (const key of tensors) assert.deepEqual(scaled.values(key), plain.values(key), key);
      }
    });
  }

  for (const method of catalogue) {
    const { name, parameters, models: needed } = method;
    // What a shared model and experts are made of is no single merged change.
    const isShared = method.grain === "tile" && method.experts !== undefined;
    if (parameters.lambda === undefined || isShared) continue;
    it(`${name}: lambda scales the merged change and nothing else`, async () => {
      const used = models.slice(0, Math.max(needed.min, Math.min(3, needed.max ?? 3)));
      const given = method.statistics === undefined ? used : await Promise.all(used.map(withStatistics));
      const at = async (lambda: number) => {
        const merged = await run({ method: name, models: given, parameters: { lambda }, seed: 3 });
        return NAMES.map((key) => merged.values(key));
      };
      const [zero, half, one] = [await at(0), await at(0.5), await at(1)];
      const start = await readTensors(base);
      for (const [t, key] of NAMES.entries()) {
        const origin = valuesOf(start.get(key)!);
        assert.deepEqual(zero[t], origin);
        assert.notDeepEqual(one[t], origin);
        for (const [p, x] of origin.entries()) {
          assert.ok(Math.abs(2 * (half[t]![p]! - x) - (one[t]![p]! - x)) <= 1e-6, `${key}[${p}]`);
        }
      }
    });
  }

  for (const recipe of [
    { method: "ties", parameters: { density: 0.4 } },
    { method: "task_arithmetic", dare: { drop: 0.3 }, seed: 4 },
    { method: "iso_c" },
    { method: "pcb", parameters: { lambda: 0.7 } },
  ] as readonly RecipeObject[]) {
    it(`${String(recipe.method)}: alpha that is not written is that of the merge's own norms`, async () => {
      const plain = { ...recipe, parameters: { ...(recipe.parameters as object), lambda: 1 } };
      const merged = await run({ ...plain, output: { dtype: "float32" } });
      const [start, ...tuned] = await Promise.all([base, ...models].map((place) => readTensors(place)));
      const norms = [0, 0];
      for (const key of NAMES) {
        const origin = valuesOf(start!.get(key)!);
        const others = tuned.map((tensors) => valuesOf(tensors.get(key)!));
        for (const [p, x] of origin.entries()) {
          norms[0]! += Math.abs(others.reduce((sum, values) => sum + values[p]! - x, 0));
          norms[1]! += Math.abs(merged.values(key)[p]! - x);
        }
      }
      const wanted = norms[0]! / norms[1]! / 3;
      const scaled = await run({ ...recipe, lines: { beta: 0.5 } });
      const told = scaled.result.provenance.warnings.find((text) => text.startsWith("alpha of lines is "))!;
      const alpha = Number(/alpha of lines is ([\d.e-]+):/.exec(told)![1]);
      assert.ok(Math.abs(alpha / wanted - 1) < 1e-5, `${alpha}, not ${wanted}`);
      assert.deepEqual(scaled.prints, (await run({ ...recipe, lines: { alpha, beta: 0.5 } })).prints);
      const tuning = { tileEntries: 64, chunkEntries: 128 };
      const out = folder.fresh();
      const asked = { base, models, ...recipe, lines: { beta: 0.5 } };
      await assert.rejects(merge(asked, { out, threads: 2, tuning }, interruptedAfter({ blocks: 1 })), Interrupted);
      const { platform, stages } = watched();
      assert.deepEqual((await merge(asked, { out, threads: 2, tuning }, platform)).prints, scaled.prints);
      assert.ok(!stages.includes("lineNorms"));
    });
  }

  it("alpha of a merged change of zeros is refused", async () => {
    const same = { models: [write("base again", 0), write("base once more", 0)], method: "ties", lines: { beta: 0.5 } };
    await assert.rejects(run(same), /alpha of lines has no value for this merge[^]*nothing but zeros/);
  });

  it("a tied output takes the factor of the embedding it is tied to", async () => {
    const tied = ["model.embed_tokens.weight", "model.layers.0.w", "model.layers.1.w", "lm_head.weight"];
    const at = (name: string, shift: number) =>
      folder.write(
        name,
        tied.map((key) =>
          tensor(
            key,
            [1, 2, 3].map((x) => x + shift),
          ),
        ),
      );
    const merged = await merge(
      { method: "task_arithmetic/mergekit", base: at("t0", 0), models: [at("t1", 1)], lines: { alpha: 0.5, beta: 1 } },
      { out: folder.fresh() },
    );
    assert.deepEqual(
      tied.map((key) => merged.values(key)[0]),
      [1.5, 1.5, 2.5, 1.5],
    );
  });

  it("the zoo's vision models, against f64", async () => {
    let root = import.meta.dirname;
    while (!existsSync(path.join(root, "zoo"))) root = path.dirname(root);
    const zoo = (name: string) => path.join(root, "zoo", "vision", name);
    const tasks = ["mnist", "fashion", "latin"];
    const merged = await merge(
      {
        method: "task_arithmetic/mergekit",
        base: zoo("base"),
        models: tasks.map(zoo),
        exclude: ["classifier.*"],
        lines: { alpha: 0.1, beta: 0.2 },
        output: { dtype: "float32" },
      },
      { out: folder.fresh(), threads: 2 },
    );
    const [start, ...tuned] = await Promise.all(["base", ...tasks].map((name) => readTensors(zoo(name))));
    let layers = 0;
    for (const [name, one] of start!) {
      if (name.startsWith("classifier.")) continue;
      const layer = /\.layer\.(\d)\./.exec(name);
      if (layer !== null) layers++;
      const factor = 0.1 + (0.2 * Number(layer?.[1] ?? 0)) / 5;
      const origin = valuesOf(one);
      const others = tuned.map((tensors) => valuesOf(tensors.get(name)!));
      const found = merged.values(name);
      for (let p = 0; p < origin.length; p++) {
        const sum = others.reduce((total, values) => total + values[p]! - origin[p]!, 0);
        const expected = origin[p]! + factor * sum;
        if (Math.abs(found[p]! - expected) > 1e-6) assert.fail(`${name}[${p}]: ${found[p]}, not ${expected}`);
      }
    }
    assert.equal(layers, 96);
  });
});
