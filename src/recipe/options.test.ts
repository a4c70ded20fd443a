import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { context } from "./fakes.test.js";
import { parseRecipe } from "./native.js";
import { overrideRecipe, type RecipeOptions, recipeFromOptions } from "./options.js";
import type { Recipe } from "./recipe.js";

const MODELS: RecipeOptions = { method: "trimmer", base: "x", models: ["./mnist", "./fashion-v1.5"] };

function failure(run: () => Recipe): MergewrightError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof MergewrightError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "no error" });
}

function withoutPlaces(recipe: Recipe) {
  return { ...recipe, positions: {}, notes: [] };
}

describe("flags alone", () => {
  it("say the same as a file", () => {
    const flags = recipeFromOptions(
      {
        method: "trimmer/tool",
        base: "./base",
        models: ["./mnist", "007"],
        parameters: [
          "lambda@*.mlp.*=0.5",
          "lambda=1e-1",
          "lambda@a=b*=2",
          "mnist.weight=0.5",
          "model2.weight=-1",
          "model2.density@*=1",
          "normalize=false",
          "oracle=./a=b",
        ],
        dare: ["0.9", "rescale=false", "mnist.drop=0.5", "drop@*.bias=0"],
        lines: "0.4,-0.1",
        exclude: ["head.*"],
        heads: "separate",
        missing: "skip",
        dtype: "float16",
        shardSize: "1GB",
        seed: 3,
      },
      context,
    );
    const file = parseRecipe(
      `method: trimmer/tool
base: ./base
models:
  - {model: ./mnist, weight: 0.5, drop: 0.5}
  - {model: 007, weight: -1, density: {patterns: {"*": 1}}}
parameters:
  lambda: {value: 0.1, patterns: {"*.mlp.*": 0.5, "a=b*": 2}}
  normalize: false
  oracle: ./a=b
dare: {drop: {value: 0.9, patterns: {"*.bias": 0}}, rescale: false}
lines: {alpha: 0.4, beta: -0.1}
exclude: [head.*]
heads: separate
missing: skip
output: {dtype: float16, shard_size: 1GB}
seed: 3
`,
      context,
    );
    assert.deepEqual(withoutPlaces(flags), withoutPlaces(file));
  });

  it("are named where something is wrong with them", () => {
    const rows: readonly (readonly [RecipeOptions, string, string | undefined])[] = [
      [{ ...MODELS, parameters: ["densty=0.2"] }, "recipe/unknown-parameter", "--parameter densty=0.2"],
      [{ ...MODELS, parameters: ["density=2"] }, "recipe/out-of-range", "--parameter density=2"],
      [{ ...MODELS, parameters: ["density@*[=2"] }, "recipe/pattern", '--parameter "density@*[=2"'],
      [{ ...MODELS, parameters: ["density"] }, "usage", "--parameter density"],
      [{ ...MODELS, parameters: ["=1"] }, "usage", "--parameter =1"],
      [{ ...MODELS, parameters: ["density@a"] }, "usage", "--parameter density@a"],
      [{ ...MODELS, parameters: ["density=0.1", "density=0.2"] }, "usage", "--parameter density=0.2"],
      [{ ...MODELS, parameters: ["mnst.density=0.1"] }, "recipe/models", "--parameter mnst.density=0.1"],
      [{ ...MODELS, parameters: ["model3.density=0.1"] }, "recipe/models", "--parameter model3.density=0.1"],
      [{ ...MODELS, parameters: ["mnist.lambda=0.1"] }, "recipe/unknown-parameter", "--parameter mnist.lambda=0.1"],
      [{ ...MODELS, dare: "2" }, "recipe/out-of-range", "--dare 2"],
      [{ ...MODELS, dare: "rescale=maybe" }, "recipe/missing-key", "--dare rescale=maybe"],
      [{ ...MODELS, dare: "mnist.rescale=false" }, "usage", "--dare mnist.rescale=false"],
      [{ ...MODELS, lines: "0.1,0.2,0.3" }, "usage", '--lines "0.1,0.2,0.3"'],
      [{ ...MODELS, lines: "half" }, "recipe/wrong-type", "--lines half"],
      [{ ...MODELS, heads: "bse" }, "recipe/out-of-range", "--heads bse"],
      [{ ...MODELS, seed: "x" }, "recipe/wrong-type", "--seed x"],
      [{ ...MODELS, dtype: "bf16" }, "recipe/out-of-range", "--dtype bf16"],
      [{ ...MODELS, shardSize: "5G" }, "recipe/wrong-type", "--shard-size 5G"],
      [{ ...MODELS, method: "tremmer" }, "recipe/unknown-method", "--method tremmer"],
      [{ ...MODELS, dialect: "tol" }, "recipe/unknown-method", "--dialect tol"],
      [{ ...MODELS, models: ["a", "./a"] }, "recipe/models", "--model ./a"],
      [{ ...MODELS, models: [] }, "recipe/models", "--model"],
      [{ ...MODELS, exclude: ["{"] }, "recipe/pattern", '--exclude "{"'],
      [{ ...MODELS, base: undefined }, "recipe/missing-key", "command line"],
      [{}, "recipe/missing-key", "command line"],
    ];
    for (const [options, code, key] of rows) {
      const error = failure(() => recipeFromOptions(options, context));
      assert.deepEqual([error.code, error.where.key, error.where.line], [code, key, undefined], error.message);
    }
  });

  it("reach models by name with dots, and by number", () => {
    const { models } = recipeFromOptions(
      { ...MODELS, parameters: ["fashion-v1.5.weight=2", "model1.weight=3"] },
      context,
    );
    assert.deepEqual(
      models.map(({ parameters }) => parameters.weight!.value),
      [3, 2],
    );
  });

  it("prefer a name to a number", () => {
    const options = { ...MODELS, models: ["a", "model1"], parameters: ["model1.weight=2"] };
    assert.equal(recipeFromOptions(options, context).models[1]!.parameters.weight!.value, 2);
  });

  it("allow duplicates when told", () => {
    const options = { ...MODELS, models: ["a", "a"], allowDuplicates: true };
    assert.deepEqual(
      recipeFromOptions(options, context).models.map(({ name }) => name),
      ["a", "a-2"],
    );
  });
});

describe("flags over a file", () => {
  const file = `method: trimmer/tool
base: x
models:
  - a
  - {model: b, weight: 2, density: {value: 0.3, patterns: {"*.w": 0.1}}}
  - {model: c, parameters: {weight: 3}, drop: 0.1}
parameters:
  density: {value: 0.5, patterns: {"*.w": 0.4, "*.b": 0.6}}
dare: {drop: 0.5}
exclude: [one, two]
output: {dtype: float16}
seed: 1
`;
  const over = (options: RecipeOptions) => overrideRecipe(file, options, context);

  it("change nothing when there are none", () => {
    assert.deepEqual(over({}), parseRecipe(file, context));
  });

  it("win, and are named as the place", () => {
    const recipe = over({ base: "y", seed: "2", shardSize: "1MB", exclude: ["three"], heads: "separate" });
    assert.deepEqual([recipe.base, recipe.seed, recipe.exclude, recipe.heads], ["y", 2, ["three"], "separate"]);
    assert.deepEqual(recipe.output, { dtype: "F16", shardSize: 1e6 });
    assert.deepEqual(recipe.positions.seed, { key: "--seed 2" });
    assert.equal(recipe.positions.method!.line, 1);
  });

  it("replace a global value with its patterns, and say whom they do not reach", () => {
    const recipe = over({ parameters: ["density=0.9", "weight=5"], dare: "0.2" });
    assert.deepEqual(recipe.parameters.density, { value: 0.9, patterns: [] });
    assert.deepEqual(recipe.notes, [
      "--parameter density=0.9 does not reach b: the file sets density there itself",
      "--parameter weight=5 does not reach b, c: the file sets weight there itself",
      "--dare 0.2 does not reach c: the file sets drop there itself",
    ]);
    assert.deepEqual(over({ parameters: ["weight=5", "b.weight=5", "c.weight=5"] }).notes, []);
  });

  it("put patterns before those of the file", () => {
    assert.deepEqual(over({ parameters: ["density@x.*=0.1", "density@*.b=0.2"] }).parameters.density, {
      value: 0.5,
      patterns: [
        { pattern: "x.*", value: 0.1 },
        { pattern: "*.b", value: 0.2 },
        { pattern: "*.w", value: 0.4 },
      ],
    });
    assert.deepEqual(over({ parameters: ["lambda@*=2"] }).parameters.lambda, {
      value: 0.3,
      patterns: [{ pattern: "*", value: 2 }],
    });
  });

  it("replace a model's own values wherever they stand", () => {
    const { models } = over({
      parameters: ["a.weight=1", "b.weight=4", "b.density@q=1", "c.weight=6"],
      dare: ["c.drop=0"],
    });
    assert.deepEqual(
      models.map(({ parameters }) => parameters.weight!.value),
      [1, 4, 6],
    );
    assert.deepEqual(models[1]!.parameters.density, {
      value: 0.3,
      patterns: [
        { pattern: "q", value: 1 },
        { pattern: "*.w", value: 0.1 },
      ],
    });
    assert.deepEqual(models[2]!.prune, { density: { value: 1, patterns: [] } });
  });

  it("replace the models, the dialect, the method, DARE", () => {
    assert.deepEqual(
      over({ models: ["z"] }).models.map(({ model }) => model),
      ["z"],
    );
    assert.equal(over({ dialect: "paper" }).dialect, "paper");
    assert.equal(over({ method: "trimmer" }).dialect, "paper");
    assert.equal(over({ dare: "none" }).prune, null);
    assert.deepEqual(over({ dare: "none" }).models[2]!.prune, {});
  });

  it("leave the file's own errors to be reported", () => {
    for (const text of ["", "- a", "method: trimmer\nbase: x\nmodels: 1\nparameters: []\noutput: 1\ndare: 2\n"]) {
      const options = { parameters: ["density=1", "a.weight=1"], dtype: "float16", dare: "0.1" };
      assert.equal(failure(() => overrideRecipe(text, options, context)).where.line !== undefined, true);
    }
  });
});
