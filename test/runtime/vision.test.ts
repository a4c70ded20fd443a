/** The zoo's vision transformer against PyTorch's numbers. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import type { Network } from "../../src/runtime/network.js";
import { largestDifference, reference, zooImages, zooNetwork, zooWeights } from "./zoo.js";

const { runtime } = reference.vision;
const opened: Network[] = [];
const open = async (name: string, threads = 1) => {
  const network = await zooNetwork(name, threads);
  opened.push(network);
  return network;
};
after(async () => {
  for (const network of opened) await network.close();
});

describe("a vision transformer", () => {
  for (const [task, expected] of Object.entries(runtime.logits_first_4_test_images)) {
    it(`gives the logits of ${task}`, async () => {
      const network = await open(`vision/${task}`);
      const { batch } = await zooImages(task, "test", 4);
      const { rows, classes, values } = await network.logits(batch);
      assert.deepEqual([rows, classes], [4, expected[0]!.length]);
      assert.ok(largestDifference(values, expected.flat()) < 8e-6);
    });
  }

  for (const [task, expected] of Object.entries(runtime.first_64_test_images)) {
    it(`gives losses and entropies of ${task}`, async () => {
      const network = await open(`vision/${task}`, 2);
      const { batch, labels } = await zooImages(task, "test", 64);
      const losses = await network.losses(batch, labels);
      const mean = losses.reduce((sum, loss) => sum + loss, 0) / 64;
      assert.ok(Math.abs(mean - expected.mean_cross_entropy) < 2e-6, String(mean));
      const { loss } = await network.gradients(batch, { kind: "entropy" }, ["classifier.bias"]);
      assert.ok(Math.abs(loss - expected.mean_entropy) < 2e-6, String(loss));
      const { values, classes } = await network.logits(batch);
      let correct = 0;
      for (let n = 0; n < 64; n++) {
        const row = values.subarray(n * classes, (n + 1) * classes);
        if (row.indexOf(Math.max(...row)) === labels[n]) correct++;
      }
      assert.equal(correct, expected.correct);
    });
  }

  it("gives the gradients of hebrew", async () => {
    const network = await open("vision/hebrew");
    const { batch, labels } = await zooImages("hebrew", "train", 16);
    const { loss, parameters } = await network.gradients(batch, { kind: "cross-entropy", targets: labels });
    const { mean_cross_entropy, l2_norm_per_tensor } = runtime.hebrew_gradient_first_16_train_images;
    assert.ok(Math.abs(loss - mean_cross_entropy) < 1e-6);
    assert.deepEqual([...parameters.keys()].sort(), Object.keys(l2_norm_per_tensor).sort());
    for (const [name, expected] of Object.entries(l2_norm_per_tensor)) {
      const norm = Math.hypot(...parameters.get(name)!);
      // A constant added to all scores of a row changes nothing, so these are zero but for rounding.
      if (name.endsWith("key.bias")) assert.ok(norm < 1e-6, name);
      else assert.ok(Math.abs(norm / expected - 1) < 3e-6, `${name} ${norm} ${expected}`);
    }
  });

  it("gives the same bits for one thread and two, and for any batch", async () => {
    const [one, two] = [await open("vision/greek"), await open("vision/greek", 2)];
    const { batch, labels } = await zooImages("greek", "test", 37);
    const logits = await one.logits(batch);
    assert.deepEqual(await two.logits(batch), logits);
    const first = { ...batch, count: 1, pixels: batch.pixels.slice(0, 784) };
    const single = await one.logits(first);
    assert.deepEqual(single.values, logits.values.slice(0, logits.classes));
    const squares = await one.squaredGradients(first, { kind: "expectation" });
    assert.deepEqual(await two.squaredGradients(first, { kind: "expectation" }), squares);
    const goal = { kind: "cross-entropy", targets: labels } as const;
    assert.deepEqual(await two.gradients(batch, goal), await one.gradients(batch, goal));
  });

  it("takes other weights of the same shapes", async () => {
    const network = await open("vision/mnist");
    const { batch } = await zooImages("mnist", "test", 2);
    const before = await network.logits(batch);
    const weights = await zooWeights("vision/mnist");
    await network.load({
      ...weights,
      tensor: async (name) => (await weights.tensor(name)).map((value) => (name.startsWith("classifier") ? 0 : value)),
    });
    assert.deepEqual(new Set((await network.logits(batch)).values), new Set([0]));
    await network.load(weights);
    assert.deepEqual(await network.logits(batch), before);
  });
});
