/** Squared gradients of single examples, against gradients of batches of one, for every architecture. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openNetwork } from "../../src/platform/node/network.js";
import type { Batch, TappedNetwork } from "../../src/runtime/network.js";
import { batchOf, fixtureWeights, names, readFixture } from "./fixtures.js";
import { largestDifference, zooImages, zooNetwork } from "./zoo.js";

/** Example `index` of a batch, alone. */
function only(batch: Batch, index: number): Batch {
  const rows = <T extends Float32Array | Int32Array>(values: T, each: number) =>
    values.slice(index * each, (index + 1) * each) as T;
  if (batch.kind === "images") {
    const { channels, height, width } = batch;
    return { ...batch, count: 1, pixels: rows(batch.pixels, channels * height * width) };
  }
  const { length, segments, decoder } = batch;
  return {
    ...batch,
    ...{ count: 1, ids: rows(batch.ids, length), lengths: rows(batch.lengths, 1) },
    ...(segments !== undefined && { segments: rows(segments, length) }),
    ...(decoder !== undefined && { decoder: { ...decoder, ids: rows(decoder.ids, decoder.length) } }),
  };
}

function addSquares(into: Map<string, Float64Array>, from: ReadonlyMap<string, Float32Array>, weight: number): void {
  for (const [name, values] of from) {
    const sums = into.get(name) ?? new Float64Array(values.length);
    into.set(name, sums);
    for (const [index, value] of values.entries()) sums[index]! += weight * value * value;
  }
}

function check(found: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float64Array>): void {
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  for (const [name, values] of expected) {
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    const difference = largestDifference(found.get(name)!, values);
    assert.ok(difference <= 2e-5 * most + 1e-13, `${name}: ${difference} of ${most}`);
  }
}

/** One backward pass for each class of each example, in f64 sums. */
async function expectation(network: TappedNetwork, batch: Batch): Promise<Map<string, Float64Array>> {
  const sums = new Map<string, Float64Array>();
  const { rows, classes, values } = await network.logits(batch);
  for (let row = 0; row < rows; row++) {
    const logits = values.subarray(row * classes, (row + 1) * classes);
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
    for (const [target, logit] of logits.entries()) {
      const targets = Int32Array.of(target);
      const { parameters } = await network.gradients(only(batch, row), { kind: "cross-entropy", targets });
      addSquares(sums, parameters, Math.exp(logit) / total);
    }
  }
  return sums;
}

describe("squared gradients of each example", () => {
  for (const name of names) {
    it(`are those of batches of one: ${name}`, async () => {
      const fixture = readFixture(name);
      const network = await openNetwork(await fixtureWeights(name, fixture), { threads: 1 });
      try {
        const batch = batchOf(fixture.inputs);
        const { rows, classes } = await network.logits(batch);
        const targets = Int32Array.from({ length: rows }, (_, row) => (row * 7) % classes);
        const sums = new Map<string, Float64Array>();
        const each = rows / batch.count;
        for (let index = 0; index < batch.count; index++) {
          const own = targets.slice(index * each, (index + 1) * each);
          const weights = new Float32Array(each).fill(1);
          const goal = { kind: "cross-entropy", targets: own, weights } as const;
          addSquares(sums, (await network.gradients(only(batch, index), goal)).parameters, 1);
        }
        check(await network.squaredGradients(batch, { kind: "targets", targets }), sums);
        if (rows === batch.count) {
          check(await network.squaredGradients(batch, { kind: "expectation" }), await expectation(network, batch));
        }
      } finally {
        await network.close();
      }
    });
  }

  it("have the expectation over all classes of the zoo's model, with any number of threads", async () => {
    const { batch } = await zooImages("hebrew", "train", 3);
    const alone = await zooNetwork("vision/hebrew", 1);
    const together = await zooNetwork("vision/hebrew", 2);
    const found = await alone.squaredGradients(batch, { kind: "expectation" });
    check(found, await expectation(alone, batch));
    assert.deepEqual(await together.squaredGradients(batch, { kind: "expectation" }), found);
    await alone.close();
    await together.close();
  });

  it("are of some parameters only where asked for", async () => {
    const { batch, labels } = await zooImages("mnist", "train", 2);
    const network = await zooNetwork("vision/mnist", 1);
    const one = "vit.encoder.layer.3.output.dense.weight";
    const all = await network.squaredGradients(batch, { kind: "targets", targets: labels });
    const found = await network.squaredGradients(batch, { kind: "targets", targets: labels }, [one]);
    assert.deepEqual([...found], [[one, all.get(one)]]);
    await network.close();
  });
});
