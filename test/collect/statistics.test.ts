/** Collecting statistics from examples: what is summed, that shards add up, that an interruption changes nothing. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { BLOCK_EXAMPLES, type Collected, type CollectRequest, collectStatistics } from "../../src/collect/collect.js";
import { addStatistics } from "../../src/collect/shards.js";
import { sumName } from "../../src/collected/statistics.js";
import { MergewrightError } from "../../src/errors.js";
import type { ImageTask } from "../../src/evaluate/task.js";
import {
  collectPlatform,
  openStatistics,
  readEarlier,
  unfinished,
  writeStatistics,
} from "../../src/platform/node/statistics.js";
import type { TappedNetwork } from "../../src/runtime/network.js";
import { largestDifference, zooImages, zooNetwork } from "../runtime/zoo.js";

const zoo = fileURLToPath(new URL("../../../zoo/vision", import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-collect-"));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, `${name}.safetensors`);

const task: ImageTask = {
  ...{ name: "mnist", type: "image-classification", data: path.join(zoo, "mnist", "data.safetensors") },
  ...{ head: null, classes: null, normalise: null },
} as ImageTask;
const plain: CollectRequest = {
  ...{ kind: "gram", model: path.join(zoo, "mnist"), task, split: "train", first: 0, examples: 64 },
  ...{ dialect: null, seed: 0, batch: 4 },
};
const collect = (request: Partial<CollectRequest>) =>
  collectStatistics({ ...plain, ...request }, collectPlatform, { threads: 1 });

const DENSE = "vit.encoder.layer.1.output.dense";
const sumOf = ({ sums }: Collected, name: string) => sums.all.get(name)!.data;

function close(found: ArrayLike<number>, expected: ArrayLike<number>): void {
  const most = Array.from(expected, Math.abs).reduce((a, b) => Math.max(a, b), 0);
  assert.ok(most > 0);
  assert.ok(largestDifference(found, expected) < 3e-5 * most, `${largestDifference(found, expected)} of ${most}`);
}

async function code(run: Promise<unknown>): Promise<string> {
  const error = await run.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof MergewrightError, String(error));
  return error.code;
}

describe("what is summed", () => {
  let network: TappedNetwork;
  before(async () => (network = await zooNetwork("vision/mnist")));
  after(() => network.close());

  it("inner products of all inputs of every linear layer, and how many rows", async () => {
    const found = await collect({ examples: 5 });
    const { batch } = await zooImages("mnist", "train", 5);
    const grams = await network.grams(batch, [DENSE]);
    close(sumOf(found, sumName(DENSE, "input")), grams.get(DENSE)!.inputs);
    const { layers, count } = found.info;
    assert.deepEqual([layers[DENSE]!.rows, count, layers[DENSE]!.weight], [250, 5, `${DENSE}.weight`]);
    // The patches' layer is a convolution.
    assert.equal(Object.keys(layers).length, 37);
  });

  it("of kfac also those of the gradients of log p(label) by the outputs", async () => {
    const found = await collect({ kind: "kfac", examples: 3 });
    const { batch, labels } = await zooImages("mnist", "train", 3);
    const weights = new Float32Array(3).fill(1);
    const grams = await network.grams(batch, [DENSE], { kind: "cross-entropy", targets: labels, weights });
    close(sumOf(found, sumName(DENSE, "output")), grams.get(DENSE)!.outputGradients!);
  });

  const squares = async (count: number, targets: (example: number) => readonly (readonly [number, number])[]) => {
    const sum = new Float64Array(65536);
    const { batch } = await zooImages("mnist", "train", count);
    for (let example = 0; example < count; example++) {
      const one = { ...batch, count: 1, pixels: batch.pixels.slice(784 * example, 784 * (example + 1)) };
      for (const [target, weight] of targets(example)) {
        const goal = { kind: "cross-entropy", targets: Int32Array.of(target) } as const;
        const { parameters } = await network.gradients(one, goal, [`${DENSE}.weight`]);
        for (const [index, g] of parameters.get(`${DENSE}.weight`)!.entries()) sum[index]! += weight * g * g;
      }
    }
    return sum;
  };
  const probabilities = async (count: number) => {
    const { batch } = await zooImages("mnist", "train", count);
    const { values, classes } = await network.logits(batch);
    return Array.from({ length: count }, (_, row) => {
      const exps = Array.from(values.subarray(row * classes, (row + 1) * classes), Math.exp);
      const sum = exps.reduce((a, b) => a + b, 0);
      return exps.map((value) => value / sum);
    });
  };

  it("the exact Fisher: every class of every example, weighted with its probability", async () => {
    const p = await probabilities(2);
    const expected = await squares(2, (example) => p[example]!.map((weight, target) => [target, weight] as const));
    close(sumOf(await collect({ kind: "fisher", examples: 2 }), `${DENSE}.weight`), expected);
  });

  it("the empirical Fisher: the labels", async () => {
    const { labels } = await zooImages("mnist", "train", 3);
    const expected = await squares(3, (example) => [[labels[example]!, 1]]);
    const found = await collect({ kind: "fisher", dialect: "empirical", examples: 3 });
    close(sumOf(found, `${DENSE}.weight`), expected);
  });

  it("drawn labels, which follow from the seed alone", async () => {
    const request = {
      kind: "fisher",
      dialect: "sampled",
      examples: 6,
      model: path.join(zoo, "base"),
      task: headed,
    } as const;
    const [one, same, other] = [await collect(request), await collect(request), await collect({ ...request, seed: 1 })];
    assert.deepEqual(sumOf(one, `${DENSE}.weight`), sumOf(same, `${DENSE}.weight`));
    assert.notDeepEqual(sumOf(one, `${DENSE}.weight`), sumOf(other, `${DENSE}.weight`));
    assert.equal(one.info.seed, 0);
  });

  it("squares of whole batches, where a dialect wants that", async () => {
    const { batch } = await zooImages("mnist", "train", 4);
    const p = await probabilities(4);
    const best = Int32Array.from(p, (row) => row.indexOf(Math.max(...row)));
    const { parameters } = await network.gradients(batch, { kind: "cross-entropy", targets: best });
    const hard = await collect({ kind: "fisher", dialect: "regmean-hard", examples: 4 });
    close(
      sumOf(hard, `${DENSE}.weight`),
      parameters.get(`${DENSE}.weight`)!.map((g) => g * g),
    );
    assert.deepEqual([hard.info.count, hard.info.batch], [1, 4]);
    const total = new Float64Array(65536);
    for (const [row, weights] of p.entries()) {
      for (const [target, weight] of weights.entries()) {
        const one = { ...batch, count: 1, pixels: batch.pixels.slice(784 * row, 784 * (row + 1)) };
        const goal = { kind: "cross-entropy", targets: Int32Array.of(target) } as const;
        const gradients = await network.gradients(one, goal, [`${DENSE}.weight`]);
        for (const [index, g] of gradients.parameters.get(`${DENSE}.weight`)!.entries()) {
          total[index]! += Math.sqrt(weight) * g;
        }
      }
    }
    const mergelm = await collect({ kind: "fisher", dialect: "mergelm", examples: 4 });
    close(
      sumOf(mergelm, `${DENSE}.weight`),
      total.map((g) => g * g),
    );
  });
});

const headed: ImageTask = { ...task, head: path.join(zoo, "mnist") };

describe("a statistics file", () => {
  it("of halves adds up to that of the whole, byte for byte", async () => {
    const parts = [
      ["whole", {}],
      ["first", { examples: 32 }],
      ["second", { first: 32, examples: 32 }],
    ] as const;
    for (const [name, request] of parts) {
      const { info, sums } = await collect(request);
      await writeStatistics(at(name), info, sums);
    }
    const halves = [await openStatistics(at("first")), await openStatistics(at("second"))];
    const { info, sums } = await addStatistics(halves);
    await writeStatistics(at("sum"), info, sums);
    assert.deepEqual(readFileSync(at("sum")), readFileSync(at("whole")));
    assert.equal(await code(addStatistics([halves[0]!, halves[0]!])), "statistics/file");
    for (const { file } of halves) await file.close();
  });

  it("of an interrupted collection is that of an uninterrupted one", async () => {
    const left = unfinished(at("whole"));
    await assert.rejects(
      collectStatistics(plain, collectPlatform, {
        threads: 1,
        async keep(info, sums) {
          await writeStatistics(left, info, sums);
          throw new Error("the light goes out");
        },
      }),
    );
    const reached: number[] = [];
    const { info, sums } = await collectStatistics(plain, collectPlatform, {
      threads: 2,
      resume: (whole) => readEarlier(at("whole"), whole),
      progress: (done) => reached.push(done),
    });
    await writeStatistics(at("resumed"), info, sums);
    // Nothing of the first block is collected again.
    assert.ok(Math.min(...reached) >= BLOCK_EXAMPLES);
    assert.equal(reached.at(-1), plain.examples);
    assert.deepEqual(readFileSync(at("resumed")), readFileSync(at("whole")));
    assert.equal(await readEarlier(at("whole"), { ...info, dialect: "sampled" }), null);
  });

  it("is refused where it is none, or of something else", async () => {
    assert.equal(await code(openStatistics(path.join(zoo, "mnist", "model.safetensors"))), "statistics/file");
    const other = await collect({ kind: "kfac", examples: 2 });
    await writeStatistics(at("kfac"), other.info, other.sums);
    const [kfac, gram] = [await openStatistics(at("kfac")), await openStatistics(at("whole"))];
    assert.equal(await code(addStatistics([gram, kfac])), "statistics/file");
    await writeStatistics(at("lacking"), { ...other.info, layers: { no: other.info.layers[DENSE]! } }, other.sums);
    assert.equal(await code(openStatistics(at("lacking"))), "statistics/file");
    for (const { file } of [gram, kfac]) await file.close();
  });

  it("says where too few examples leave a sum without full rank", async () => {
    const { notes } = await collect({ examples: 2 });
    assert.match(notes.join(" "), /layers saw fewer rows than they have inputs .*alpha below 1/);
    assert.equal(await code(collect({ first: 9999 })), "tasks/data");
    assert.match((await collect({ first: 496, examples: 9 })).notes.join(" "), /only 4 of the 9 examples/);
  });
});
