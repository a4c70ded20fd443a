import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isBeforeLayers, layerPlaceOf, Layers, nameInLayer } from "./layers.js";

describe("layerPlaceOf", () => {
  for (const [name, expected] of [
    ["model.layers.3.mlp.down_proj.weight", ["model.layers", 3, "mlp.down_proj.weight"]],
    ["model.layers.12.mlp.experts.5.w1.weight", ["model.layers", 12, "mlp.experts.5.w1.weight"]],
    ["transformer.h.0.ln_1.bias", ["transformer.h", 0, "ln_1.bias"]],
    ["encoder.block.2.layer.1.SelfAttention.q.weight", ["encoder.block", 2, "layer.1.SelfAttention.q.weight"]],
    ["scales.7", ["scales", 7, ""]],
    ["model.embed_tokens.weight", null],
    ["lm_head.weight", null],
    ["vit2.proj.weight", null],
  ] as const) {
    it(`reads ${name}`, () => {
      const place = layerPlaceOf(name);
      assert.deepEqual(place && [place.stack, place.index, place.rest], expected);
      if (place !== null) assert.equal(nameInLayer(place, place.index), name);
    });
  }
});

describe("Layers", () => {
  it("count every stack of a network with several", () => {
    const layers = new Layers([
      "vision.encoder.layers.0.w",
      "vision.encoder.layers.4.w",
      "projector.0.weight",
      "projector.2.weight",
      "model.layers.0.w",
      "model.layers.2.w",
    ]);
    assert.deepEqual(
      [...layers.counts],
      [
        ["vision.encoder.layers", 5],
        ["model.layers", 3],
      ],
    );
    assert.equal(layers.depthOf("vision.encoder.layers.2.w"), 0.5);
    assert.equal(layers.depthOf("model.layers.2.w"), 1);
    assert.equal(layers.depthOf("projector.2.weight"), null);
  });

  it("take the list with most tensors where none has a known name", () => {
    const layers = new Layers(["net.0.a", "net.0.b", "net.1.a", "net.1.b", "head.0.a"]);
    assert.deepEqual([...layers.counts], [["net", 2]]);
  });

  it("put the only layer at the end", () => assert.equal(new Layers(["h.0.w"]).depthOf("h.0.w"), 1));
});

describe("isBeforeLayers", () => {
  const before = ["model.embed_tokens.weight", "transformer.wte.weight", "shared.weight", "gpt_neox.embed_in.weight"];
  const behind = ["model.norm.weight", "lm_head.weight", "embed_out.weight", "transformer.ln_f.bias", "score.weight"];
  for (const name of before) it(`holds for ${name}`, () => assert.ok(isBeforeLayers(name)));
  for (const name of behind) it(`does not hold for ${name}`, () => assert.ok(!isBeforeLayers(name)));
});
