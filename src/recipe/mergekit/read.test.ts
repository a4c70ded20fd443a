import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../../errors.js";
import { methods } from "../../methods/catalogue.js";
import { parseRecipe } from "../native.js";
import { overrideRecipe } from "../options.js";
import { flatPlace, settingsFor, whereOf } from "../pattern.js";
import type { Recipe } from "../recipe.js";
import { stringifyRecipe } from "../write.js";

const parse = (text: string): Recipe => parseRecipe(text, { methods, file: "recipe.yml" });

const TIES = `
models:
  - model: org/base
  - model: org/one
    parameters: {density: 0.5, weight: "5e-1"}
  - model: org/two
    parameters:
      density: [1, 0.5]
      weight:
        - {filter: mlp, value: [0, 1]}
        - {filter: "a*b[c]", value: 3}
        - value: true
merge_method: ties
base_model: org/base
parameters: {normalize: 1, int8_mask: true}
dtype: torch.float16
out_dtype: bfloat16
`;

describe("a recipe of mergekit", () => {
  it("is read into our words", () => {
    const recipe = parse(TIES);
    assert.equal(`${recipe.method.name}/${recipe.dialect}`, "ties/mergekit");
    assert.equal(recipe.base, "org/base");
    assert.deepEqual(
      recipe.models.map(({ model, name, parameters }) => [model, name, parameters.density, parameters.weight]),
      [
        ["org/one", "one", { value: 0.5, patterns: [] }, { value: 0.5, patterns: [] }],
        [
          "org/two",
          "two",
          { value: [1, 0.5], patterns: [] },
          {
            value: 1,
            patterns: [
              { pattern: "*mlp*", value: [0, 1] },
              { pattern: "*a\\*b\\[c\\]*", value: 3 },
            ],
          },
        ],
      ],
    );
    assert.equal(recipe.parameters.merge!.value, "mean");
    assert.equal(recipe.parameters.weight!.value, null);
    assert.deepEqual([recipe.input.dtype, recipe.output.dtype], ["F16", "BF16"]);
    assert.deepEqual([recipe.compat, recipe.missing, recipe.mergekit], ["mergekit", "skip", TIES]);
    assert.deepEqual(recipe.notes, []);
  });

  it("can be said in our words, with the same meaning", () => {
    const recipe = parse(TIES);
    const native = parse(stringifyRecipe(recipe));
    assert.deepEqual({ ...native, positions: {}, mergekit: null }, { ...recipe, positions: {}, mergekit: null });
  });

  it("has places", () => {
    const recipe = parse(TIES);
    assert.equal(whereOf(recipe, "models.1.parameters.weight.patterns.1").line, 11);
    assert.equal(whereOf(recipe, "models.0.model").line, 4);
    assert.equal(whereOf(recipe, "parameters.merge").line, 15);
    assert.equal(whereOf(recipe, "base").line, 14);
  });

  it("takes a base that linear does not list as its last member, with the weight of the top level", () => {
    const recipe = parse(
      "merge_method: linear\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1}}]\nparameters: {weight: 2}",
    );
    assert.deepEqual(
      recipe.models.map(({ model }) => model),
      ["a", "b"],
    );
    const { models } = settingsFor(recipe, flatPlace("x", 0, [0, 1]));
    assert.deepEqual(
      models.map(({ weight }) => weight),
      [1, 2],
    );
  });

  it("says for which tensor and model a required value is missing", () => {
    const recipe = parse(
      "merge_method: linear\nmodels:\n- model: a\n- model: c\n  parameters: {weight: {value: 1, filter: mlp}}\nparameters: {}",
    );
    assert.throws(
      () => settingsFor(recipe, flatPlace("x.norm", 0, [0, 1])),
      (error) => {
        assert.ok(error instanceof MergewrightError && error.code === "recipe/missing-key");
        assert.deepEqual([error.where.line, error.where.tensor], [3, "x.norm"]);
        return true;
      },
    );
  });

  it("puts the base of a slice where it stands", () => {
    const recipe = parse(`
slices:
  - sources: [{model: b, layer_range: [4, 6]}, {model: a, layer_range: [0, 2], parameters: {weight: 1}}]
  - sources: [{model: c, layer_range: [0, 1]}, {model: a, layer_range: [3, 4]}]
    base_model: a
merge_method: task_arithmetic
base_model: b
parameters: {weight: 0.5}
`);
    assert.deepEqual(
      recipe.layout!.modules[0]!.slices.map(({ base, members }) => [
        base,
        members.map(({ model, layers }) => [model, layers]),
      ]),
      [
        [{ model: -1, layers: [4, 6] }, [[0, [0, 2]]]],
        [{ model: 0, layers: [3, 4] }, [[1, [0, 1]]]],
      ],
    );
    const native = parse(stringifyRecipe(recipe));
    assert.deepEqual({ ...native, positions: {}, mergekit: null }, { ...recipe, positions: {}, mergekit: null });
  });

  it("reads tokenizers and chat templates", () => {
    const head = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n";
    assert.deepEqual(parse(`${head}tokenizer_source: union`).tokenizer, {
      source: { kind: "union" },
      tokens: [],
      padToMultipleOf: null,
      keepPadding: true,
    });
    const text = `${head}tokenizer:
  source: {model: {path: x/y}}
  pad_to_multiple_of: 64
  tokens:
    <|im_end|>: {source: a, force: true}
    <pad>: {source: {kind: zero}}
    <x>: {source: {kind: model_token, model: a, token_id: 7}}
chat_template: chatml
`;
    const { tokenizer, chatTemplate } = parse(text);
    assert.deepEqual(tokenizer, {
      source: { kind: "model", model: "x/y" },
      padToMultipleOf: 64,
      keepPadding: true,
      tokens: [
        { token: "<|im_end|>", source: { kind: "model", model: "a" }, force: true },
        { token: "<pad>", source: { kind: "zero" }, force: false },
        { token: "<x>", source: { kind: "model-token", model: "a", token: 7 }, force: false },
      ],
    });
    assert.equal(chatTemplate, "chatml");
  });

  it("takes flags on top", () => {
    const recipe = overrideRecipe(TIES, { dtype: "float32", seed: 3, parameters: ["two.density=0.25"] }, { methods });
    assert.deepEqual([recipe.output.dtype, recipe.seed, recipe.compat], ["F32", 3, "mergekit"]);
    assert.equal(recipe.models[1]!.parameters.density!.value, 0.25);
    assert.equal(recipe.mergekit, TIES);
    assert.equal(whereOf(recipe, "models.0.model").line, 4);
    assert.equal(overrideRecipe(TIES, { compat: "strict" }, { methods }).compat, "strict");
  });

  it("tells of sources that mergekit would forget", () => {
    const { notes } = parse(`
merge_method: linear
parameters: {weight: 1}
slices:
  - sources: [{model: a, layer_range: [0, 1]}]
  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [1, 2]}]
`);
    assert.match(notes.join(), /first 1 sources of the last slice; here all 2/);
  });

  it("says what it does not use", () => {
    const notes = (text: string) => parse(text).notes;
    const head =
      "merge_method: linear\nmodels:\n- model: a\n  layer_range: [0, 2]\n  parameters: {weight: 1, density: 0.5, normalize: true}\n";
    assert.deepEqual(notes(head), [
      "line 4: layer_range has no effect under models, only under slices",
      "line 5: linear does not use density",
      "line 5: normalize has no effect under a model, only under the recipe's parameters",
    ]);
    assert.deepEqual(
      notes("merge_method: ties\nbase_model: b\nmodels: [{model: a}]\nparameters: {weight: 1, density: 1.5}"),
      ["parameters.density: 1.5 is as good as 1"],
    );
  });
});

describe("several recipes in one file", () => {
  it("become one, with merges inside", () => {
    const recipe = parse(`
name: first
merge_method: linear
models: [{model: a}, {model: b}]
parameters: {weight: 1}
---
merge_method: task_arithmetic
base_model: base
models: [{model: first}, {model: c}]
parameters: {weight: 0.5}
`);
    const [label] = Object.keys(recipe.merges);
    assert.deepEqual(
      recipe.models.map(({ model }) => model),
      [label, "c"],
    );
    const inner = recipe.merges[label!]!;
    assert.deepEqual([inner.method.name, inner.models.map(({ model }) => model)], ["linear", ["a", "b"]]);
  });

  for (const [what, text, line] of [
    ["two without a name", "merge_method: linear\nmodels: []\n---\nmerge_method: linear\nmodels: []", 4],
    ["none without a name", "name: a\nmerge_method: linear\n---\nname: b\nmerge_method: linear", 4],
    ["two of one name", "name: a\nmerge_method: linear\n---\nname: a\nmerge_method: linear", 4],
    [
      "a circle",
      "name: a\nmerge_method: linear\nmodels: [{model: b}]\n---\nname: b\nmerge_method: linear\nmodels: [{model: a}]\n---\nmerge_method: linear\nmodels: [{model: a}]",
      7,
    ],
    ["something else among them", "merge_method: linear\nmodels: []\n---\nmethod: average", 4],
  ] as const) {
    it(`are refused with ${what}`, () => {
      assert.throws(
        () => parse(text),
        (error) => {
          assert.ok(error instanceof MergewrightError && error.code === "recipe/syntax", String(error));
          assert.equal(error.where.line, line);
          return true;
        },
      );
    });
  }
});

describe("a recipe of mergekit with a mistake is an error with its line:", () => {
  const models = "models: [{model: a, parameters: {weight: 1}}, {model: c, parameters: {weight: 1}}]";
  for (const [what, text, line, pattern] of [
    ["an unknown method", `merge_method: tise\n${models}`, 1, /write ties/],
    ["a misspelt key", `merge_method: linear\n${models}\nbase_modl: x`, 3, /write base_model/],
    [
      "a misspelt parameter",
      `merge_method: ties\nbase_model: b\nmodels:\n- model: a\n  parameters: {densty: 0.5, weight: 1}`,
      5,
      /write density/,
    ],
    ["no models", "merge_method: linear\n", 1, /one of models, slices and modules/],
    ["models and slices", `merge_method: linear\n${models}\nslices: []`, 3, /one of models, slices and modules/],
    [
      "a model twice",
      "merge_method: linear\nmodels: [{model: a}, {model: ./a}]\nparameters: {weight: 1}",
      2,
      /twice in one list/,
    ],
    ["no base", `merge_method: ties\n${models}`, 2, /base_model/],
    [
      "a base that a slice does not list",
      "merge_method: ties\nbase_model: b\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\nparameters: {weight: 1}",
      4,
      /among the sources/,
    ],
    ["the base alone", "merge_method: ties\nbase_model: b\nmodels: [{model: b}]", 3, /at least 1 beside the base/],
    [
      "two inputs of passthrough",
      `merge_method: passthrough\nbase_model: b\nmodels: [{model: a}]`,
      3,
      /a base_model counts/,
    ],
    [
      "slices of unequal length",
      "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n  - {model: c, layer_range: [0, 3]}\nparameters: {weight: 1}",
      5,
      /2 layers, as a/,
    ],
    [
      "a slice without layers",
      "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [2, 2]}\nparameters: {weight: 1}",
      4,
      /no layers/,
    ],
    [
      "a source without a range",
      "merge_method: linear\nslices:\n- sources:\n  - {model: a}\nparameters: {weight: 1}",
      4,
      /layer_range/,
    ],
    ["a gradient of nothing", `merge_method: linear\n${models}\nparameters: {weight: []}`, 3, /at least one value/],
    ["a number that is none", `merge_method: linear\n${models}\nparameters: {weight: half}`, 3, /a number/],
    ["a truth that is none", `merge_method: linear\n${models}\nparameters: {normalize: 0.5}`, 3, /true or false/],
    ["nothing for a value", `merge_method: linear\n${models}\nparameters: {weight: null}`, 3, /a number/],
    [
      "a condition without a value",
      `merge_method: linear\n${models}\nparameters: {weight: [{filter: mlp}]}`,
      3,
      /value/,
    ],
    ["a dtype that is none", `merge_method: linear\n${models}\ndtype: bf16`, 3, /bfloat16/],
    ["whole numbers for weights", `merge_method: linear\n${models}\ndtype: int64`, 3, /float32/],
    ["a revision", "merge_method: linear\nmodels: [{model: a@main}]\nparameters: {weight: 1}", 2, /revision/],
    ["two pluses", "merge_method: linear\nmodels: [{model: a+b+c}]\nparameters: {weight: 1}", 2, /path\[@revision\]/],
    [
      "tokenizer and tokenizer_source",
      `merge_method: linear\n${models}\ntokenizer: {source: base}\ntokenizer_source: base`,
      4,
      /do not go together/,
    ],
    ["a template that is none", `merge_method: linear\n${models}\nchat_template: chatlm`, 3, /write chatml/],
    ["an unknown compat", `merge_method: linear\n${models}\ncompat: loose`, 3, /strict/],
  ] as const) {
    it(what, () => {
      assert.throws(
        () => parse(text),
        (error) => {
          assert.ok(error instanceof MergewrightError, String(error));
          assert.equal(error.where.line, line, error.message);
          assert.match(error.message, pattern);
          return true;
        },
      );
    });
  }

  it("and what mergekit ignores is a note under compat: strict", () => {
    const recipe = parse(
      "compat: strict\nmerge_method: linear\nmodels: [{model: a, parameters: {weight: 1, wieght: 2}}]\nbase_modl: x\nparameters: {weight: []}",
    );
    assert.deepEqual(recipe.notes, [
      'line 4: mergekit ignores the key "base_modl" (is it base_model?)',
      "parameters.weight: an empty list is no value",
      'line 3: mergekit ignores the parameter "wieght" (is it weight?)',
    ]);
  });
});
