/** Linear layers by name: what passes them, and other ways to run them. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openNetwork } from "../../src/platform/memory/network.js";
import type { TappedNetwork, WeightSource } from "../../src/runtime/network.js";
import { add } from "../../src/runtime/operations/entries.js";
import { linear } from "../../src/runtime/operations/linear.js";
import { largestDifference, zooImages, zooNetwork, zooWeights } from "./zoo.js";

const WIDE = "vit.encoder.layer.2.intermediate.dense";
const QUERY = "vit.encoder.layer.4.attention.attention.query";

/** [m, k]^T [m, n]. */
function product(a: Float32Array, b: Float32Array, m: number, k: number, n: number): Float64Array {
  const sums = new Float64Array(k * n);
  for (let row = 0; row < m; row++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < n; j++) sums[i * n + j]! += a[row * k + i]! * b[row * n + j]!;
    }
  }
  return sums;
}

describe("a linear layer", () => {
  let network: TappedNetwork;
  let weights: WeightSource;
  before(async () => {
    network = await zooNetwork("vision/latin");
    weights = await zooWeights("vision/latin");
  });
  after(() => network.close());

  it("is listed by name, in order", () => {
    assert.equal(network.layers.length, 38);
    assert.deepEqual(network.layers[0], {
      name: "vit.embeddings.patch_embeddings.projection",
      inputs: 16,
      outputs: 128,
      weight: "vit.embeddings.patch_embeddings.projection.weight",
      shape: [128, 1, 4, 4],
      transposed: false,
    });
    const head = { weight: "classifier.weight", shape: [37, 128], transposed: false };
    assert.deepEqual(network.layers.at(-1), { name: "classifier", inputs: 128, outputs: 37, ...head });
  });

  it("shows inputs and output gradients whose product is the weight's gradient", async () => {
    const { batch, labels } = await zooImages("latin", "train", 5);
    const goal = { kind: "cross-entropy", targets: labels } as const;
    const seen = await network.activations(batch, [WIDE, QUERY, "classifier"], goal);
    const { parameters } = await network.gradients(batch, goal);
    assert.deepEqual(
      [...seen].map(([name, { rows }]) => [name, rows]),
      [
        [WIDE, 250],
        [QUERY, 250],
        ["classifier", 5],
      ],
    );
    for (const [name, { rows, inputs, outputGradients }] of seen) {
      const layer = network.layers.find((one) => one.name === name)!;
      const expected = product(outputGradients!, inputs, rows, layer.outputs, layer.inputs);
      const found = parameters.get(`${name}.weight`)!;
      assert.ok(largestDifference(found, expected) < 1e-6 * Math.max(...found.map(Math.abs)) + 1e-7, name);
    }
  });

  it("shows sums of products that are those of its rows", async () => {
    const { batch } = await zooImages("latin", "train", 4);
    const goal = { kind: "entropy" } as const;
    const rows = (await network.activations(batch, [QUERY], goal)).get(QUERY)!;
    const grams = (await network.grams(batch, [QUERY], goal)).get(QUERY)!;
    assert.equal(grams.rows, rows.rows);
    const inputs = product(rows.inputs, rows.inputs, rows.rows, 128, 128);
    assert.ok(largestDifference(grams.inputs, inputs) < 1e-5 * Math.max(...inputs));
    const gradients = product(rows.outputGradients!, rows.outputGradients!, rows.rows, 128, 128);
    assert.ok(largestDifference(grams.outputGradients!, gradients) < 1e-5 * Math.max(...gradients));
    const plain = (await network.grams(batch, [QUERY])).get(QUERY)!;
    assert.deepEqual(plain, { ...grams, outputGradients: null });
    await assert.rejects(network.grams(batch, ["nothing"]), /no such linear layer/);
  });

  it("can be run by another rule, such as with an adapter, which is then learned like any weight", async () => {
    const rank = 2;
    const down = Float32Array.from({ length: rank * 128 }, (_, index) => Math.sin(index) / 10);
    const up = Float32Array.from({ length: 512 * rank }, (_, index) => Math.cos(index) / 10);
    const own = new Map([
      ["A", { shape: [rank, 128], values: down }],
      ["B", { shape: [512, rank], values: up }],
    ]);
    const adapted: WeightSource = {
      ...weights,
      shape: (name) => own.get(name)?.shape ?? weights.shape(name),
      tensor: (name) => Promise.resolve(own.get(name)?.values ?? weights.tensor(name)),
    };
    const withAdapter = await openNetwork(adapted, {
      threads: 1,
      linear(tape, layer, x) {
        const y = linear(tape, layer, x);
        if (layer.name !== WIDE) return y;
        const inner = { name: "down", weight: "A", inputs: 128, outputs: rank, bias: false };
        const outer = { name: "up", weight: "B", inputs: rank, outputs: 512, bias: false, scale: 0.5 };
        return add(tape, y, linear(tape, outer, linear(tape, inner, x)));
      },
    });
    const { batch, labels } = await zooImages("latin", "test", 3);
    const merged: WeightSource = {
      ...weights,
      async tensor(name) {
        const values = await weights.tensor(name);
        if (name !== `${WIDE}.weight`) return values;
        return values.map((value, at) => {
          let change = 0;
          for (let r = 0; r < rank; r++) change += up[Math.floor(at / 128) * rank + r]! * down[r * 128 + (at % 128)]!;
          return value + 0.5 * change;
        });
      },
    };
    await network.load(merged);
    const expected = await network.logits(batch);
    await network.load(weights);
    const { values } = await withAdapter.logits(batch);
    assert.ok(largestDifference(values, expected.values) < 2e-5);
    assert.ok(largestDifference(values, (await network.logits(batch)).values) > 1e-3);
    const { parameters } = await withAdapter.gradients(batch, { kind: "cross-entropy", targets: labels }, ["A", "B"]);
    assert.deepEqual([...parameters.keys()], ["A", "B"]);
    assert.ok(Math.hypot(...parameters.get("A")!) > 1e-4);
    await withAdapter.close();
  });
});
