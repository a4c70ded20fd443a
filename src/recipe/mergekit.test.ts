import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { methods } from "../methods/catalogue.js";
import { parseRecipe } from "./native.js";

function advice(text: string): string {
  try {
    parseRecipe(text, { methods });
  } catch (error) {
    assert.ok(error instanceof MergewrightError);
    assert.equal(error.code, "recipe/unsupported");
    assert.equal(error.where.line, text.slice(0, text.indexOf("merge_method")).split("\n").length);
    return error.advice!;
  }
  throw new assert.AssertionError({ message: "parsed" });
}

/** The recipe inside the advice, parsed. */
function suggested(text: string) {
  const recipe = advice(text)
    .split("\n")
    .slice(1)
    .map((line) => line.slice(4))
    .join("\n");
  return parseRecipe(recipe, { methods });
}

describe("a mergekit recipe", () => {
  it("is answered with the same merge in native words", () => {
    const recipe = suggested(`
models:
  - model: org/base
  - model: org/one
    parameters: {density: 0.5, weight: 0.5}
  - model: org/two
    parameters: {density: 0.25, weight: 1}
merge_method: ties
base_model: org/base
parameters: {normalize: true, int8_mask: true}
dtype: torch.float16
out_dtype: bfloat16
`);
    assert.equal(`${recipe.method.name}/${recipe.dialect}`, "ties/mergekit");
    assert.equal(recipe.base, "org/base");
    assert.deepEqual(
      recipe.models.map(({ model, parameters }) => [model, parameters.density!.value, parameters.weight!.value]),
      [
        ["org/one", 0.5, 0.5],
        ["org/two", 0.25, 1],
      ],
    );
    assert.equal(recipe.output.dtype, "BF16");
  });

  it("keeps shared values", () => {
    const recipe = suggested("merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}");
    assert.equal(recipe.method.name, "average");
    assert.equal(recipe.parameters.weight!.value, 0.5);
  });

  const plain = "base_model: b\nmodels: [{model: a, parameters: {weight: 1}}]\n";
  for (const [why, text] of [
    ["another method", `merge_method: slerp\n${plain}`],
    ["a gradient", "merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: {weight: [0, 1]}}]"],
    [
      "a filter",
      "merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: {weight: [{filter: mlp, value: 1}]}}]",
    ],
    ["another normalize", `merge_method: ties\n${plain}parameters: {normalize: false}`],
    ["slices", "merge_method: ties\nslices: []"],
    ["a tokenizer", `merge_method: ties\n${plain}tokenizer_source: union`],
    ["an unknown parameter", "merge_method: ties\nbase_model: b\nmodels: [{model: a, parameters: {densty: 1}}]"],
    ["an integer dtype", `merge_method: ties\n${plain}dtype: int64`],
    ["a base of linear", `merge_method: linear\n${plain}`],
    ["a broken list", "merge_method: ties\nbase_model: b\nmodels: [1, {parameters: 1}]"],
  ] as const) {
    it(`gets a general example where it has ${why}`, () =>
      assert.match(advice(text), /for example:\n {4}method: ties/));
  }
});
