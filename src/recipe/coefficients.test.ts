import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { methods } from "../methods/catalogue.js";
import { parseRecipe } from "./native.js";
import { stringifyRecipe } from "./write.js";

const recipe = (method: string, more: string) =>
  parseRecipe(`method: ${method}\nbase: ./base\nmodels: [./a, ./b]\n${more}`, { methods });

const refused = (method: string, more: string, pattern: RegExp) =>
  assert.throws(
    () => recipe(method, more),
    (error) => error instanceof MergewrightError && pattern.test(error.message),
  );

describe("coefficients: in a recipe", () => {
  it("names a table, and sets what goes with it", () => {
    const { coefficients, parameters } = recipe("task_arithmetic", "coefficients: c.safetensors");
    assert.equal(coefficients, "c.safetensors");
    assert.deepEqual(parameters.lambda, { value: 1, patterns: [] });
    assert.equal(recipe("task_arithmetic", "coefficients: null").coefficients, null);
    assert.equal(recipe("task_arithmetic", "").parameters.lambda!.value, 0.3);
  });

  it("is written back without the values that the table gives", () => {
    for (const method of ["task_arithmetic", "adamerging/plus-plus"]) {
      const text = stringifyRecipe(recipe(method, "coefficients: c.safetensors"));
      assert.match(text, /^coefficients: c\.safetensors$/m);
      assert.doesNotMatch(text, /weight:|coefficient:/);
      assert.equal(stringifyRecipe(parseRecipe(text, { methods })), text);
    }
  });

  it("is refused where it makes no sense", () => {
    refused("average", "coefficients: c.safetensors", /average takes no table[^]*adamerging/);
    refused(
      "task_arithmetic",
      "coefficients: c\nparameters: {lambda: 0.4}",
      /lambda does not go together[^]*lambda: 1/,
    );
    refused("task_arithmetic", "coefficients: c\nparameters: {weight: 0.4}", /weight is given twice/);
    refused("adamerging", "coefficients: [c]", /coefficients/);
    assert.throws(
      () =>
        parseRecipe("method: adamerging\nbase: b\nmodels: [{model: a, coefficient: 1}]\ncoefficients: c", { methods }),
      /coefficient is given twice/,
    );
  });
});
