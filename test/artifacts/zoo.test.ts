/** The eight vision models of the zoo as one artifact, and each of them from it. */
import assert from "node:assert/strict";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { inspectArtifact } from "../../src/artifacts/inspect.js";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { Folder, readTensors, recipeOf, valuesOf } from "../laws/support/family.js";
import { expect, rounded, RULES } from "./naive.js";
import { floatsOf, sameFloats, write } from "./support.js";

const ZOO = fileURLToPath(new URL("../../../zoo/vision", import.meta.url));
const TASKS = ["mnist", "fashion", "latin", "cyrillic", "greek", "hebrew", "georgian", "hiragana"];
const folder = new Folder();
after(() => folder.remove());

describe("emr on the zoo", () => {
  it("holds eight models in a fifth of their size, each as the formulas say, with its own head", async () => {
    const family = { base: path.join(ZOO, "base"), models: TASKS.map((task) => path.join(ZOO, task)) };
    const out = folder.fresh();
    const recipe = { method: "emr", ...family, exclude: ["classifier.*"], heads: "separate" };
    await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 2 });

    const weights = await floatsOf(family.base);
    const names = [...weights.keys()].filter((name) => !name.startsWith("classifier."));
    const expected = await expect(family, names, "F16", RULES["per-tensor-mean"]);
    const { tasks, bytes } = await inspectArtifact(out, nodePlatform);
    // The unified vector is a model, a mask a sixteenth of one; headers and heads come on top.
    assert.ok(bytes < (1 + 8 / 16 + 0.1) * 2 * 1_198_592, `${bytes} bytes`);
    for (const [index, { name, scale, density, entries }] of tasks.entries()) {
      assert.equal(entries, 1_198_592);
      assert.ok(density > 0.59 && density < 0.69, `${name}: ${density}`);
      assert.ok(Math.abs(scale - expected.scales[index]!) <= 1e-12, `${name}: ${scale}`);
      const made = folder.fresh();
      await write(out, { task: name, out: made, threads: 1 });
      const model = await readTensors(made);
      for (const tensor of names) {
        const mask = expected.masks[index]!.get(tensor)!;
        const shared = expected.shared.get(tensor)!;
        const values = weights
          .get(tensor)!
          .map((zero, p) => (mask[p] ? Math.fround(zero + Math.fround(Math.fround(scale) * shared[p]!)) : zero));
        assert.ok(sameFloats(valuesOf(model.get(tensor)!), rounded(values, "F16")), `${name}: ${tensor}`);
      }
      const own = await readTensors(family.models[index]!);
      for (const head of ["classifier.weight", "classifier.bias"]) assert.deepEqual(model.get(head), own.get(head));
    }
  });
});
