/** Squared gradients of single examples, against gradients of batches of one, for every architecture. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openNetwork } from "../../src/platform/node/network.js";
import { labelsOf } from "../../src/collect/labels.js";
import { IGNORED } from "../../src/runtime/network.js";
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

  // A language model, with and without an encoder: row by row over the whole vocabulary, where a row counts.
  for (const name of ["llama", "t5"]) {
    it(`have the expectation over the vocabulary of every row that counts: ${name}`, async () => {
      const fixture = readFixture(name);
      const network = await openNetwork(await fixtureWeights(name, fixture), { threads: 1 });
      const batch = batchOf(fixture.inputs);
      const { rows, classes, values } = await network.logits(batch);
      const targets = Int32Array.from({ length: rows }, (_, row) => (row % 3 === 1 ? 0 : IGNORED));
      const expected = new Map<string, Float64Array>();
      const each = rows / batch.count;
      for (const row of targets.keys()) {
        if (targets[row] === IGNORED) continue;
        const logits = values.subarray(row * classes, (row + 1) * classes);
        const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
        const place = row % each;
        for (const [target, logit] of logits.entries()) {
          const own = new Int32Array(each).fill(IGNORED);
          own[place] = target;
          const one = only(batch, Math.floor(row / each));
          const { parameters } = await network.gradients(one, { kind: "cross-entropy", targets: own });
          addSquares(expected, parameters, Math.exp(logit) / total);
        }
      }
      check(await network.squaredGradients(batch, { kind: "expectation", targets }), expected);
      const none = new Int32Array(rows).fill(IGNORED);
      const zeros = await network.squaredGradients(batch, { kind: "expectation", targets: none });
      assert.ok([...zeros.values()].every((array) => array.every((value) => value === 0)));
      await network.close();
    });
  }

  it("have the expectation that labels drawn from the network tend to", async () => {
    const fixture = readFixture("llama");
    const network = await openNetwork(await fixtureWeights("llama", fixture), { threads: 1 });
    const batch = batchOf(fixture.inputs);
    const { rows } = await network.logits(batch);
    const gold = Int32Array.from({ length: rows }, (_, row) => (row % 4 === 2 ? 0 : IGNORED));
    const flat = (squares: ReadonlyMap<string, Float32Array>) => [...squares.values()].flatMap((array) => [...array]);
    const exact = flat(await network.squaredGradients(batch, { kind: "expectation", targets: gold }));
    const norm = Math.hypot(...exact);
    const sum = new Float64Array(exact.length);
    const distances: number[] = [];
    const draws = 256;
    for (let seed = 0; seed < draws; seed++) {
      const rowsBefore = Array.from({ length: batch.count }, (_, example) => (example * rows) / batch.count);
      const targets = await labelsOf(network, batch, gold, "sampled", { seed, data: "", rowsBefore });
      const squares = flat(await network.squaredGradients(batch, { kind: "targets", targets }));
      for (let p = 0; p < sum.length; p++) sum[p]! += squares[p]!;
      if (seed === 15 || seed === draws - 1) {
        distances.push(Math.hypot(...exact.map((value, p) => sum[p]! / (seed + 1) - value)) / norm);
      }
    }
    const [few, many] = distances;
    // A standard error falls with the root of the draws, to a quarter here; what is left is luck.
    assert.ok(many! < 0.25 && many! < 0.4 * few!, distances.join(", "));
    await network.close();
  });

  it("refuse an expectation that would never end", async () => {
    const { vocabulary, length } = { vocabulary: 4096, length: 64 };
    const network = await zooNetwork("language/base", 1);
    const ids = Int32Array.from({ length }, (_, index) => index % vocabulary);
    const batch = { kind: "text", count: 1, length, ids, lengths: Int32Array.of(length) } as const;
    await assert.rejects(network.squaredGradients(batch, { kind: "expectation" }), /262144[^]*labels drawn/);
    await network.close();
  });

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
