/** A task's model as what a recipe merges: read through its parts, the same as from its files. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { inspectModel } from "../../src/analyse/inspect.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { Folder, merge, readTensors, recipeOf } from "../laws/support/family.js";
import { write, writeFamily } from "./support.js";
import type { Family } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

let family: Family;
let artifact: string;
let models: readonly string[];

before(async () => {
  // F32, so that a task's model loses nothing when it is written.
  family = writeFamily(folder, "in", { models: 3, dtype: "F32" });
  artifact = folder.at("artifact");
  await mergeModels(recipeOf({ method: "emr", ...family, exclude: ["head"], heads: "separate" }), nodePlatform, {
    out: artifact,
    threads: 1,
  });
  models = await Promise.all(
    [0, 1].map(async (task) => {
      const out = folder.at(`in-made${task}`);
      await write(artifact, { task: `in-task${task}`, out });
      return out;
    }),
  );
});

describe("a task's model among a recipe's models", () => {
  for (const [method, parameters] of [
    ["task_arithmetic", { lambda: 0.7 }],
    ["ties", { density: 0.3 }],
    ["average", {}],
    ["slerp", { t: 0.25 }],
  ] as const) {
    it(`merges by ${method} as the files of the model do, with any threads and tiles`, async () => {
      const recipe = (names: readonly string[]) => ({
        ...{ method, parameters, base: family.base },
        models: method === "slerp" ? names.slice(0, 1) : [...names, family.models[2]!],
        exclude: ["head"],
      });
      const tasks = [0, 1].map((task) => `${artifact}#in-task${task}`);
      const expected = (await merge(recipe(models), { out: folder.fresh() })).prints;
      for (const options of [{}, { threads: 3 }, { threads: 2, tuning: { tileEntries: 808, chunkEntries: 1616 } }]) {
        const out = folder.fresh();
        const found = await merge(recipe(tasks), { out, ...options });
        assert.deepEqual(found.prints, expected);
        assert.ok((await verifyOutput(out, nodePlatform, { threads: 1, inputs: true })).ok);
      }
    });
  }

  it("is an input of a merge that is itself an input", async () => {
    const recipe = (first: string) => ({
      method: "average",
      models: [{ merge: { method: "task_arithmetic", base: family.base, models: [first] } }, family.models[2]!],
    });
    const exclude = { exclude: ["head"] };
    const found = await merge({ ...recipe(`${artifact}#in-task0`), ...exclude }, { out: folder.fresh(), threads: 2 });
    const expected = await merge({ ...recipe(models[0]!), ...exclude }, { out: folder.fresh() });
    assert.deepEqual(found.prints, expected.prints);
  });

  it("is read over the recipe's base, wherever the artifact's was", async () => {
    const moved = folder.at("in-elsewhere");
    fs.renameSync(family.base, moved);
    try {
      const recipe = { method: "task_arithmetic", base: moved, models: [`${artifact}#in-task0`] };
      assert.ok((await merge(recipe, { out: folder.fresh() })).prints.length === 4);
      const foreign = { ...recipe, base: family.models[0]! };
      await assert.rejects(merge(foreign, { out: folder.fresh() }), { code: "artifact/base" });
    } finally {
      fs.renameSync(moved, family.base);
    }
  });

  it("keeps the format of its model where nothing else asks for another, and more of its digits", async () => {
    const half = writeFamily(folder, "half", { models: 2, dtype: "BF16" });
    const out = folder.fresh();
    await mergeModels(recipeOf({ method: "emr", ...half }), nodePlatform, { out, threads: 1 });
    const { result, tensors } = await merge(
      { method: "task_arithmetic", base: half.base, models: [`${out}#half-task0`] },
      { out: folder.fresh() },
    );
    assert.ok([...tensors.values()].every(({ dtype }) => dtype === "BF16"));
    assert.ok(!result.plan.warnings.some((warning) => /fewer bits/.test(warning)), result.plan.warnings.join());
  });
});

describe("a task's model", () => {
  it("has the tensors of its files, and is inspected like them", async () => {
    const [virtual, stored] = await Promise.all([
      inspectModel(`${artifact}#in-task0`, nodePlatform, { threads: 1, norms: true }),
      inspectModel(models[0]!, nodePlatform, { threads: 1, norms: true }),
    ]);
    const key = ({ name, shape, figures }: (typeof virtual.tensors)[number]) =>
      JSON.stringify({ name, shape, figures });
    assert.deepEqual(virtual.tensors.map(key).sort(), stored.tensors.map(key).sort());
    assert.deepEqual(virtual.config, stored.config);
  });

  it("reads the same at any offset and length", async () => {
    const checkpoint = await openModel(`${artifact}#in-task1`);
    const made = checkpoint.shards.find(({ name }) => name.includes("#"))!;
    const whole = new Uint8Array(made.source.stamp.size);
    await made.source.read(0, whole);
    const stored = await readTensors(models[1]!);
    for (const { name, offset, length } of made.header.tensors) {
      assert.ok(Buffer.from(stored.get(name)!.bytes).equals(whole.subarray(offset, offset + length)), name);
    }
    for (const [offset, length] of [
      [0, 1],
      [3, 2],
      [1, 17],
      [1_048_570, 13],
      [1_048_576, 8],
      [1_080_005, 40],
      [whole.length - 5, 5],
      [whole.length, 0],
    ] as const) {
      const some = new Uint8Array(length);
      await made.source.read(offset, some);
      assert.deepEqual(some, whole.slice(offset, offset + length), `${offset}, ${length}`);
    }
    assert.throws(() => void made.source.read(whole.length - 4, new Uint8Array(5)), { code: "io/read" });
    await checkpoint.close();
  });

  it("is a folder's own name where a folder is called so", async () => {
    const odd = folder.at("odd#name");
    fs.cpSync(family.base, odd, { recursive: true });
    const checkpoint = await openModel(odd);
    assert.equal(checkpoint.location, fs.realpathSync(odd));
    await checkpoint.close();
    await assert.rejects(openModel(`${path.dirname(odd)}/none#name`), { code: "checkpoint/missing-file" });
  });
});
