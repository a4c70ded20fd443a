/** What partitions of a change do to the loss: by the gradient, by trying, of every architecture, from files to a file. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { type Collected, type CollectRequest, collectStatistics } from "../../src/collect/collect.js";
import { addImportance, checkRelated, compare, type Compared } from "../../src/collect/importance.js";
import { addStatistics } from "../../src/collect/shards.js";
import { Sums } from "../../src/collect/sums.js";
import { partitionOf, type StatisticsInfo } from "../../src/collected/statistics.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import type { Partitioning } from "../../src/methods/method.js";
import { layerPartitionOf } from "../../src/models/families.js";
import { openModel } from "../../src/node.js";
import { openNetwork } from "../../src/platform/node/network.js";
import {
  collectPlatform,
  openStatistics,
  readEarlier,
  unfinished,
  writeStatistics,
} from "../../src/platform/node/statistics.js";
import { IGNORED } from "../../src/runtime/network.js";
import type { WeightSource } from "../../src/runtime/network.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { batchOf, fixtureWeights, names, readFixture } from "../runtime/fixtures.js";
import { zooImages } from "../runtime/zoo.js";
import { refusal } from "../refusal.js";

const zoo = fileURLToPath(new URL("../../../zoo", import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-importance-"));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, `${name}.safetensors`);
const model = (name: string) => path.join(zoo, "vision", name);

function taskOf(name: string, more = {}) {
  const task = { name, type: "image-classification", data: path.join(model(name), "data.safetensors"), ...more };
  return parseTasks(JSON.stringify({ tasks: [task] }), "tasks.yaml")[0]!;
}

const plain: CollectRequest = {
  ...{ kind: "importance", model: model("mnist"), base: model("base"), task: taskOf("mnist"), split: "train" },
  ...{ first: 0, examples: 4, dialect: null, seed: 0, batch: 1 },
};
const collect = (request: Partial<CollectRequest> = {}) =>
  collectStatistics({ ...plain, ...request }, collectPlatform, { threads: 1 });

/** By partition, the mean over predictions. */
function means({ info, sums }: Collected, per: Partitioning): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, { data }] of sums.all) {
    const key = info.per === "row" || info.per === "tensor" ? partitionOf(name, per) : name;
    found[key] = (found[key] ?? 0) + data.reduce((sum, value) => sum + value, 0) / info.count;
  }
  return found;
}

function close(found: Record<string, number>, expected: Record<string, number>, share: number): void {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
  for (const [key, value] of Object.entries(expected)) {
    const off = Math.abs(found[key]! - value);
    assert.ok(off <= share * Math.abs(value), `${key}: ${found[key]} beside ${value}`);
  }
}

describe("the gradient's importance", () => {
  it("is that of an independent computation, layer by layer", async () => {
    const { apl_importance } = JSON.parse(readFileSync(path.join(zoo, "reference.json"), "utf8")).vision;
    const { _loss, ...expected } = apl_importance.mnist as Record<string, number>;
    assert.ok(_loss! > 0);
    const found = Object.entries(means(await collect({ examples: 64 }), "layer")).map(([key, value]) => {
      return [key.replace(/^vit\.(encoder\.)?/, ""), Math.abs(value)] as const;
    });
    close(Object.fromEntries(found), expected, 1e-4);
  });

  it("of whatever is coarser is the sum of that of its rows", async () => {
    const rows = await collect();
    for (const per of ["tensor", "layer", "model"] as const) {
      close(means(rows, per), means(await collect({ per }), per), 1e-12);
    }
    assert.deepEqual(rows.sums.all.get("vit.encoder.layer.1.output.dense.weight")!.shape, [128]);
    assert.equal(rows.info.base!.name, "base");
    // The model's own head is put over the base, so it is no change.
    assert.equal(rows.info.head!.name, "mnist");
    assert.ok(![...rows.sums.all.keys()].some((name) => name.startsWith("classifier")));
  });

  it("of each example by itself is never less than that of all", async () => {
    const each = means(await collect({ dialect: "per-example" }), "layer");
    for (const [key, value] of Object.entries(means(await collect(), "layer"))) {
      assert.ok(each[key]! >= Math.abs(value) * (1 - 1e-4), key);
    }
    const one = means(await collect({ dialect: "per-example", examples: 1 }), "layer");
    const same = Object.entries(means(await collect({ examples: 1 }), "layer"));
    close(one, Object.fromEntries(same.map(([key, value]) => [key, Math.abs(value)])), 1e-9);
  });
});

describe("an intervention", () => {
  it("on the whole model is the same from both ends", async () => {
    const [restored] = Object.values(means(await collect({ dialect: "restore", per: "model" }), "model"));
    const [removed] = Object.values(means(await collect({ dialect: "remove", per: "model" }), "model"));
    assert.equal(restored, removed);
    assert.ok(restored! < -0.1);
  });

  it("is what the gradient tends to for small changes", async () => {
    const base = weightsOf(await openModel(model("base")));
    const own = weightsOf(await openModel(model("mnist")));
    const network = await openNetwork(base, { threads: 1, head: own });
    const { batch, labels: targets } = await zooImages("mnist", "train", 4);
    const offBy = async (step: number) => {
      const near: WeightSource = {
        ...own,
        async tensor(name) {
          const [from, to] = [await base.tensor(name), await own.tensor(name)];
          return from.map((entry, p) => entry + step * (to[p]! - entry));
        },
      };
      const compared = compare(network, base, near, { per: "layer", headed: true });
      const of = async (dialect: string) => {
        const sums = new Sums();
        await network.load(base);
        await addImportance(dialect, network, compared, [{ batch, targets }], sums);
        return sums.all.get("vit.encoder.layer.5")!.data[0]!;
      };
      const [gradient, restore] = [await of("gradient"), await of("restore")];
      return Math.abs(gradient - restore) / Math.abs(restore);
    };
    const [far, near] = [await offBy(0.1), await offBy(0.01)];
    await network.close();
    assert.ok(near < 0.03 && near < far / 5, `${far} at a tenth of the change, ${near} at a hundredth`);
  });
});

describe("importance of every architecture is the derivative along its change:", () => {
  for (const name of names) {
    it(name, async () => {
      const fixture = readFixture(name);
      const base = await fixtureWeights(name, fixture);
      const network = await openNetwork(base, { threads: 1 });
      try {
        const batch = batchOf(fixture.inputs);
        const { rows, classes } = await network.logits(batch);
        const targets = Int32Array.from({ length: rows }, (_, row) => {
          const isPadded =
            batch.kind === "text" && rows > batch.count && batch.decoder === undefined
              ? row % batch.length >= batch.lengths[Math.floor(row / batch.length)]!
              : false;
          return isPadded ? IGNORED : row % classes;
        });
        const along = (step: number): WeightSource => ({
          ...base,
          async tensor(tensor) {
            const seed = tensor.length;
            const values = await base.tensor(tensor);
            return values.map((entry, p) => entry + step * Math.sin(1.7 * p + seed));
          },
        });
        const of = async (dialect: string, step: number, per: Partitioning) => {
          const compared: Compared = compare(network, base, along(step), { per, headed: false });
          const sums = new Sums();
          await network.load(base);
          const predictions = await addImportance(dialect, network, compared, [{ batch, targets }], sums);
          assert.equal(predictions, targets.filter((target) => target !== IGNORED).length);
          return sums.all;
        };
        const gradient = await of("gradient", 0.0008, "layer");
        const [up, down] = [await of("restore", 0.0008, "layer"), await of("restore", -0.0008, "layer")];
        assert.deepEqual([...gradient.keys()], [...up.keys()]);
        const most = Math.max(...[...gradient.values()].map(({ data }) => Math.abs(data[0]!)));
        for (const [key, { data }] of gradient) {
          const central = (up.get(key)!.data[0]! - down.get(key)!.data[0]!) / 2;
          const off = Math.abs(data[0]! - central);
          assert.ok(off < 0.01 * most, `${key}: ${data[0]} beside ${central}, of ${most}`);
        }
        const byRow = await of("gradient", 0.0008, "row");
        assert.deepEqual([...byRow.keys()].sort(), [...network.parameters].sort());
      } finally {
        await network.close();
      }
    });
  }
});

describe("layers of a network, and what lies outside of them", () => {
  for (const [name, partition] of [
    ["vit.embeddings.patch_embeddings.projection.bias", "vit.embeddings"],
    ["vit.encoder.layer.3.output.dense.weight", "vit.encoder.layer.3"],
    ["vit.layernorm.weight", "vit.layernorm"],
    ["model.embed_tokens.weight", "model.embed_tokens"],
    ["lm_head.weight", "lm_head"],
    ["transformer.h.11.ln_1.bias", "transformer.h.11"],
    ["decoder.block.2.layer.0.SelfAttention.q.weight", "decoder.block.2"],
    ["bias", "bias"],
  ] as const) {
    it(`${name} belongs to ${partition}`, () => assert.equal(layerPartitionOf(name), partition));
  }
});

describe("a file of importances", () => {
  it("of halves adds up to that of the whole, byte for byte, and so does one that was interrupted", async () => {
    for (const [name, request] of [
      ["whole", { examples: 64 }],
      ["first", { examples: 32 }],
      ["second", { first: 32, examples: 32 }],
    ] as const) {
      const { info, sums } = await collect({ per: "layer", ...request });
      await writeStatistics(at(name), info, sums);
    }
    const halves = [await openStatistics(at("first")), await openStatistics(at("second"))];
    const { info, sums } = await addStatistics(halves);
    await writeStatistics(at("sum"), info, sums);
    assert.deepEqual(readFileSync(at("sum")), readFileSync(at("whole")));
    await writeStatistics(
      unfinished(at("whole")),
      halves[0]!.info,
      (await collect({ per: "layer", examples: 32 })).sums,
    );
    const resumed = await collectStatistics({ ...plain, per: "layer", examples: 64 }, collectPlatform, {
      threads: 2,
      resume: (whole) => readEarlier(at("whole"), whole),
    });
    await writeStatistics(at("resumed"), resumed.info, resumed.sums);
    assert.deepEqual(readFileSync(at("resumed")), readFileSync(at("whole")));
    const other = await collect({ per: "tensor", first: 64 });
    await writeStatistics(at("other"), other.info, other.sums);
    const tensors = await openStatistics(at("other"));
    const { message, expected } = await refusal(addStatistics([halves[0]!, tensors]));
    assert.match(`${message} ${expected}`, /differ in per\n[^]* layer, as/);
    for (const { file } of [...halves, tensors]) await file.close();
  });

  it("that is damaged is refused", async () => {
    const { info, sums } = await collect({ per: "layer" });
    const damaged = async (change: Partial<StatisticsInfo>, others = sums) => {
      await writeStatistics(at("damaged"), { ...info, ...change }, others);
      return (await refusal(openStatistics(at("damaged")))).code;
    };
    const two = new Sums();
    two.add("vit.layernorm", [2], new Float64Array(2));
    const square = new Sums();
    square.add("vit.layernorm.weight", [2, 2], new Float64Array(4));
    assert.equal(await damaged({ per: "galaxy" as never }), "statistics/file");
    assert.equal(await damaged({ base: null }), "statistics/file");
    assert.equal(await damaged({}, two), "statistics/file");
    assert.equal(await damaged({ per: "row" }, square), "statistics/file");
  });
});

describe("mistakes", () => {
  it("a base that is missing, another network's, or the wrong thing to look at", async () => {
    const { base: _, ...baseless } = plain;
    const missing = await refusal(collectStatistics(baseless, collectPlatform, { threads: 1 }));
    assert.match(
      `${missing.code} ${missing.expected}`,
      /usage --base BASE, the checkpoint that .*mnist was fine-tuned/,
    );
    const row = await refusal(collect({ dialect: "restore", per: "row" }));
    assert.match(String(row.expected), /tensor, layer or model/);
    const llama = path.join(zoo, "language", "base");
    const stranger = await refusal(collect({ base: llama }));
    assert.equal(stranger.code, "collect/base");
    assert.match(stranger.message, /base and model are of different architectures/);
    assert.match(`${stranger.expected}; ${stranger.found}`, /^ViTFor\w+, as .*mnist is; LlamaForCausalLM$/);
    assert.match(String(stranger.advice), /mnist was fine-tuned from with --base/);
    const head = await refusal(collect({ kind: "fisher", task: taskOf("mnist", { head: llama }) }));
    assert.match(`${head.code} ${head.message}`, /runtime\/architecture the head .* is of another architecture/);
    assert.match(`${head.expected}; ${head.found}`, /^ViTFor\w+, as .*mnist is; LlamaForCausalLM$/);
    // Of one architecture, but of another size.
    const weights = (times: number): WeightSource => ({
      ...weightsOf(known),
      shape: (name) => known.tensors.get(name)?.shape.map((size) => size * times),
    });
    const known = await openModel(model("mnist"));
    assert.throws(() => checkRelated(weights(1), weights(2)), /no change of this base: no tensor has the same name/);
    checkRelated(weights(2), weights(2));
  });

  it("a weight that is not a number stops the collection", async () => {
    const own = weightsOf(await openModel(model("mnist")));
    const base = weightsOf(await openModel(model("base")));
    const network = await openNetwork(base, { threads: 1, head: own });
    const broken: WeightSource = {
      ...own,
      tensor: async (name) => (await own.tensor(name)).map((entry, p) => (p === 0 ? NaN : entry)),
    };
    const { batch, labels: targets } = await zooImages("mnist", "train", 1);
    const compared = compare(network, base, broken, { per: "layer", headed: true });
    for (const dialect of ["gradient", "restore"]) {
      const { code } = await refusal(addImportance(dialect, network, compared, [{ batch, targets }], new Sums()));
      assert.equal(code, "collect/not-finite");
    }
    await network.close();
  });
});
