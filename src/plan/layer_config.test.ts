import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openInputs } from "../inputs.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import { readRecipe } from "../recipes.js";
import { files, type Tensors } from "./fixtures.test.js";
import { makePlan } from "./plan.js";

function stack(prefix: string, layers: number): Tensors {
  return Object.fromEntries(Array.from({ length: layers }, (_, i) => [`${prefix}.${i}.w`, ["F32", 2]]));
}

/** The config of the result, and what the plan warns of. */
async function configOf(text: string, models: Readonly<Record<string, [Tensors, Record<string, unknown>]>>) {
  const recipe = readRecipe(text);
  const open = await openInputs(recipe, (label) => openCheckpoint(label, memoryFolder(files(...models[label]!))));
  const { sideFiles, warnings } = makePlan(recipe, open);
  const side = sideFiles.find(({ name }) => name === "config.json");
  assert.ok(side !== undefined && "text" in side);
  return { config: JSON.parse(side.text) as unknown, text: side.text, warnings };
}

const slices = `method: linear
slices:
  - models: [{model: x, layers: [0, 2]}]
  - models: [{model: y, layers: [1, 3]}]
  - models: [{model: x, layers: [1, 2]}]
`;

describe("config.json of a result made of layers", () => {
  const y = { num_hidden_layers: 4, layer_types: ["a", "b", "c", "d"] };

  it("has their number, and every list per layer from the layers' own models", async () => {
    const x = { num_hidden_layers: 3, layer_types: ["full", "slide", "full"], windows: [1, 2, 3], rope_theta: 1e4 };
    const { config, warnings } = await configOf(slices, { x: [stack("h", 3), x], y: [stack("h", 4), y] });
    assert.deepEqual(config, {
      num_hidden_layers: 5,
      layer_types: ["full", "slide", "b", "c", "slide"],
      windows: [1, 2, 2, 3, 2],
      rope_theta: 1e4,
    });
    assert.deepEqual(warnings, []);
  });

  it("keeps lists that are as long by chance, and warns of rules that count layers", async () => {
    const x = { n_layer: 3, eos_token_id: [1, 2, 3], full_attention_interval: 2 };
    const { config, warnings } = await configOf(slices, { x: [stack("h", 3), x], y: [stack("h", 4), {}] });
    assert.deepEqual(config, { ...x, n_layer: 5 });
    assert.match(warnings.join(), /full_attention_interval/);
  });

  it("finds the part of the module, and leaves the rest as it is written", async () => {
    const text = '{"vision_config": {"num_hidden_layers": 3},\n "text_config": {"num_hidden_layers": 3, "eps": 1e-06}}';
    const parts = { ...stack("vision_tower.layers", 3), ...stack("language_model.layers", 3) };
    const folder = { ...files(parts), "config.json": new TextEncoder().encode(text) };
    const recipe = readRecipe(
      "method: linear\nmodules: {language_model: {slices: [{models: [{model: x, layers: [0, 2]}]}]}}",
    );
    const open = await openInputs(recipe, (label) => openCheckpoint(label, memoryFolder(folder)));
    const side = makePlan(recipe, open).sideFiles.find(({ name }) => name === "config.json");
    assert.ok(side !== undefined && "text" in side);
    assert.equal(side.text, text.replace('{"num_hidden_layers": 3, "eps', '{"num_hidden_layers": 2, "eps'));
  });

  it("takes the decoder's number for the decoder", async () => {
    const x = { num_layers: 3, num_decoder_layers: 3 };
    const parts = { ...stack("encoder.block", 3), ...stack("decoder.block", 3) };
    const recipe = "method: linear\nmodules: {decoder: {slices: [{models: [{model: x, layers: [0, 1]}]}]}}";
    const { config } = await configOf(recipe, { x: [parts, x] });
    assert.deepEqual(config, { num_layers: 3, num_decoder_layers: 1 });
  });

  it("has nothing but their number under compat: strict", async () => {
    const x = { num_hidden_layers: 3, layer_types: ["full", "slide", "full"] };
    const recipe = `
slices:
  - sources: [{model: x, layer_range: [0, 1]}]
merge_method: passthrough
compat: strict
`;
    const { config } = await configOf(recipe, { x: [stack("h", 3), x] });
    assert.deepEqual(config, { ...x, num_hidden_layers: 1 });
  });
});
