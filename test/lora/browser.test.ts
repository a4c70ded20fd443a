/** Everything that can be done with adapters, by the browser's entry alone: files by name in, files by name out. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as mergewright from "../../src/browser.js";
import { numbersOf, peftFolder, safetensors, tensor } from "../adapters/support.js";

const CONFIG = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q"] };
const lora = (seed: string) =>
  peftFolder(CONFIG, {
    "m.q.lora_A.weight": tensor(`${seed} A`, 2, 7),
    "m.q.lora_B.weight": tensor(`${seed} B`, 5, 2),
  });
const weight = { "m.q.weight": tensor("W", 5, 7) };
const models = { base: { "model.safetensors": safetensors(weight) }, a: lora("a"), b: lora("b") };

const byName = (files: ReadonlyMap<string, Uint8Array>): mergewright.ModelFiles => Object.fromEntries(files);

/** The weight of a model that a fold or merge gives. */
async function weightOf(files: ReadonlyMap<string, Blob>): Promise<Float32Array> {
  const bytes = new Uint8Array(await files.get("model.safetensors")!.arrayBuffer());
  const header = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  return new Float32Array(bytes.slice(8 + header).buffer);
}

function far(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
}

describe("the browser's entry", () => {
  it("merges adapters into one, whose fold is the fold of both with their weights", async () => {
    const recipe = {
      models: [
        { model: "a", weight: 0.5 },
        { model: "b", weight: -0.8 },
      ],
    };
    const { files, modules, error } = await mergewright.mergeAdapters(recipe, models);
    assert.deepEqual([modules.map(({ rank }) => rank), error], [[4], 0]);
    const merged = { ...models, merged: byName(files) };
    const one = await mergewright.fold({ model: "base", adapters: ["merged"] }, merged);
    const both = await mergewright.fold({ model: "base", adapters: ["a", "b"], weights: [0.5, -0.8] }, models);
    assert.ok(far(await weightOf(one.files), await weightOf(both.files)) < 1e-6);
  });

  it("merges by methods and dialects, from YAML too", async () => {
    const { space } = await mergewright.mergeAdapters("method: ties\nmodels: [a, b]\nadapter: {rank: 3}\n", models);
    assert.equal(space, "core");
    const { warnings } = await mergewright.mergeAdapters(
      { method: "linear", dialect: "peft", models: ["a", "b"] },
      models,
    );
    assert.match(warnings.join(), /PEFT's linear/);
  });

  it("extracts what a fold put in, and takes it out again", async () => {
    const { files } = await mergewright.fold({ model: "base", adapters: ["a"] }, models);
    const all = { ...models, folded: Object.fromEntries(files) };
    const extracted = await mergewright.extractAdapter("folded", "base", all, { rank: 2 });
    assert.ok(extracted.error < 1e-6);
    const again = await mergewright.fold(
      { model: "base", adapters: ["new"] },
      { ...models, new: byName(extracted.files) },
    );
    assert.ok(far(await weightOf(again.files), await weightOf(files)) < 1e-6);
    const taken = await mergewright.unfold({ model: "folded", adapters: ["a"] }, all, { base: "base" });
    assert.ok(far(await weightOf(taken.files), numbersOf("W", 35)) < 1e-6);
    assert.ok(taken.error.base!.largest < 1e-6);
  });

  it("converts both ways without changing a value, and shows what is there", async () => {
    const kohya = byName(await mergewright.convertAdapter("a", models, { to: "kohya" }));
    const file = { "lora.safetensors": kohya["lora.safetensors"]! };
    const back = await mergewright.convertAdapter("k", { ...models, k: file }, { to: "peft", base: "base" });
    const [written, given] = [back.get("adapter_model.safetensors")!, models.a["adapter_model.safetensors"]!];
    const entries = (2 * 7 + 5 * 2) * 4;
    assert.deepEqual(written.slice(-entries), given.slice(-entries));
    const { modules } = await mergewright.inspectAdapter("k", { k: file });
    assert.deepEqual(
      modules.map(({ rank, scaling }) => [rank, scaling]),
      [[2, 2]],
    );
  });

  it("names what is missing", async () => {
    await assert.rejects(mergewright.mergeAdapters({ models: ["a", "c"] }, models), /no model of this name[^]*c/);
  });
});
