/** Experts as LoRA adapters: over what is shared, each makes the model that materialize writes. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openAdapterAt } from "../../src/platform/node/adapters.js";
import { exportLora } from "../../src/experts/export_lora.js";
import type { ExportOptions } from "../../src/experts/export_lora.js";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { Folder, readTensors, recipeOf, tensor, valuesOf } from "../laws/support/family.js";
import { normals } from "../laws/support/random.js";
import { outcomeOf } from "../cli/support.js";
import { floatsOf, write } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

const TASKS = ["mnist", "fashion"];
const vision = (name: string) => `zoo/vision/${name}`;

async function build(method: string, parameters: Record<string, number>): Promise<string> {
  const out = folder.fresh();
  const rest = { base: vision("base"), models: TASKS.map(vision), exclude: ["classifier.*"], heads: "separate" };
  const recipe = recipeOf({ method, parameters, ...rest, output: { dtype: "float32" } });
  await mergeModels(recipe, nodePlatform, { out, threads: 1 });
  return out;
}

const exported = (artifact: string, options: Partial<ExportOptions> = {}) =>
  exportLora(artifact, nodePlatform, { out: folder.fresh(), ...options });

/** Largest distance between a reference's tensors and those of a model's folder, over all but the head. */
async function distance(reference: string, made: string): Promise<number> {
  const checkpoint = await openModel(reference);
  const weights = weightsOf(checkpoint);
  let most = 0;
  let tensors = 0;
  for (const [name, values] of await floatsOf(made)) {
    if (name.startsWith("classifier.")) continue;
    const own = await weights.tensor(name);
    assert.equal(own.length, values.length, name);
    for (const [at, value] of values.entries()) most = Math.max(most, Math.abs(value - own[at]!));
    tensors++;
  }
  await checkpoint.close();
  assert.ok(tensors > 100);
  return most;
}

describe("exported adapters", () => {
  let twin: string;
  let smile: string;
  before(async () => {
    twin = await build("twin", { lambda: 0.2, density: 0.1 });
    smile = await build("smile", { gate_rank: 4, rank: 16, top_k: 1 });
  });

  for (const method of ["smile", "twin"]) {
    it(`of ${method} make the model of each task over what is shared`, async () => {
      const artifact = method === "smile" ? smile : twin;
      const base = method === "smile" ? vision("base") : path.join(artifact, "models/shared");
      const { out, tasks } = await exported(artifact);
      assert.deepEqual(
        tasks.map(({ name, head }) => [name, head]),
        TASKS.map((name) => [name, ["classifier.bias", "classifier.weight"]]),
      );
      for (const { name, modules, ranks, whole } of tasks) {
        assert.deepEqual([modules, ranks], [36, method === "smile" ? [16, 16] : [12, 12]]);
        assert.equal(whole.length > 0, method === "twin", "norms, positions and the class token are kept whole");
        const made = folder.fresh();
        await write(artifact, { task: name, out: made });
        const away = await distance(`${base}+${out}/${name}`, made);
        assert.ok(away < 1e-6, `${name}: ${away}`);
        assert.ok((await distance(base, made)) > 1e-3, "the adapter makes a difference");
        const head = await readTensors(path.join(out, name, "head"));
        const own = await readTensors(vision(name));
        for (const tensorName of ["classifier.weight", "classifier.bias"]) {
          assert.deepEqual(head.get(tensorName), own.get(tensorName));
        }
      }
    });
  }

  it("are read like any other adapter, and say what they are", async () => {
    const { out } = await exported(smile, { task: "fashion" });
    assert.deepEqual(fs.readdirSync(out), ["fashion"]);
    const adapter = await openAdapterAt(path.join(out, "fashion"));
    assert.deepEqual([adapter.obstacles, adapter.lora.size, adapter.whole.size], [[], 36, 0]);
    await adapter.close();
    const record = JSON.parse(fs.readFileSync(path.join(out, "fashion/mergewright.json"), "utf8"));
    assert.deepEqual([record.action, record.details.method], ["export", "smile"]);
  });

  it("of layers that are stored in x out are turned", async () => {
    const shape = [12, 36];
    const write1 = (name: string, strength: number) => {
      const values = normals(12 * 36, 1, 0.5);
      const changes = normals(12 * 36, 2, 1);
      const place = folder.write(name, [
        tensor(
          "transformer.h.0.attn.c_attn.weight",
          values.map((value, p) => value + strength * changes[p]!),
          "F32",
          shape,
        ),
      ]);
      fs.writeFileSync(path.join(place, "config.json"), '{ "model_type": "gpt2" }');
      return place;
    };
    const [base, tuned] = [write1("turned-base", 0), write1("turned-tuned", 0.1)];
    const artifact = folder.fresh();
    const recipe = recipeOf({ method: "smile", base, models: [tuned], parameters: { gate_rank: 2, rank: 3 } });
    await mergeModels(recipe, nodePlatform, { out: artifact, threads: 1 });
    const { out, tasks } = await exported(artifact);
    const made = folder.fresh();
    await write(artifact, { task: tasks[0]!.name, out: made });
    const checkpoint = await openModel(`${base}+${out}/${tasks[0]!.folder}`);
    const own = await weightsOf(checkpoint).tensor("transformer.h.0.attn.c_attn.weight");
    const [expected] = [...(await readTensors(made)).values()].map(valuesOf);
    assert.ok(own.every((value, at) => Math.abs(value - expected![at]!) < 1e-6));
    await checkpoint.close();
  });

  it("are refused of artifacts whose experts are no low-rank changes, and to other layouts", async () => {
    const emr = await build("emr", {});
    await assert.rejects(exported(emr), /no low-rank change[^]*materialize/);
    await assert.rejects(exported(smile, { task: "latin" }), /no task of this name[^]*mnist/);
    await assert.rejects(outcomeOf("export", smile, "--to", "onnx", "-o", folder.fresh()), /--to has a wrong value/);
  });

  it("come from the command line", async () => {
    const out = folder.fresh();
    const { exitCode, json } = await outcomeOf("export", twin, "--to", "lora", "--task", "mnist", "-o", out);
    assert.equal(exitCode, 0);
    assert.equal(json.tasks[0].modules, 36);
    assert.match(json.warnings.join(" "), /PEFT does not load: .*cls_token/);
    await assert.rejects(outcomeOf("export", twin, "--to", "lora", "-o", out), /exist|not empty/);
  });
});
