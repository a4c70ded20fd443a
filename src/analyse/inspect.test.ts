import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { nodePlatform } from "../platform/node/platform.js";
import { randomValues, temporaryFolder, writeModel, ZOO } from "./fixtures.test.js";
import { inspectModel } from "./inspect.js";

const folder = temporaryFolder();
const inspect = (model: string, norms = true, threads = 1) => inspectModel(model, nodePlatform, { threads, norms });

describe("inspectModel", () => {
  it("accounts for every tensor of a sharded model: where it is, its layer, its role", async () => {
    const french = await inspect(path.join(ZOO, "language/french"), false);
    assert.deepEqual(french.totals, { tensors: 56, entries: 3_148_224, bytes: 6_296_448 });
    assert.deepEqual(french.dtypes, [{ dtype: "BF16", ...french.totals }]);
    assert.equal(french.layers, 6);
    assert.deepEqual(
      french.shards.map(({ tensors, metadata }) => ({ tensors, metadata: { ...metadata } })),
      [6, 22, 23, 5].map((tensors) => ({ tensors, metadata: { format: "pt" } })),
    );
    const [embeddings, gate] = french.tensors;
    assert.deepEqual(embeddings, {
      name: "model.embed_tokens.weight",
      dtype: "BF16",
      shape: [4096, 192],
      entries: 786_432,
      bytes: 1_572_864,
      shard: "model-00001-of-00004.safetensors",
      layer: null,
      role: "vocabulary",
      figures: null,
    });
    assert.equal(gate!.layer, 0);
    assert.equal(french.config!["model_type"], "llama");
    assert.deepEqual(
      french.sideFiles.map(({ name }) => name),
      ["generation_config.json", "tokenizer.json", "tokenizer_config.json"],
    );
    assert.equal(french.norm, null);
  });

  it("finds the norm of the zoo's base that another implementation found", async () => {
    const { vision } = JSON.parse(readFileSync(path.join(ZOO, "reference.json"), "utf8")) as {
      vision: { curves: { base_l2: number } };
    };
    const { tensors } = await inspect(path.join(ZOO, "vision/base"));
    const backbone = tensors.filter(({ name }) => !name.startsWith("classifier."));
    const norm = Math.hypot(...backbone.map(({ figures }) => figures!.norm));
    assert.ok(Math.abs(norm / vision.curves.base_l2 - 1) < 1e-6, `${norm}`);
  });

  it("takes figures of finite entries, counts the others, and takes none of integers", async () => {
    const model = writeModel(path.join(folder, "special"), {
      mixed: { dtype: "F32", values: [3, -4, 0, -0, NaN, Infinity, -Infinity, -Infinity] },
      broken: { dtype: "BF16", values: [NaN, Infinity] },
      large: { dtype: "F64", values: [2, -2] },
      small: { dtype: "F8_E4M3", values: [0.5, 448] },
      whole: { dtype: "I64", values: [1, 0, 0, 0, 0, 0, 0, 0] },
      none: { dtype: "F32", shape: [0, 4], values: [] },
    });
    const { tensors, norm } = await inspect(model);
    const figures = Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor.figures]));
    assert.deepEqual(figures, {
      mixed: { norm: 5, mean: -0.25, min: -4, max: 3, zeros: 2, nan: 1, infinite: 3 },
      broken: { norm: 0, mean: NaN, min: NaN, max: NaN, zeros: 0, nan: 1, infinite: 1 },
      large: { norm: Math.sqrt(8), mean: 0, min: -2, max: 2, zeros: 0, nan: 0, infinite: 0 },
      small: { norm: Math.sqrt(448 ** 2 + 0.25), mean: 224.25, min: 0.5, max: 448, zeros: 0, nan: 0, infinite: 0 },
      whole: null,
      none: { norm: 0, mean: NaN, min: NaN, max: NaN, zeros: 0, nan: 0, infinite: 0 },
    });
    assert.equal(norm, Math.sqrt(25 + 8 + 448 ** 2 + 0.25));
  });

  it("gives the same figures with one thread and with two, over several blocks", async () => {
    const values = randomValues(600_001, 7);
    const model = writeModel(path.join(folder, "long"), {
      long: { dtype: "F32", values },
      half: { dtype: "F16", values: values.slice(0, 300_000) },
    });
    const [one, two] = [await inspect(model, true, 1), await inspect(model, true, 2)];
    assert.deepEqual(one, two);
    const exact = values.reduce((sum, x) => sum + Math.fround(x) ** 2, 0);
    assert.ok(Math.abs(one.tensors[0]!.figures!.norm / Math.sqrt(exact) - 1) < 1e-12);
  });

  it("names what the network ties together", async () => {
    const tensor = { dtype: "F32" as const, shape: [2, 1], values: [1, 2] };
    const model = writeModel(
      path.join(folder, "tied"),
      { "model.embed_tokens.weight": tensor, "lm_head.weight": tensor },
      { "config.json": '{"tie_word_embeddings": true, "auto_map": {"AutoModel": "x.py"}}' },
    );
    const { tied, config } = await inspect(model, false);
    assert.deepEqual(tied, [{ primary: "model.embed_tokens.weight", aliases: ["lm_head.weight"] }]);
    assert.deepEqual(config, { tie_word_embeddings: true });
  });
});
