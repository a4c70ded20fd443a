import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { openInputs } from "../inputs.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import { readRecipe } from "../recipes.js";
import { files, type Tensors } from "./fixtures.test.js";
import { makePlan } from "./plan.js";
import type { Plan } from "./types.js";

function network(layers: number, prefix = ""): Tensors {
  const tensors: Record<string, readonly ["F32", ...number[]]> = {
    [`${prefix}model.embed_tokens.weight`]: ["F32", 8, 4],
  };
  for (let i = 0; i < layers; i++) {
    tensors[`${prefix}model.layers.${i}.mlp.weight`] = ["F32", 4, 4];
    tensors[`${prefix}model.layers.${i}.norm.weight`] = ["F32", 4];
  }
  return { ...tensors, [`${prefix}model.norm.weight`]: ["F32", 4], [`${prefix}lm_head.weight`]: ["F32", 8, 4] };
}

const models: Readonly<Record<string, Record<string, Uint8Array>>> = {
  base: files(network(4)),
  x: files(network(4), { num_hidden_layers: 4 }),
  y: files(network(6)),
  nested: files({
    ...Object.fromEntries([0, 1].map((i) => [`model.language.layers.${i}.w`, ["F32", 2] as const])),
    ...Object.fromEntries([0, 1].map((i) => [`model.language_model.layers.${i}.w`, ["F32", 2] as const])),
  }),
  seeing: files({ "vision.blocks.0.w": ["F32", 2], "vision.blocks.1.w": ["F32", 2], ...network(3, "language.") }),
};

async function planOf(text: string): Promise<Plan> {
  const recipe = readRecipe(text, "recipe.yaml");
  const open = await openInputs(recipe, (label) => openCheckpoint(label, memoryFolder(models[label]!)));
  return makePlan(recipe, open);
}

/** Output name, and of each stream which tensor of which model it is. */
function origins(plan: Plan): string[] {
  return plan.tensors.map(({ name, inputs, settings }) => {
    const from = inputs.map(({ model }) => plan.inputs.filter(({ role }) => role === "model")[model]?.name ?? "base");
    return `${name} < ${from.join("+")} ${settings?.models.map((values) => String(values.weight)).join("+") ?? "copied"}`;
  });
}

describe("a gradient", () => {
  it("runs from what lies before the first layer to what lies behind the last", async () => {
    const plan = await planOf("method: average\nmodels: [x]\nparameters: {weight: [1, 4]}\n");
    assert.deepEqual(
      plan.tensors.map(({ name, settings }) => [name, settings!.models[0]!.weight]),
      [
        ["model.embed_tokens.weight", 1],
        ["model.layers.0.mlp.weight", 1],
        ["model.layers.0.norm.weight", 1],
        ["model.layers.1.mlp.weight", 2],
        ["model.layers.1.norm.weight", 2],
        ["model.layers.2.mlp.weight", 3],
        ["model.layers.2.norm.weight", 3],
        ["model.layers.3.mlp.weight", 4],
        ["model.layers.3.norm.weight", 4],
        ["model.norm.weight", 4],
        ["lm_head.weight", 4],
      ],
    );
  });
});

describe("slices", () => {
  it("stack layers, restart gradients and take the ends from the first and the last slice", async () => {
    const plan = await planOf(`
method: average
slices:
  - models: [{model: x, layers: [0, 2], weight: [1, 2]}]
  - models: [{model: y, layers: [3, 6]}]
    parameters: {weight: {value: [5, 7], patterns: {"model.layers.3.norm*": 9}}}
  - models: [{model: x, layers: [1, 2], weight: {patterns: {"model.layers.1.mlp*": 3}}}]
parameters: {weight: 8}
`);
    assert.deepEqual(origins(plan), [
      "model.embed_tokens.weight < x 1",
      "model.layers.0.mlp.weight < x 1",
      "model.layers.0.norm.weight < x 1",
      "model.layers.1.mlp.weight < x 2",
      "model.layers.1.norm.weight < x 2",
      "model.layers.2.mlp.weight < y 5",
      "model.layers.2.norm.weight < y 5",
      "model.layers.3.mlp.weight < y 6",
      "model.layers.3.norm.weight < y 9",
      "model.layers.4.mlp.weight < y 7",
      "model.layers.4.norm.weight < y 7",
      "model.layers.5.mlp.weight < x 3",
      "model.layers.5.norm.weight < x 8",
      "model.norm.weight < x 8",
      "lm_head.weight < x 8",
    ]);
    const left = plan.skipped.filter(({ model }) => model === "x").map(({ name }) => name);
    assert.deepEqual(left, [
      "model.layers.2.mlp.weight",
      "model.layers.2.norm.weight",
      "model.layers.3.mlp.weight",
      "model.layers.3.norm.weight",
    ]);
    assert.deepEqual(plan.warnings, []);
  });

  it("read the right layer of base and models", async () => {
    const plan = await planOf(`
method: task_arithmetic
base: base
slices:
  - base_layers: [2, 4]
    models: [{model: x, layers: [1, 3]}, {model: y, layers: [4, 6]}]
`);
    const tensor = plan.tensors.find(({ name }) => name === "model.layers.0.mlp.weight")!;
    const place = async (label: string, name: string) => {
      const checkpoint = await openCheckpoint(label, memoryFolder(models[label]!));
      return checkpoint.tensors.get(name)!.offset;
    };
    assert.equal(tensor.base!.offset, await place("base", "model.layers.2.mlp.weight"));
    assert.deepEqual(
      tensor.inputs.map(({ stream }) => stream.offset),
      [await place("x", "model.layers.1.mlp.weight"), await place("y", "model.layers.4.mlp.weight")],
    );
  });

  it("cut one module and leave the others", async () => {
    const plan = await planOf(`
method: average
modules:
  language:
    slices:
      - models: [{model: seeing, layers: [0, 1]}]
      - models: [{model: seeing, layers: [0, 1]}]
`);
    assert.deepEqual(origins(plan), [
      "language.model.embed_tokens.weight < seeing 1",
      "language.model.layers.0.mlp.weight < seeing 1",
      "language.model.layers.0.norm.weight < seeing 1",
      "language.model.layers.1.mlp.weight < seeing 1",
      "language.model.layers.1.norm.weight < seeing 1",
      "language.model.norm.weight < seeing 1",
      "language.lm_head.weight < seeing 1",
      "vision.blocks.0.w < seeing copied",
      "vision.blocks.1.w < seeing copied",
    ]);
  });

  it("find a module behind model. and under the name of its part", async () => {
    for (const name of ["language", "text_decoder"]) {
      const plan = await planOf(`
method: average
modules:
  ${name}: {slices: [{models: [{model: nested, layers: [0, 1]}]}]}
`);
      assert.deepEqual(
        plan.tensors.map(({ name: tensor, action }) => [tensor, action]),
        [
          [`model.${name === "language" ? "language" : "language_model"}.layers.0.w`, "merge"],
          [`model.${name === "language" ? "language_model" : "language"}.layers.0.w`, "copy"],
          [`model.${name === "language" ? "language_model" : "language"}.layers.1.w`, "copy"],
        ],
      );
    }
  });

  it("refuse a module that is not there, with the line", async () => {
    const text = "method: average\nmodules:\n  speech: {slices: [{models: [{model: nested, layers: [0, 1]}]}]}";
    await assert.rejects(planOf(text), (error) => {
      assert.ok(error instanceof MergewrightError && error.code === "plan/layers", String(error));
      assert.deepEqual([error.where.line, error.found], [3, "names that begin with model"]);
      return true;
    });
  });

  for (const [what, slices, line, pattern] of [
    ["layers that are not there", "- models: [{model: x, layers: [2, 5]}]", 3, /up to 4.*\n.*\[2, 5\]/s],
    [
      "all layers of models of different depth",
      "- models: [x, y]\n- models: [{model: x, layers: [0, 1]}]",
      3,
      /4 layers/,
    ],
    ["a model with several stacks", "- models: [{model: seeing, layers: [0, 1]}]", 2, /modules:/],
  ] as const) {
    it(`refuse ${what}, with the line`, async () => {
      await assert.rejects(planOf(`method: average\nslices:\n${slices}`), (error) => {
        assert.ok(error instanceof MergewrightError && error.code === "plan/layers", String(error));
        assert.equal(error.where.line, line);
        assert.match(error.message, pattern);
        return true;
      });
    });
  }
});
