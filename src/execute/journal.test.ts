import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { methods } from "../methods/catalogue.js";
import { makePlan } from "../plan/plan.js";
import { files } from "../plan/fixtures.test.js";
import { openInputs } from "../inputs.js";
import { memoryPlatform } from "../platform/memory/platform.js";
import { parseRecipe } from "../recipe/native.js";
import { planHash } from "./journal.js";

const shapes = { "layers.0.w": ["BF16", 4, 8], "layers.1.w": ["BF16", 4, 8] } as const;

async function planOf(more = "") {
  const recipe = parseRecipe(`method: ties\nbase: base\nmodels: [x, y]\n${more}`, { methods });
  const models = { base: files(shapes), x: files(shapes), y: files(shapes) };
  return makePlan(recipe, await openInputs(recipe, memoryPlatform(models).openModel));
}

describe("the hash of a plan", () => {
  it("depends on values alone, not on which tensors share an object", async () => {
    const plan = await planOf();
    assert.equal(plan.tensors[0]!.settings, plan.tensors[1]!.settings);
    assert.equal(planHash(structuredClone(plan)), planHash(plan));
    const apart = plan.tensors.map((tensor) => ({ ...tensor, settings: structuredClone(tensor.settings) }));
    assert.equal(planHash({ ...plan, tensors: apart }), planHash(plan));
  });

  it("differs where one tensor's values do", async () => {
    const plain = planHash(await planOf());
    const hashes = ["0", "1"].map((layer) => `parameters: {lambda: {value: 1, patterns: {"layers.${layer}.w": 0.5}}}`);
    const others = await Promise.all(hashes.map(async (more) => planHash(await planOf(more))));
    assert.equal(new Set([plain, ...others]).size, 3);
  });
});
