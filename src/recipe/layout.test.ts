import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { context } from "./fakes.test.js";
import { parseRecipe } from "./native.js";
import { whereOf } from "./pattern.js";
import { stringifyRecipe } from "./write.js";

const parse = (text: string) => parseRecipe(text, context);

const sliced = `method: trimmer
base: ./base
slices:
  - models:
      - {model: ./a, layers: [0, 4], weight: 0.5}
      - {model: ./b, name: bee, layers: [2, 6], parameters: {density: [0.1, 0.9]}}
    parameters: {lambda: {patterns: {"*.mlp.*": 0.5}}}
  - base_layers: [0, 2]
    models: [{model: ./b, layers: [4, 6]}]
parameters: {lambda: [1, 2]}
`;

describe("slices", () => {
  it("name each checkpoint once and keep what is said where", () => {
    const { models, layout } = parse(sliced);
    assert.deepEqual(
      models.map(({ model, name }) => [model, name]),
      [
        ["./a", "a"],
        ["./b", "bee"],
      ],
    );
    assert.deepEqual(layout, {
      modules: [
        {
          prefix: "",
          parameters: {},
          slices: [
            {
              base: { model: -1, layers: [0, 4] },
              members: [
                { model: 0, layers: [0, 4], parameters: { weight: { value: 0.5, patterns: [] } } },
                { model: 1, layers: [2, 6], parameters: { density: { value: [0.1, 0.9], patterns: [] } } },
              ],
              parameters: { lambda: { patterns: [{ pattern: "*.mlp.*", value: 0.5 }] } },
            },
            {
              base: { model: -1, layers: [0, 2] },
              members: [{ model: 1, layers: [4, 6], parameters: {} }],
              parameters: {},
            },
          ],
        },
      ],
    });
  });

  it("have places", () => {
    const recipe = parse(sliced);
    assert.equal(whereOf(recipe, "layout.0.slices.0.members.1.layers").line, 6);
    assert.equal(whereOf(recipe, "layout.0.slices.0.parameters.lambda.patterns.0").line, 7);
    assert.equal(whereOf(recipe, "layout.0.slices.1.base.layers").line, 8);
  });

  it("are written in full and read back the same", () => {
    for (const text of [
      sliced,
      sliced
        .replace("slices:", "modules:\n  text_model:\n   slices:")
        .replaceAll("\n  - ", "\n    - ")
        .replaceAll("\n      - ", "\n        - ")
        .replaceAll("\n    models", "\n      models")
        .replaceAll("\n    parameters", "\n      parameters"),
    ]) {
      const recipe = parse(text);
      const again = parse(stringifyRecipe(recipe));
      assert.deepEqual({ ...again, positions: {} }, { ...recipe, positions: {} });
      assert.ok(recipe.layout !== null);
    }
  });
});

describe("a slice with a mistake is an error with a line:", () => {
  const head = "method: trimmer\nbase: ./base\nslices:\n";
  for (const [what, text, line, pattern] of [
    ["unequal lengths", "- models: [{model: a, layers: [0, 4]}, {model: b, layers: [0, 3]}]", 4, /4 layers/],
    ["a base of another length", "- models: [{model: a, layers: [0, 4]}]\n  base_layers: [0, 5]", 5, /4 layers/],
    ["a model twice", "- models: [{model: a, layers: [0, 4]}, {model: ./a, layers: [4, 8]}]", 4, /twice in one slice/],
    ["an empty range", "- models: [{model: a, layers: [4, 4]}]", 4, /no layers/],
    ["a negative layer", "- models: [{model: a, layers: [-1, 4]}]", 4, /0 or more/],
    ["a range of three", "- models: [{model: a, layers: [0, 1, 2]}]", 4, /two whole numbers/],
    ["mergekit's words", "- sources: [{model: a, layer_range: [0, 4]}]", 4, /models/],
    ["no slice", "  []", 4, /at least one/],
  ] as const) {
    it(what, () => {
      assert.throws(
        () => parse(head + text),
        (error) => error instanceof MergewrightError && error.where.line === line && pattern.test(error.message),
      );
    });
  }
});
