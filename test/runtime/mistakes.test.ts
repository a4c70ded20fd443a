/** What cannot be run is refused with a reason, before anything is computed. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { openNetwork } from "../../src/platform/memory/network.js";
import type { ImageBatch, Network, TextBatch, WeightSource } from "../../src/runtime/network.js";
import { zooImages, zooNetwork, zooWeights } from "./zoo.js";

async function refused(work: Promise<unknown>, code: string, ...words: string[]): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof MergewrightError, String(error));
    assert.equal(error.code, code);
    for (const word of words) assert.ok(error.message.includes(word), `${word} in ${error.message}`);
    return true;
  });
}

const open = (weights: WeightSource) => openNetwork(weights, { threads: 1 });

describe("opening a network", () => {
  let vision: WeightSource;
  before(async () => {
    vision = await zooWeights("vision/mnist");
  });
  const without = (name: string): WeightSource => ({
    ...vision,
    shape: (tensor) => (tensor === name ? undefined : vision.shape(tensor)),
  });

  it("names an unknown architecture and the known ones", async () => {
    const config = { ...vision.config, architectures: ["MambaForCausalLM"] };
    await refused(
      open({ ...vision, config }),
      "runtime/architecture",
      "MambaForCausalLM",
      "LlamaForCausalLM",
      "merging",
    );
  });
  it("wants a config", async () => {
    await refused(open({ ...vision, config: null }), "runtime/config", "config.json");
  });
  it("names the field that is wrong", async () => {
    const config = { ...vision.config, num_attention_heads: 3 };
    await refused(open({ ...vision, config }), "runtime/config", "num_attention_heads", "divisor");
    await refused(open({ ...vision, config: { ...config, hidden_act: "mish" } }), "runtime/config", "mish", "gelu");
  });
  it("names the tensor that is missing", async () => {
    await refused(open(without("vit.layernorm.weight")), "runtime/tensor", "vit.layernorm.weight");
    await refused(open(without("classifier.weight")), "runtime/tensor", "classifier.weight", "head");
  });
  it("names the tensor that has another shape", async () => {
    const config = { ...vision.config, intermediate_size: 256 };
    await refused(open({ ...vision, config }), "runtime/tensor", "[256, 128]", "[512, 128]");
  });
  it("refuses stretched positions that it does not know", async () => {
    const language = await zooWeights("language/base");
    const config = { ...language.config, rope_parameters: { rope_type: "yarn", rope_theta: 1e4 } };
    await refused(open({ ...language, config }), "runtime/config", "yarn", "llama3");
  });
  it("takes a head from elsewhere, with its own classes", async () => {
    const [base, head] = [await zooWeights("vision/base"), await zooWeights("vision/hebrew")];
    const network = await openNetwork(base, { threads: 1, head });
    assert.equal(network.classes, 27);
    await network.close();
    const headless = {
      ...base,
      shape: (name: string) => (name.startsWith("classifier") ? undefined : base.shape(name)),
    };
    const same = await openNetwork(headless, { threads: 1, head });
    assert.equal(same.classes, 27);
    await same.close();
  });
});

describe("running a network", () => {
  let images: Network;
  let text: Network;
  let batch: ImageBatch;
  const tokens: TextBatch = {
    kind: "text",
    count: 2,
    length: 2,
    ids: Int32Array.of(1, 2, 3, 4),
    lengths: Int32Array.of(2, 1),
  };
  before(async () => {
    images = await zooNetwork("vision/mnist");
    text = await zooNetwork("language/base");
    ({ batch } = await zooImages("mnist", "test", 2));
  });
  after(async () => {
    await images.close();
    await text.close();
  });

  it("refuses data of another kind or size", async () => {
    await refused(images.logits(tokens), "runtime/batch", "images", "text");
    await refused(images.logits({ ...batch, height: 32 }), "runtime/batch", "1 x 28 x 28", "1 x 32 x 28");
    await refused(images.logits({ ...batch, pixels: batch.pixels.slice(1) }), "runtime/batch", "1568");
    await refused(images.logits({ ...batch, count: 0 }), "runtime/batch", "empty");
  });
  it("refuses labels that the head does not have", async () => {
    await refused(images.losses(batch, Int32Array.of(1, 10)), "runtime/batch", "0 to 9", "10");
    await refused(images.losses(batch, Int32Array.of(1)), "runtime/batch", "rows");
  });
  it("refuses tokens, lengths and positions that are not there", async () => {
    await refused(text.logits({ ...tokens, ids: Int32Array.of(1, 2, 3, 4096) }), "runtime/batch", "4096", "tokenizer");
    await refused(text.logits({ ...tokens, lengths: Int32Array.of(2, 3) }), "runtime/batch", "1 to 2");
    await refused(text.logits({ ...tokens, positions: Int32Array.of(2, 1) }), "runtime/batch", "ascending");
    await refused(text.logits({ ...tokens, decoder: tokens }), "runtime/batch", "decoder");
  });
  it("refuses memory that the logits do not fit into", async () => {
    await refused(images.logits(batch, new Float32Array(19)), "runtime/batch", "at least 20", "19");
    await refused(images.logits({ ...batch, count: -1 }), "runtime/batch", "empty");
  });
  it("refuses gradients of what is no parameter", async () => {
    await refused(images.gradients(batch, { kind: "entropy" }, ["vit.pooler"]), "runtime/tensor", "vit.pooler");
  });
  it("goes on after a refusal", async () => {
    assert.equal((await images.logits(batch)).rows, 2);
  });
});
