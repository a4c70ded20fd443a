/** The rules of mergekit that concern which tensors a result has, and in which format. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { openInputs } from "../inputs.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import { methods } from "../methods/catalogue.js";
import { overrideRecipe } from "../recipe/options.js";
import { readRecipe } from "../recipes.js";
import { files, type Tensors } from "./fixtures.test.js";
import { makePlan } from "./plan.js";
import type { Plan } from "./types.js";

async function planOf(text: string, models: Readonly<Record<string, Record<string, Uint8Array>>>): Promise<Plan> {
  const recipe = readRecipe(text, "recipe.yml");
  const open = await openInputs(recipe, (label) => openCheckpoint(label, memoryFolder(models[label]!)));
  return makePlan(recipe, open);
}

const body: Tensors = { "model.embed_tokens.weight": ["F32", 8, 4], "model.layers.0.w.weight": ["F32", 4, 4] };
const head: Tensors = { "lm_head.weight": ["F32", 8, 4] };
const tied = { model_type: "llama", tie_word_embeddings: true };
const untied = { model_type: "llama", tie_word_embeddings: false };
const linear = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";
const arithmetic =
  "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n";
const slerp = "merge_method: slerp\nbase_model: base\nmodels: [{model: base}, {model: a}]\nparameters: {t: 0.5}\n";

const summary = ({ tensors }: Plan) => tensors.map(({ name, action, inputs }) => [name, action, inputs.length]);

describe("tensors of a recipe of mergekit", () => {
  it("that only some models have are merged from those", async () => {
    const plan = await planOf(linear, { a: files(body), b: files({ ...body, "extra.weight": ["F32", 2] }) });
    assert.deepEqual(summary(plan).at(-1), ["extra.weight", "merge", 1]);
    assert.match(plan.warnings.join(), /extra\.weight is merged without a/);
  });

  it("that the base lacks are left out and told", async () => {
    const models = { base: files(body), a: files({ ...body, "extra.weight": ["F32", 2] }), b: files(body) };
    const plan = await planOf(arithmetic, models);
    assert.equal(plan.tensors.length, 2);
    assert.deepEqual(plan.skipped, [{ model: "a", name: "extra.weight", reason: "not in the base" }]);
    assert.match(plan.warnings.join(), /a has 1 tensors that the base lacks/);
  });

  it("that one of two models has are passed through", async () => {
    const models = { base: files(body), a: files({ ...body, "extra.weight": ["F32", 2] }) };
    assert.deepEqual(summary(await planOf(slerp, models)).at(-1), ["extra.weight", "copy", 1]);
  });

  it("of a head that some models tie to their embedding are merged with that, and the result is not tied", async () => {
    for (const [base, other] of [
      [files(body, tied), files({ ...body, ...head }, untied)],
      [files({ ...body, ...head }, untied), files(body, tied)],
    ] as const) {
      const plan = await planOf(slerp, { base, a: other });
      const lmHead = plan.tensors.find(({ name }) => name === "lm_head.weight")!;
      assert.deepEqual([lmHead.action, lmHead.base !== null, lmHead.inputs.length], ["merge", true, 1]);
      const config = plan.sideFiles.find(({ name }) => name === "config.json")!;
      assert.ok("text" in config);
      assert.equal(JSON.parse(config.text).tie_word_embeddings, false);
    }
    const plan = await planOf(slerp, { base: files(body, tied), a: files(body, tied) });
    assert.ok(!plan.tensors.some(({ name }) => name === "lm_head.weight"));
  });

  it("are written in the format that holds all inputs, unless dtype or out_dtype say otherwise", async () => {
    const models = { a: files({ w: ["BF16", 2] }), b: files({ w: ["F16", 2] }) };
    const dtypeOf = async (more: string) => (await planOf(linear + more, models)).tensors[0]!.dtype;
    assert.equal(await dtypeOf(""), "F32");
    assert.equal(await dtypeOf("dtype: float16\n"), "F16");
    assert.equal(await dtypeOf("dtype: float32\nout_dtype: bfloat16\n"), "BF16");
  });

  it("are rounded to dtype where they are stored with more bits of range or precision", async () => {
    const models = { a: files({ w: ["BF16", 2] }), b: files({ w: ["F32", 2] }) };
    const rounds = async (dtype: string) =>
      (await planOf(`${linear}dtype: ${dtype}\n`, models)).tensors[0]!.inputs.map(({ stream }) => stream.round);
    assert.deepEqual(await rounds("bfloat16"), [undefined, "BF16"]);
    assert.deepEqual(await rounds("float16"), ["F16", "F16"]);
    assert.deepEqual(await rounds("float32"), [undefined, undefined]);
  });
});

describe("a recipe of mergekit", () => {
  it("whose filter matches nothing is warned of, with the line", async () => {
    const text =
      "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: [{filter: mpl, value: 2}, {value: 1}]\n";
    const plan = await planOf(text, { a: files(body) });
    assert.match(plan.warnings.join(), /recipe\.yml:5.*\*mpl\* matches no tensor/);
  });

  it("whose flags have a pattern that matches nothing is refused", async () => {
    const recipe = overrideRecipe(linear, { exclude: ["hed.*"] }, { methods });
    const open = await openInputs(recipe, (label) => openCheckpoint(label, memoryFolder(files(body))));
    assert.throws(() => makePlan(recipe, open), /"hed\.\*" matches no tensor/);
  });

  it("whose weights sum to zero is refused", async () => {
    const text = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: {value: 0}}\n";
    await assert.rejects(planOf(text, { a: files(body), b: files(body) }), (error) => {
      assert.ok(error instanceof MergewrightError && /sum to zero/.test(error.message), String(error));
      assert.equal(error.where.line, 3);
      return true;
    });
  });
});
