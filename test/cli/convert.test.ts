import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { readRecipe } from "../../src/recipes.js";
import { mergewright, outcomeOf, scratch } from "./support.js";

const at = scratch(after);
const GOLDEN = "test/golden/mergekit-e2e";

/** A recipe over the golden models, whose paths start at the repository. */
function recipeAt(name: string, text: string): string {
  writeFileSync(at(name), text.replaceAll("@", `${GOLDEN}/inputs/`));
  return at(name);
}

describe("mergewright convert", () => {
  it("prints a recipe of mergekit in our words, with comments on what differs", async () => {
    const file = recipeAt(
      "stock.yml",
      "merge_method: model_stock\nmodels: [{model: @a, parameters: {weight: 1}}, {model: @b}]\nbase_model: @base\ndtype: bfloat16\n",
    );
    const { code, out, err } = await mergewright("convert", file);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /^# Not used by mergekit either:\n# - line 2: model_stock does not use weight\n/);
    assert.match(out, /# Where mergekit 0\.1\.5 differs:\n# - inputs are rounded to dtype/);
    const recipe = readRecipe(out);
    assert.deepEqual([recipe.method.name, recipe.compat, recipe.input.dtype], ["model_stock", "mergekit", "BF16"]);
  });

  it("works without the models, and says so", async () => {
    const file = recipeAt("away.yml", "merge_method: linear\nmodels: [{model: ./away, parameters: {weight: 1}}]\n");
    const { exitCode, json } = await outcomeOf("convert", file);
    assert.equal(exitCode, 0);
    assert.match(json.unread, /no such|not|there/);
    assert.match(json.mergekit.join(), /first model/);
  });

  it("takes the defects along under --compat strict", async () => {
    const file = recipeAt(
      "sce.yml",
      "merge_method: linear\nbase_modle: x\nmodels: [{model: @a, parameters: {weight: 1}}]\n",
    );
    const { json } = await outcomeOf("convert", file, "--compat", "strict");
    assert.match(json.notes.join(), /base_modle.*base_model/);
    assert.match(json.recipe, /^compat: strict$/m);
    await assert.rejects(outcomeOf("convert", file), /write base_model/);
  });

  it("gives a native recipe back in full", async () => {
    const file = recipeAt("native.yaml", "method: average\nmodels: [@a]\n");
    const { out } = await mergewright("convert", file);
    assert.match(out, /^method: average\ndialect: paper\n/);
  });
});

describe("mergewright plan", () => {
  it("says where mergekit differs", async () => {
    const file = recipeAt("nuslerp.yml", "merge_method: karcher\nmodels: [{model: @a}, {model: @b}]\ndtype: float16\n");
    const { out } = await mergewright("plan", file);
    assert.match(out, /^where mergekit 0\.1\.5 differs\n {2}- config and tokenizer come from the first model/m);
  });
});
