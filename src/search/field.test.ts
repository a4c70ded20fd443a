import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { methods } from "../methods/catalogue.js";
import { readTemplate, recipeWith } from "./field.js";

const TEXT =
  "method: ties\nbase: ./base\nmodels: [./mnist, {model: ./latin, weight: 2}, {model: ./x, parameters: {weight: 3}}]\n";
const template = (text = TEXT) => readTemplate(text, { methods });
const wrong = (...fields: [string, number][]) => {
  try {
    recipeWith(template(), fields);
  } catch (error) {
    assert.ok(error instanceof MergewrightError);
    return error.message;
  }
  return assert.fail("no error");
};

describe("numbers of a recipe", () => {
  it("of the method, of models by name, path or number, of LiNeS, of pruning", () => {
    const recipe = recipeWith(template(), [
      ["parameters.lambda", 0.3],
      ["parameters.density", 0.5],
      ["models.mnist.weight", 4],
      ["models.2.weight", 5],
      ["models.x.weight", 6],
      ["lines.beta", 0.2],
      ["seed", 7],
    ]);
    assert.equal(recipe.parameters["lambda"]!.value, 0.3);
    assert.equal(recipe.parameters["density"]!.value, 0.5);
    assert.deepEqual(
      recipe.models.map(({ parameters }) => parameters["weight"]!.value),
      [4, 5, 6],
    );
    assert.equal(recipe.lines!.beta, 0.2);
    assert.equal(recipe.seed, 7);
  });

  it("of a recipe in mergekit's words, in ours", () => {
    const text = "merge_method: ties\nbase_model: ./b\nmodels: [{model: ./a, parameters: {weight: 1, density: 0.5}}]\n";
    assert.equal(recipeWith(template(text), [["parameters.lambda", 0.3]]).parameters["lambda"]!.value, 0.3);
  });

  it("a field that does not exist is an error that names it and the near ones", () => {
    assert.match(
      wrong(["parameters.lamda", 1]),
      /unknown parameter "lamda"\n {2}where: {4}--over parameters\.lamda=1[^]*write lambda/,
    );
    assert.match(wrong(["lambda", 1]), /unknown key "lambda"\n {2}where: {4}--over lambda=1/);
    assert.match(wrong(["models.mnits.weight", 1]), /no model is called "mnits"[^]*write models\.mnist/);
    assert.match(wrong(["models.mnist.wieght", 1]), /"wieght"\n {2}where: {4}--over models\.mnist\.wieght=1/);
  });

  it("so is a number that the field cannot hold", () => {
    assert.match(wrong(["parameters.density", 2]), /out of range\n {2}where: {4}--over parameters\.density=2/);
    assert.match(wrong(["method", 2]), /--over method=2/);
  });
});
