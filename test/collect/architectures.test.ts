/** What is collected of every architecture is the sum of what its layers saw; and a text task from files to a file. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { collectBlock, layersOf } from "../../src/collect/blocks.js";
import { dialectOf } from "../../src/collect/dialects.js";
import { Sums } from "../../src/collect/sums.js";
import { sumName } from "../../src/collected/statistics.js";
import type { LayerStatistics } from "../../src/collected/statistics.js";
import type { LabelledExamples } from "../../src/evaluate/scorer.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { openStatistics } from "../../src/platform/node/statistics.js";
import { IGNORED } from "../../src/runtime/network.js";
import type { Batch, TappedNetwork } from "../../src/runtime/network.js";
import { mergewright } from "../cli/support.js";
import { batchOf, fixtureWeights, names, readFixture } from "../runtime/fixtures.js";
import { largestDifference } from "../runtime/zoo.js";

type Labelled = Awaited<ReturnType<LabelledExamples["batch"]>>;

/** The second text a little shorter, so that every batch of texts has padding. */
function padded(batch: Batch): Batch {
  if (batch.kind === "images" || batch.lengths.some((length) => length < batch.length)) return batch;
  return { ...batch, lengths: batch.lengths.map((length, index) => (index === 1 ? length - 3 : length)) };
}

/** One example of a batch by itself, without padding. */
function alone(batch: Batch, index: number): Batch {
  if (batch.kind === "images") {
    const size = batch.pixels.length / batch.count;
    return { ...batch, count: 1, pixels: batch.pixels.slice(index * size, (index + 1) * size) };
  }
  const length = batch.lengths[index]!;
  const cut = (ids: Int32Array, width: number, most = width) => ids.slice(index * width, index * width + most);
  const { decoder, segments } = batch;
  return {
    ...{
      kind: batch.kind,
      count: 1,
      length,
      ids: cut(batch.ids, batch.length, length),
      lengths: Int32Array.of(length),
    },
    ...(segments !== undefined && { segments: cut(segments, batch.length, length) }),
    ...(decoder !== undefined && { decoder: { ...decoder, ids: cut(decoder.ids, decoder.length) } }),
  };
}

/** A [rows, width]: the sum of a a^T over the rows that are no padding. */
function products(a: Float32Array, width: number, isReal: (row: number) => boolean): Float64Array {
  const sums = new Float64Array(width * width);
  for (let row = 0; row * width < a.length; row++) {
    if (!isReal(row)) continue;
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) sums[i * width + j]! += a[row * width + i]! * a[row * width + j]!;
    }
  }
  return sums;
}

function close(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const most = Array.from(expected, Math.abs).reduce((a, b) => Math.max(a, b), 0);
  assert.ok(
    largestDifference(found, expected) <= 3e-5 * most + 1e-12,
    `${what}: ${largestDifference(found, expected)} of ${most}`,
  );
}

async function collected(network: TappedNetwork, batch: Batch, targets: Int32Array, kind: "gram" | "kfac") {
  const perExample = targets.length / batch.count;
  const labelled: LabelledExamples = {
    count: batch.count,
    classes: null,
    shape: (example) => (batch.kind === "images" ? "" : String(batch.lengths[example])),
    batch(examples): Promise<Labelled> {
      const parts = examples.map((example) => alone(batch, example));
      const own = examples.flatMap((example) => {
        const all = [...targets.subarray(example * perExample, (example + 1) * perExample)];
        return all.filter((target) => target !== IGNORED);
      });
      return Promise.resolve({ batch: joined(parts), targets: Int32Array.from(own) });
    },
  };
  const sums = new Sums();
  const layers = new Map<string, LayerStatistics>();
  const work = { network, labelled, dialect: dialectOf(kind, null), request: { kind, seed: 0 }, data: "" };
  const examples = Array.from({ length: batch.count }, (_, index) => index);
  await collectBlock({ ...work, shapeOf: () => [] }, examples, sums, layers);
  return { sums, layers };
}

/** Examples of one shape as a batch. */
function joined(parts: readonly Batch[]): Batch {
  const [first] = parts;
  if (first!.kind === "images") {
    const pixels = Float32Array.from(parts.flatMap((part) => (part.kind === "images" ? [...part.pixels] : [])));
    return { ...first!, count: parts.length, pixels };
  }
  const texts = parts.flatMap((part) => (part.kind === "images" ? [] : [part]));
  const all = (read: (text: (typeof texts)[number]) => Int32Array | undefined) =>
    Int32Array.from(texts.flatMap((text) => [...(read(text) ?? [])]));
  const { decoder, segments } = first!;
  return {
    ...{ ...first!, count: parts.length, ids: all(({ ids }) => ids), lengths: all(({ lengths }) => lengths) },
    ...(segments !== undefined && { segments: all((text) => text.segments) }),
    ...(decoder !== undefined && { decoder: { ...decoder, ids: all((text) => text.decoder?.ids) } }),
  };
}

describe("gram and kfac of an architecture are sums over the rows of its layers:", () => {
  for (const name of names) {
    it(name, async () => {
      const fixture = readFixture(name);
      const network = await openNetwork(await fixtureWeights(name, fixture), { threads: 1 });
      try {
        const batch = padded(batchOf(fixture.inputs));
        const { rows, classes } = await network.logits(batch);
        const isToken = (row: number) => {
          if (batch.kind === "images" || batch.decoder !== undefined || rows === batch.count) return true;
          return row % batch.length < batch.lengths[Math.floor(row / batch.length)]!;
        };
        const targets = Int32Array.from({ length: rows }, (_, row) => (isToken(row) ? row % classes : IGNORED));
        const all = layersOf(network);
        assert.ok(all.length > 5);
        const goal = { kind: "cross-entropy", targets, weights: new Float32Array(rows).fill(1) } as const;
        // The whole batch at once, padded; the collection sees examples without padding.
        const seen = await network.activations(
          batch,
          all.map((layer) => layer.name),
          goal,
        );
        const { sums, layers } = await collected(network, batch, targets, "kfac");
        for (const { name: module, inputs, outputs, weight, shape, transposed } of all) {
          const own = seen.get(module)!;
          const isPadded = batch.kind !== "images" && own.rows === batch.count * batch.length;
          const isReal = (row: number) =>
            batch.kind === "images" || !isPadded || row % batch.length < batch.lengths[Math.floor(row / batch.length)]!;
          const real = Array.from({ length: own.rows }, (_, row) => row).filter(isReal).length;
          assert.deepEqual(layers.get(module), { weight, shape, transposed, rows: real }, module);
          assert.deepEqual(shape, transposed ? [inputs, outputs] : [outputs, inputs]);
          close(
            sums.all.get(sumName(module, "input"))!.data,
            products(own.inputs, inputs, isReal),
            `${module}, inputs`,
          );
          const gradients = products(own.outputGradients!, outputs, isReal);
          close(sums.all.get(sumName(module, "output"))!.data, gradients, `${module}, outputs`);
        }
        assert.equal(
          all.some(({ transposed }) => transposed),
          name === "gpt2",
        );
        const grams = await collected(network, batch, targets, "gram");
        assert.deepEqual(
          [...grams.sums.all.keys()],
          all.map((layer) => sumName(layer.name, "input")),
        );
        for (const [key, { data }] of grams.sums.all) close(data, sums.all.get(key)!.data, key);
      } finally {
        await network.close();
      }
    });
  }
});

describe("collect, of a language model", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-collect-text-"));
  after(() => rmSync(folder, { recursive: true }));
  const zoo = fileURLToPath(new URL("../../../zoo/language", import.meta.url));
  const tasks = path.join(folder, "tasks.yaml");
  const task = { name: "french", type: "language-modelling", data: path.join(zoo, "french", "text.json"), window: 32 };
  writeFileSync(tasks, JSON.stringify({ tasks: [task] }));
  const collect = async (kind: string, out: string, ...more: string[]) => {
    const words = [
      "--model",
      path.join(zoo, "french"),
      "--tasks",
      tasks,
      "--task",
      "french",
      "--examples",
      "2",
      "-o",
      out,
    ];
    return mergewright("collect", kind, ...words, ...more);
  };

  for (const kind of ["gram", "kfac", "fisher"]) {
    it(`${kind}: from windows of text to a file that says what is in it`, async () => {
      const out = path.join(folder, `${kind}.safetensors`);
      const { code, err } = await collect(kind, out, ...(kind === "fisher" ? ["--dialect", "empirical"] : []));
      assert.equal(code, 0, err);
      const { info, file } = await openStatistics(out);
      await file.close();
      assert.deepEqual([info.kind, info.count, info.sources[0]!.count, info.model.name], [kind, 2, 2, "french"]);
      if (kind === "fisher") {
        assert.equal(Object.keys(info.energy).length, 56);
        assert.ok(Object.values(info.energy).every((value) => value > 0));
      } else {
        // Seven linear layers in each of six; the head is the embedding's other use.
        assert.equal(Object.keys(info.layers).length, 42);
        assert.deepEqual(new Set(Object.values(info.layers).map(({ rows }) => rows)), new Set([64]));
      }
    });
  }

  it("the exact Fisher of a large vocabulary is refused with what it would take", async () => {
    const { code, err } = await collect("fisher", path.join(folder, "never.safetensors"));
    assert.equal(code, 2);
    assert.match(err, /too many backward passes[^]*126976: 31 predicted tokens times a vocabulary of 4096[^]*sampled/);
  });
});
