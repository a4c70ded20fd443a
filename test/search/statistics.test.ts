/** A sweep looks at the models once, and its merges are the bytes that each is on its own. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { methods } from "../../src/methods/catalogue.js";
import { mergingInMemory } from "../../src/platform/node/in_memory.js";
import { mergeInMemory, SharedStatistics } from "../../src/search/candidate.js";
import { readTemplate, recipeWith } from "../../src/search/field.js";
import { root } from "../cli/support.js";

process.chdir(root);

const template = (recipe: object) =>
  readTemplate(
    JSON.stringify({
      base: "zoo/vision/base",
      models: ["zoo/vision/mnist", "zoo/vision/fashion", "zoo/vision/hebrew"],
      exclude: ["classifier.*"],
      ...recipe,
    }),
    { methods },
  );

const merging = mergingInMemory();

async function bytesOf(recipe: object, fields: readonly (readonly [string, number])[], statistics?: SharedStatistics) {
  const merged = await mergeInMemory(recipeWith(template(recipe), fields), merging, "candidate", statistics);
  await merged.close();
  return Buffer.from(await merging.output.get("model.safetensors")!.arrayBuffer());
}

const LAMBDA = "parameters.lambda";
const sweeps: Record<string, { recipe: object; field: string }> = {
  "ties, whole model": { recipe: { method: "ties" }, field: LAMBDA },
  "ties, tensor by tensor, so many entries exactly": { recipe: { method: "ties/mergekit" }, field: LAMBDA },
  "ties with f32 results": { recipe: { method: "ties", output: { dtype: "float32" } }, field: LAMBDA },
  "ties after pruning at random": { recipe: { method: "dare_ties" }, field: LAMBDA },
  "ties and LiNeS": { recipe: { method: "ties", lines: { alpha: 0.1, beta: 0.1 } }, field: "lines.beta" },
  "pcb, one model's lambda": { recipe: { method: "pcb" }, field: "models.mnist.lambda" },
  "a merge of a merge": {
    recipe: {
      method: "ties",
      models: [
        "zoo/vision/latin",
        {
          name: "inner",
          merge: {
            method: "ties",
            base: "zoo/vision/base",
            models: ["zoo/vision/mnist", "zoo/vision/fashion"],
            exclude: ["classifier.*"],
          },
        },
      ],
    },
    field: LAMBDA,
  },
};

describe("statistics shared over a sweep", () => {
  for (const [name, { recipe, field }] of Object.entries(sweeps)) {
    it(name, async () => {
      const statistics = new SharedStatistics();
      await bytesOf(recipe, [[field, 0.3]], statistics);
      const shared = await bytesOf(recipe, [[field, 1.1]], statistics);
      assert.equal(statistics.shared, 1);
      assert.ok(shared.equals(await bytesOf(recipe, [[field, 1.1]])));
    });
  }

  it("not where a statistic depends on what is varied", async () => {
    const statistics = new SharedStatistics();
    for (const field of ["parameters.density", "models.mnist.weight"]) {
      for (const value of [0.2, 0.4]) await bytesOf({ method: "ties" }, [[field, value]], statistics);
    }
    assert.equal(statistics.shared, 0);
  });
});
