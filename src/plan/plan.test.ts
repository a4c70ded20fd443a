import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { openInputs } from "../inputs.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import { readRecipe } from "../recipes.js";
import type { RecipeObject } from "../recipes.js";
import { files, type Tensors } from "./fixtures.test.js";
import { makePlan } from "./plan.js";
import type { Plan } from "./types.js";

async function planOf(recipe: RecipeObject, models: Record<string, Record<string, Uint8Array>>): Promise<Plan> {
  const open = await openInputs(readRecipe(recipe), (label) => openCheckpoint(label, memoryFolder(models[label]!)));
  return makePlan(readRecipe(recipe), open);
}

const two: Tensors = { "a.weight": ["BF16", 4, 8], "b.weight": ["BF16", 8] };
const ties = { method: "ties", base: "base", models: ["x", "y"] };
const same = { base: files(two), x: files(two), y: files(two) };

function said(code: string, ...texts: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof MergewrightError, String(error));
    assert.equal(error.code, code);
    for (const text of texts) assert.match(error.message, text);
    return true;
  };
}

const summary = ({ tensors }: Plan) => tensors.map(({ name, action, reason }) => [name, action, reason]);

describe("a plan gives every byte its place", () => {
  it("tensors follow each other behind the header", async () => {
    const plan = await planOf(ties, same);
    const start = plan.files[0]!.header.length;
    assert.deepEqual(
      plan.tensors.map(({ name, file, offset, length }) => [name, file, offset - start, length]),
      [
        ["a.weight", 0, 0, 64],
        ["b.weight", 0, 64, 16],
      ],
    );
    assert.equal(plan.files[0]!.size, start + 80);
    assert.equal(plan.estimate.outputBytes, start + 80);
    assert.equal(plan.estimate.mergedEntries, 40);
    assert.equal(plan.estimate.readBytes, 40 * 2 * 3 * plan.estimate.passes);
  });

  it("shards at the given size, with an index", async () => {
    const plan = await planOf({ ...ties, output: { shard_size: 64 } }, same);
    assert.deepEqual(
      plan.files.map(({ name }) => name),
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    );
    const index = plan.sideFiles.find(({ name }) => name === "model.safetensors.index.json");
    assert.ok(index !== undefined && "text" in index);
    assert.deepEqual(JSON.parse(index.text).weight_map["b.weight"], "model-00002-of-00002.safetensors");
  });

  it("an output dtype changes tensors, sizes and the config's dtype, and nothing else in the config", async () => {
    const config = { rope_theta: 10000.0, torch_dtype: "bfloat16", text_config: { torch_dtype: "bfloat16" } };
    const plan = await planOf({ ...ties, output: { dtype: "float32" } }, { ...same, base: files(two, config) });
    assert.deepEqual(
      plan.tensors.map(({ dtype, length }) => [dtype, length]),
      [
        ["F32", 128],
        ["F32", 32],
      ],
    );
    const written = plan.sideFiles.find(({ name }) => name === "config.json");
    assert.ok(written !== undefined && "text" in written);
    assert.deepEqual(JSON.parse(written.text), {
      rope_theta: 10000,
      torch_dtype: "float32",
      text_config: { torch_dtype: "float32" },
    });
  });
});

describe("a plan accounts for every tensor of every input", () => {
  it("excluded tensors come from the base, integers too", async () => {
    const tensors: Tensors = { ...two, "head.weight": ["F32", 2], ids: ["I64", 3] };
    const plan = await planOf(
      { ...ties, exclude: ["head.*"] },
      { base: files(tensors), x: files(tensors), y: files(tensors) },
    );
    assert.deepEqual(summary(plan), [
      ["a.weight", "merge", ""],
      ["b.weight", "merge", ""],
      ["head.weight", "copy", "excluded by the recipe; copied from the base"],
      ["ids", "copy", "I64 is not merged; copied from the base"],
    ]);
    assert.deepEqual(
      plan.skipped.map(({ model, name }) => `${model} ${name}`),
      ["x head.weight", "x ids", "y head.weight", "y ids"],
    );
  });

  it("separate heads are left out of the backbone and written per model, each with its own shape and config", async () => {
    const models = {
      base: files({ ...two, "head.weight": ["F32", 9] }),
      x: files({ ...two, "head.weight": ["F32", 2] }, { num_labels: 2 }),
      y: files({ ...two, "head.weight": ["F32", 5] }, { num_labels: 5 }),
    };
    const plan = await planOf({ ...ties, exclude: ["head.*"], heads: "separate" }, models);
    assert.deepEqual(
      plan.tensors.map(({ name, file, shape }) => [plan.files[file]!.name, name, ...shape]),
      [
        ["model.safetensors", "a.weight", 4, 8],
        ["model.safetensors", "b.weight", 8],
        ["heads/x/model.safetensors", "head.weight", 2],
        ["heads/y/model.safetensors", "head.weight", 5],
      ],
    );
    const config = plan.sideFiles.find(({ name }) => name === "heads/y/config.json");
    assert.ok(config !== undefined && "text" in config && JSON.parse(config.text).num_labels === 5);
  });

  it("a tensor that the base lacks is named and warned of", async () => {
    const plan = await planOf(ties, { ...same, y: files({ ...two, "extra.weight": ["BF16", 1] }) });
    assert.deepEqual(plan.skipped, [{ model: "y", name: "extra.weight", reason: "not in the base" }]);
    assert.match(plan.warnings.join(), /y has 1 tensors that the base lacks.*extra\.weight/);
  });

  it("a model of another architecture is called that, once no tensor has the same name", async () => {
    const config = (kind: string) => new TextEncoder().encode(JSON.stringify({ architectures: [kind] }));
    const models = {
      base: { ...same.base, "config.json": config("LlamaForCausalLM") },
      x: same.x,
      y: { ...files({ "vit.weight": ["BF16", 4, 8] }), "config.json": config("ViTModel") },
    };
    const words = [
      /y and the base are of different architectures/,
      /LlamaForCausalLM, as base is/,
      /ViTModel/,
      /one base/,
    ];
    await assert.rejects(planOf(ties, models), said("plan/missing-tensor", ...words));
  });

  it("a tensor that a model lacks is an error, or the model is left out of it", async () => {
    const models = { ...same, y: files({ "a.weight": ["BF16", 4, 8] }) };
    await assert.rejects(
      planOf(ties, models),
      said("plan/missing-tensor", /missing in y/, /tensor b\.weight/, /missing: skip/),
    );
    const plan = await planOf({ ...ties, missing: "skip" }, models);
    assert.deepEqual(
      plan.tensors.map(({ inputs }) => inputs.map(({ model }) => model)),
      [[0, 1], [0]],
    );
    assert.match(plan.warnings.join(), /b\.weight is merged without y/);
  });

  it("tied copies are merged alike and counted once, whether stored or not", async () => {
    const config = { model_type: "llama", tie_word_embeddings: true };
    const both: Tensors = { "lm_head.weight": ["BF16", 8, 4], "model.embed_tokens.weight": ["BF16", 8, 4] };
    const one: Tensors = { "model.embed_tokens.weight": ["BF16", 8, 4] };
    const plan = await planOf(ties, { base: files(both, config), x: files(one, config), y: files(both, config) });
    assert.deepEqual(
      plan.tensors.map(({ name, tiedTo, inputs }) => [name, tiedTo, inputs.length]),
      [
        ["lm_head.weight", "model.embed_tokens.weight", 2],
        ["model.embed_tokens.weight", null, 2],
      ],
    );
    const lacking = await planOf(ties, { base: files(one, config), x: files(both, config), y: files(one, config) });
    assert.match(lacking.skipped[0]!.reason, /tied to model\.embed_tokens\.weight/);
  });
});

describe("a plan refuses", () => {
  it("shapes that differ, saying which and what to do", async () => {
    const models = { ...same, x: files({ ...two, "a.weight": ["BF16", 5, 8] }) };
    await assert.rejects(
      planOf(ties, models),
      said("plan/shape", /x has another shape/, /\[4, 8\]/, /\[5, 8\]/, /heads: separate/),
    );
  });

  it("quantised weights where the base has numbers", async () => {
    const models = { ...same, x: files({ ...two, "a.weight": ["I8", 4, 8] }) };
    await assert.rejects(planOf(ties, models), said("plan/dtype", /I8/, /dequantise/));
  });

  it("a pattern that matches nothing", async () => {
    await assert.rejects(planOf({ ...ties, exclude: ["clasifier.*"] }, same), said("recipe/pattern", /clasifier/));
  });

  it("a recipe that excludes everything", async () => {
    await assert.rejects(planOf({ ...ties, exclude: ["*"] }, same), said("plan/nothing-to-merge"));
  });

  it("weights that sum to zero, unless they are not divided by", async () => {
    const models = [
      { model: "x", weight: 1 },
      { model: "y", weight: -1 },
    ];
    await assert.rejects(planOf({ method: "average", models }, same), said("recipe/out-of-range", /sum to zero/));
    await planOf({ method: "average", models, parameters: { normalize: false } }, same);
  });

  it("a density per tensor where one threshold holds for the whole model", async () => {
    const parameters = { density: { value: 0.2, patterns: { "a.*": 0.5 } } };
    await assert.rejects(planOf({ ...ties, parameters }, same), said("recipe/pattern", /trim: tensor/));
    await planOf({ ...ties, parameters: { ...parameters, trim: "tensor" } }, same);
  });

  it("an oracle election without an oracle", async () => {
    await assert.rejects(
      planOf({ ...ties, parameters: { elect: "oracle" } }, same),
      said("recipe/out-of-range", /oracle/),
    );
  });
});
