/** EMR and TALL masks from files to files, against the formulas computed entry by entry. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { inspectArtifact } from "../../src/artifacts/inspect.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { mergeModels } from "../../src/merge.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { Folder, readTensors, recipeOf, valuesOf } from "../laws/support/family.js";
import { expect, rounded, RULES } from "./naive.js";
import type { Expected } from "./naive.js";
import { floatsOf, open, sameFloats, part, SHAPES, write, writeFamily } from "./support.js";
import type { Family } from "./support.js";

const { fround } = Math;
const folder = new Folder();
after(() => folder.remove());

async function checkArtifact(
  out: string,
  family: Family,
  expected: Expected,
  names: readonly string[],
  dtype: FloatDtype,
) {
  const tasks = family.models.map((model) => path.basename(model));
  const stored = await part(out, "vectors/shared");
  assert.deepEqual([...stored.keys()].sort(), [...names].sort());
  for (const [name, one] of stored) {
    assert.equal(one.dtype, dtype);
    assert.ok(sameFloats(valuesOf(one), expected.shared.get(name)!), name);
  }
  const artifact = await open(out);
  try {
    for (const [index, task] of tasks.entries()) {
      const masks = await part(out, `masks/${task}`);
      let kept = 0;
      for (const name of names) {
        const { bytes, dtype: format } = masks.get(name)!;
        const mask = expected.masks[index]!.get(name)!;
        assert.equal(format, "U8");
        assert.equal(bytes.length, Math.ceil(mask.length / 8));
        const bits = Buffer.alloc(Math.ceil(mask.length / 8));
        for (const [p, isKept] of mask.entries()) if (isKept) bits[p >>> 3]! |= 1 << (p & 7);
        assert.ok(bits.equals(bytes), `${task}: ${name}`);
        kept += mask.filter(Boolean).length;
      }
      const recorded = artifact.manifest.tasks[index]!;
      assert.equal(recorded.kept, kept);
      const scale = expected.scales[index]!;
      assert.ok(Math.abs(recorded.scale - scale) <= 1e-12 * scale, `${recorded.scale}, not ${scale}`);
    }
    const weights = await floatsOf(family.base);
    for (const [index, task] of tasks.entries()) {
      const made = folder.fresh();
      await write(out, { task, out: made, threads: 1 });
      const model = await readTensors(made);
      const scale = fround(artifact.manifest.tasks[index]!.scale);
      for (const name of names) {
        const mask = expected.masks[index]!.get(name)!;
        const shared = expected.shared.get(name)!;
        const values = weights
          .get(name)!
          .map((zero, p) => (mask[p] ? fround(zero + fround(scale * shared[p]!)) : zero));
        const found = model.get(name)!;
        assert.equal(found.dtype, dtype);
        assert.ok(sameFloats(valuesOf(found), rounded(values, dtype)), `${task}: ${name}`);
        const read = await artifact.readTensor(task, name);
        assert.ok(Buffer.from(read.bytes).equals(found.bytes));
        assert.deepEqual([read.name, read.dtype, read.shape], [found.name, found.dtype, found.shape]);
      }
      assert.deepEqual([...model.keys()].sort(), Object.keys(SHAPES).sort());
      assert.ok((await verifyOutput(made, nodePlatform, { threads: 1, inputs: true })).ok);
    }
  } finally {
    await artifact.close();
  }
}

const BACKBONE = Object.keys(SHAPES).filter((name) => name !== "head");

describe("emr writes the unified vector, masks and rescalers of the paper's formulas", () => {
  for (const [rescale, dtype, output] of [
    ["per-tensor-mean", "BF16", null],
    ["global", "F16", null],
    ["per-tensor-mean", "F32", "bfloat16"],
    ["global", "BF16", "float32"],
    ["per-tensor-mean", "F32", "float8_e4m3fn"],
    ["per-tensor-mean", "F64", "float32"],
    ["none", "BF16", "float32"],
    ["unmasked", "F16", null],
  ] as const) {
    it(`${rescale}, ${dtype}${output === null ? "" : ` to ${output}`}`, async () => {
      const stored = ({ bfloat16: "BF16", float32: "F32", float8_e4m3fn: "F8_E4M3" } as const)[output ?? "float32"];
      const format = output === null ? dtype : stored;
      const family = writeFamily(folder, `emr-${rescale}-${dtype}-${output}`, { models: 3, dtype });
      const out = folder.fresh();
      const parameters = rescale === "unmasked" ? { rescale: "none", mask: false } : { rescale };
      const recipe = {
        ...{ method: "emr", parameters, ...family, exclude: ["head"], heads: "separate" },
        ...(output !== null && { output: { dtype: output } }),
      };
      await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 2 });
      assert.ok((await verifyOutput(out, nodePlatform, { threads: 1, inputs: true })).ok);
      await checkArtifact(out, family, await expect(family, BACKBONE, format, RULES[rescale]), BACKBONE, format);
    });
  }
});

describe("tall_masks", () => {
  it("writes the sum and the masks of the paper's formula", async () => {
    const family = writeFamily(folder, "tall", { models: 3 });
    const out = folder.fresh();
    const recipe = { method: "tall_masks", parameters: { mask_lambda: 0.5, alpha: 0.75 }, ...family };
    await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 1 });
    const names = Object.keys(SHAPES);
    const expected = await expect(family, names, "BF16", {
      unify: (changes) => fround(changes.reduce((total, change) => fround(total + change), 0) * 0.75),
      keeps: (c, s) => Math.abs(c) > fround(0.5 * Math.abs(fround(s - c))),
      scale: () => 1,
    });
    await checkArtifact(out, family, expected, names, "BF16");
  });
});

describe("an artifact of masks", () => {
  it("takes the shared vector, a bit per entry and task, and headers", async () => {
    const family = writeFamily(folder, "sizes", { models: 4 });
    const out = folder.fresh();
    await mergeModels(recipeOf({ method: "emr", ...family }), nodePlatform, { out, threads: 1 });
    const entries = Object.values(SHAPES).map((shape) => shape.reduce((a, b) => a * b, 1));
    const bits = entries.reduce((sum, count) => sum + Math.ceil(count / 8), 0);
    const model = entries.reduce((sum, count) => sum + 2 * count, 0);
    const sizeOf = (file: string) => fs.statSync(path.join(out, file)).size;
    const headerOf = (file: string) => {
      const bytes = fs.readFileSync(path.join(out, file));
      return 8 + Number(bytes.readBigUInt64LE(0));
    };
    const files = ["vectors/shared", ...family.models.map((place) => `masks/${path.basename(place)}`)];
    for (const [index, name] of files.entries()) {
      const file = `${name}/model.safetensors`;
      assert.equal(sizeOf(file) - headerOf(file), index === 0 ? model : bits);
    }
    assert.ok(Math.abs(bits / (model / 16) - 1) < 1e-3);
    const inspection = await inspectArtifact(out, nodePlatform);
    assert.equal(
      inspection.bytes,
      files.reduce((sum, name) => sum + sizeOf(`${name}/model.safetensors`), 0),
    );
    assert.deepEqual(
      inspection.tasks.map(({ bytes }) => bytes.mask),
      files.slice(1).map((name) => sizeOf(`${name}/model.safetensors`)),
    );
  });

  it("is the same for any threads, tiles and shards", async () => {
    const family = writeFamily(folder, "same", { models: 3 });
    const make = async (options: object, output = {}) => {
      const out = folder.fresh();
      await mergeModels(recipeOf({ method: "emr", ...family, output }), nodePlatform, { out, threads: 1, ...options });
      const { tasks } = (await open(out)).manifest;
      const parts = ["vectors/shared", ...tasks.map(({ mask }) => mask!)];
      return { tasks, parts: await Promise.all(parts.map((name) => part(out, name))) };
    };
    const one = await make({});
    assert.deepEqual(await make({ threads: 3 }), one);
    assert.deepEqual(await make({ threads: 2, tuning: { tileEntries: 1024, chunkEntries: 2048 } }), one);
    assert.deepEqual(await make({}, { shard_size: "20kB" }), one);
  });

  it("of tasks that are the base says so, and gives the base back", async () => {
    const family = writeFamily(folder, "zero", { models: 1 });
    const copy = folder.at("zero-copy");
    fs.cpSync(family.base, copy, { recursive: true });
    const out = folder.fresh();
    const { provenance } = await mergeModels(
      recipeOf({ method: "emr", base: family.base, models: [copy, ...family.models] }),
      nodePlatform,
      { out, threads: 1 },
    );
    assert.ok(provenance.warnings.some((warning) => /the mask of zero-copy keeps nothing/.test(warning)));
    const made = folder.fresh();
    await write(out, { task: "zero-copy", out: made });
    assert.deepEqual(await floatsOf(made), await floatsOf(family.base));
  });

  it("keeps a task's own head and config, and takes excluded tensors from the base where heads are not separate", async () => {
    const family = writeFamily(folder, "heads", { models: 2 });
    const [separate, plain] = [folder.fresh(), folder.fresh()];
    const recipe = { method: "emr", ...family, exclude: ["head"] };
    await mergeModels(recipeOf({ ...recipe, heads: "separate" }), nodePlatform, { out: separate, threads: 1 });
    await mergeModels(recipeOf(recipe), nodePlatform, { out: plain, threads: 1 });
    for (const [artifact, source, own] of [
      [separate, family.models[1]!, 2],
      [plain, family.base, 0],
    ] as const) {
      const made = folder.fresh();
      await write(artifact, { task: "heads-task1", out: made });
      assert.deepEqual((await floatsOf(made)).get("head"), (await floatsOf(source)).get("head"));
      assert.match(fs.readFileSync(path.join(made, "config.json"), "utf8"), new RegExp(`"own": ${own}`));
      assert.equal(fs.readFileSync(path.join(made, "tokenizer.json"), "utf8"), "{}");
    }
  });

  it("leaves a tensor that a model lacks as the base has it", async () => {
    const family = writeFamily(folder, "lacking", { models: 2 });
    const tensors = [...(await readTensors(family.models[1]!)).values()].filter(({ name }) => name !== "layers.0.bias");
    const less = folder.write("lacking-less", tensors);
    const out = folder.fresh();
    const recipe = { method: "emr", base: family.base, models: [family.models[0]!, less], missing: "skip" };
    await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 1 });
    const made = folder.fresh();
    await write(out, { task: "lacking-less", out: made });
    const [found, base] = [await floatsOf(made), await floatsOf(family.base)];
    assert.deepEqual(found.get("layers.0.bias"), base.get("layers.0.bias"));
    assert.notDeepEqual(found.get("layers.0.weight"), base.get("layers.0.weight"));
  });

  it("makes masks of what DARE leaves", async () => {
    const family = writeFamily(folder, "dare", { models: 2 });
    const out = folder.fresh();
    await mergeModels(recipeOf({ method: "emr", ...family, dare: { drop: 0.9 } }), nodePlatform, { out, threads: 1 });
    const artifact = await open(out);
    for (const { kept, entries } of artifact.manifest.tasks) assert.ok(kept > 0.07 * entries && kept < 0.1 * entries);
    await artifact.close();
  });

  it("names the model whose NaN leaves a task without a scale", async () => {
    const family = writeFamily(folder, "nan", { models: 2 });
    const tensors = await readTensors(family.models[1]!);
    new Uint16Array(tensors.get("layers.1.weight")!.bytes.buffer)[3] = 0x7fc0;
    const broken = folder.write("nan-broken", [...tensors.values()]);
    const recipe = recipeOf({ method: "emr", base: family.base, models: [family.models[0]!, broken] });
    await assert.rejects(mergeModels(recipe, nodePlatform, { out: folder.fresh(), threads: 1 }), {
      code: "values/non-finite",
      message: /scale of nan-broken is not a finite number[^]*layers\.1\.weight[^]*nan-broken/,
    });
  });
});
