/** Bases with adapters in merges: the same bytes as folding first, on any platform, and out again. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { fold as foldInMemory } from "../../src/browser.js";
import { convertAdapter, fold, inspectAdapter, merge, plan, readRecipe, unfold, verify } from "../../src/node.js";
import { mergewright } from "../cli/support.js";
import { rejects } from "./support.js";

const zoo = fileURLToPath(new URL("../../../zoo/language", import.meta.url));
const fixtures = fileURLToPath(new URL("../../../test/adapters/fixtures", import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-adapters-"));
const at = (...parts: readonly string[]) => path.join(folder, ...parts);
const base = path.join(zoo, "base");
const lora = (name: string) => path.join(zoo, "lora", name);
const ia3 = (name: string) => path.join(zoo, "ia3", name);
const weights = (name: string) => readFileSync(at(name, "model.safetensors"));

after(() => rmSync(folder, { recursive: true, force: true }));

describe("adapters as task vectors", () => {
  before(async () => {
    await fold({ model: base, adapters: [lora("french")], dtype: "float32" }, { out: at("french") });
    await fold(
      { model: base, adapters: [ia3("c"), lora("german")], weights: [1, 0.5], dtype: "float32" },
      { out: at("both") },
    );
  });

  const output = { dtype: "float32" };
  for (const recipe of [
    { method: "task_arithmetic", parameters: { lambda: 0.4 } },
    { method: "ties", parameters: { density: 0.3 } },
    { method: "slerp", parameters: { t: 0.3 } },
    { method: "dare_ties", parameters: { density: 0.5 }, seed: 3 },
  ]) {
    it(`are merged by ${recipe.method} to the bytes that folding first gives`, async () => {
      const named = (french: string, both: string) => [
        { model: french, name: "french" },
        { model: both, name: "both" },
      ];
      const [first, second] = [`${base}+${lora("french")}`, `${base}+${ia3("c")}+0.5*${lora("german")}`];
      const isPair = recipe.method === "slerp";
      const make = (models: ReturnType<typeof named>) =>
        isPair
          ? { ...recipe, base: models[0]!.model, models: models.slice(1), output }
          : { ...recipe, base, models, output };
      await merge(make(named(first, second)), { out: at(`${recipe.method}-1`), threads: 2 });
      await merge(make(named(at("french"), at("both"))), { out: at(`${recipe.method}-2`), threads: 1 });
      assert.deepEqual(weights(`${recipe.method}-1`), weights(`${recipe.method}-2`));
    });
  }

  it("are merged by RegMean with statistics collected of them, to the bytes that folding first gives", async () => {
    const data = path.join(zoo, "french", "text.json");
    writeFileSync(at("tasks.yaml"), JSON.stringify({ tasks: [{ name: "french", type: "language-modelling", data }] }));
    const made = async (models: readonly string[], out: string) => {
      const named = [];
      for (const [number, model] of models.entries()) {
        const statistics = at(`${out}.${number}.safetensors`);
        const flags = ["--tasks", at("tasks.yaml"), "--examples", "1", "-o", statistics];
        assert.equal((await mergewright("collect", "gram", "--model", model, ...flags)).code, 0);
        named.push({ model, statistics });
      }
      return (await merge({ method: "regmean", base, models: named, output }, { out: at(out) })).plan.warnings;
    };
    const warnings = await made(
      [`${base}+${lora("french")}`, `${base}+${ia3("c")}+0.5*${lora("german")}`],
      "references",
    );
    // What lies where the base lies was once taken for the base.
    assert.ok(!warnings.join().includes("the base itself"), warnings.join());
    await made([at("french"), at("both")], "folded");
    assert.deepEqual(weights("references"), weights("folded"));
  });

  it("are named after the adapters", async () => {
    const { models } = readRecipe({
      method: "average",
      models: [`${base}+${lora("c")}`, `${base}+${lora("python")}+2*${ia3("c")}`],
    });
    assert.deepEqual(
      models.map(({ name }) => name),
      ["c", "python+c"],
    );
  });

  it("are read from mergekit's recipes", async () => {
    for (const model of [
      `"${base}+${lora("french")}"`,
      `{model: {path: "${base}"}, lora: {path: "${lora("french")}"}}`,
    ]) {
      const recipe = readRecipe(`merge_method: passthrough\ndtype: float32\nmodels:\n- model: ${model}\n`);
      assert.equal(recipe.models[0]!.model, `${base}+${lora("french")}`);
    }
  });

  it("keep the base's format where the recipe names none", async () => {
    const { tensors } = await plan({ method: "passthrough", models: [`${base}+${lora("french")}`] });
    assert.deepEqual([...new Set(tensors.map(({ dtype }) => dtype))], ["BF16"]);
  });
});

describe("a fold", () => {
  it("is the same in memory as on disk, and can be verified", async () => {
    await fold({ model: base, adapters: [lora("french"), ia3("c")] }, { out: at("disk") });
    const files = (of: string, names: readonly string[]) =>
      Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(path.join(of, name)))]));
    const shards = [1, 2, 3, 4].map((shard) => `model-0000${shard}-of-00004.safetensors`);
    const adapter = ["adapter_config.json", "adapter_model.safetensors"];
    const { files: made } = await foldInMemory(
      { model: "base", adapters: ["french", "c"] },
      {
        base: files(base, [...shards, "model.safetensors.index.json", "config.json", "tokenizer.json"]),
        french: files(lora("french"), adapter),
        c: files(ia3("c"), adapter),
      },
    );
    const bytes = new Uint8Array(await made.get("model.safetensors")!.arrayBuffer());
    assert.deepEqual(Buffer.from(bytes), weights("disk"));
    assert.equal((await verify(at("disk"), { inputs: true })).ok, true);
  });

  it("of kohya's file is that of PEFT's folder, also where the file does not remember the paths", async () => {
    await convertAdapter(lora("german"), { to: "kohya", out: at("kohya") });
    await fold({ model: base, adapters: [at("kohya", "lora.safetensors")] }, { out: at("of-kohya") });
    const whole = readFileSync(at("kohya", "lora.safetensors"));
    const length = Number(whole.readBigUInt64LE(0));
    const { __metadata__: _, ...tensors } = JSON.parse(whole.subarray(8, 8 + length).toString()) as Record<
      string,
      object
    >;
    const bare = Buffer.alloc(length, " ");
    bare.write(JSON.stringify(tensors));
    writeFileSync(at("foreign.safetensors"), Buffer.concat([whole.subarray(0, 8), bare, whole.subarray(8 + length)]));
    await fold({ model: base, adapters: [at("foreign.safetensors")] }, { out: at("of-foreign") });
    assert.deepEqual(weights("of-foreign"), weights("of-kohya"));
    await fold({ model: base, adapters: [lora("german")] }, { out: at("of-peft") });
    assert.deepEqual(weights("of-kohya"), weights("of-peft"));
    const [one, other] = [await inspectAdapter(lora("german")), await inspectAdapter(at("kohya", "lora.safetensors"))];
    assert.deepEqual(one.modules, other.modules);
  });

  it("can be taken out again: exactly where it was not rounded, else within the bound that is told", async () => {
    const request = { adapters: [lora("french"), lora("c")], weights: [0.7, -0.4] };
    await fold({ ...request, model: base, dtype: "float32" }, { out: at("f32") });
    const exact = await unfold({ ...request, model: at("f32"), dtype: "bfloat16" }, { out: at("f32-out"), base });
    assert.deepEqual([exact.error.base!.differing, exact.error.again.differing], [0, 0]);
    await fold({ ...request, model: base }, { out: at("bf16") });
    const { error } = await unfold({ ...request, model: at("bf16") }, { out: at("bf16-out"), base });
    assert.ok(error.base!.differing > 0 && error.base!.differing < error.entries / 10);
    assert.ok(error.base!.largest <= 2 * error.bound, `${error.base!.largest} and ${error.bound}`);
  });

  it("of (IA)3 is undone by division", async () => {
    await fold({ model: base, adapters: [ia3("python")], weights: [0.8], dtype: "float32" }, { out: at("ia3") });
    const request = { model: at("ia3"), adapters: [ia3("python")], weights: [0.8], dtype: "bfloat16" };
    const { error } = await unfold(request, { out: at("ia3-out"), base });
    assert.deepEqual([error.base!.differing, error.tensors], [0, 18]);
  });

  it("that replaced values cannot be taken out, which is said with the reason", async () => {
    for (const [name, says] of [
      ["dora", /lengths of the base's rows/],
      ["modules_to_save", /values that the adapter replaced/],
      ["tokens", /values that the adapter replaced/],
    ] as const) {
      const model = path.join(fixtures, name, "model.safetensors");
      const adapter = path.join(fixtures, name, "adapter");
      const error = await rejects("adapter/kind", () => unfold({ model, adapters: [adapter] }, { out: at("never") }));
      assert.match(error.message, says);
    }
  });

  it("is refused with weights that do not fit the adapters", async () => {
    const request = { model: base, adapters: [lora("c")], weights: [1, 2] };
    await rejects("usage", () => fold(request, { out: at("never") }));
  });
});
