/** Merges that read statistics files: whose they must be, and what is said where they are missing. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { inspectModel } from "../../src/analyse/inspect.js";
import { collectStatistics } from "../../src/collect/collect.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { regmean as regmeanMethod } from "../../src/methods/regmean.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { collectPlatform, writeStatistics } from "../../src/platform/node/statistics.js";
import { mergeReport } from "../../src/report/merge_report.js";
import { merge } from "../laws/support/family.js";
import { refusal } from "../refusal.js";

const zoo = fileURLToPath(new URL("../../../zoo/vision", import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-statistics-"));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => path.join(folder, `${name}.gram.safetensors`);
const model = (name: string) => path.join(zoo, name);
const names = ["mnist", "greek"];

async function collected(name: string, kind: "gram" | "kfac", examples: number) {
  const data = path.join(zoo, name, "data.safetensors");
  const text = JSON.stringify({ tasks: [{ name, type: "image-classification", data }] });
  const [task] = parseTasks(text, "tasks.yaml");
  const request = { model: model(name), task: task!, split: "train", first: 0, examples } as const;
  return collectStatistics({ ...request, kind, dialect: null, seed: 0, batch: 4 }, collectPlatform, { threads: 1 });
}

before(async () => {
  for (const name of names) {
    const { info, sums } = await collected(name, "gram", 4);
    await writeStatistics(file(name), info, sums);
  }
});

let count = 0;
const regmean = (statistics: readonly (string | undefined)[], parameters = {}) =>
  merge(
    {
      ...{ method: "regmean", exclude: ["classifier.*"], base: model("base"), parameters },
      models: names.map((name, index) => ({
        model: model(name),
        ...(statistics[index] !== undefined && { statistics: statistics[index] }),
      })),
      output: { dtype: "float32" },
    },
    { out: path.join(folder, `out${count++}`) },
  );

describe("a merge with statistics", () => {
  it("solves the layers that they know and averages the rest", async () => {
    const one = await regmean(names.map(file));
    const average = await merge(
      {
        ...{ method: "average", exclude: ["classifier.*"], base: model("base"), models: names.map(model) },
        output: { dtype: "float32" },
      },
      { out: path.join(folder, "average") },
    );
    const dense = "vit.encoder.layer.2.output.dense.weight";
    assert.notDeepEqual(one.values(dense), average.values(dense));
    for (const name of ["vit.layernorm.bias", "vit.embeddings.patch_embeddings.projection.weight"]) {
      assert.deepEqual(one.values(name), average.values(name));
    }
    const solved = one.result.result.tensors.filter(({ figures }) => figures !== null);
    assert.equal(solved.length, 36);
    const inputs = one.result.provenance.inputs.map(({ role }) => role);
    assert.deepEqual(inputs, ["base", "model", "model", "statistics", "statistics"]);
  });

  it("solves by conjugate gradients to the same bytes on one thread, two and eight", async () => {
    for (const name of names) {
      const { info, sums } = await collected(name, "kfac", 2);
      await writeStatistics(path.join(folder, `${name}.kfac.safetensors`), info, sums);
    }
    const models = names.map((name) => ({
      model: model(name),
      statistics: path.join(folder, `${name}.kfac.safetensors`),
    }));
    const recipe = {
      ...{
        method: "mats",
        exclude: ["classifier.*", "*.layer.[1-5].*"],
        base: model("base"),
        models,
        parameters: { iterations: 3 },
      },
      output: { dtype: "float32" },
    };
    const files = [];
    for (const threads of [1, 2, 8]) {
      const out = path.join(folder, `mats${threads}`);
      await merge(recipe, { out, threads });
      files.push(readFileSync(path.join(out, "model.safetensors")));
    }
    assert.deepEqual(files[1], files[0]);
    assert.deepEqual(files[2], files[0]);
  });

  it("records what its systems were like, and reports the worst", async () => {
    const { result } = await regmean(names.map(file));
    const { figures } = result.provenance;
    assert.equal(Object.keys(figures!).length, 36);
    assert.deepEqual(figures!["vit.encoder.layer.2.output.dense.weight"], { ridge: [0] });
    const report = mergeReport("out", regmeanMethod, result.plan, result.provenance, null);
    const { worst, median, tensors } = report.figures.find(({ name }) => name === "ridge")!;
    assert.deepEqual([worst, median, tensors], [0, 0, 36]);
    const inspection = await inspectModel(file("mnist"), nodePlatform, { threads: 1 });
    const { kind, dialect, model: of, sources } = inspection.statistics!;
    assert.deepEqual([kind, dialect, of.name, sources[0]!.count], ["gram", "plain", "mnist", 4]);
    assert.equal((await inspectModel(model("mnist"), nodePlatform, { threads: 1 })).statistics, null);
  });

  it("names the commands that collect what is missing", async () => {
    const { code, message } = await refusal(regmean([file("mnist"), undefined]));
    assert.equal(code, "statistics/missing");
    assert.match(message, /mergewright collect gram --model \S+greek --tasks tasks\.yaml --task greek -o greek\.gram/);
    assert.doesNotMatch(message, /--task mnist/);
  });

  it("refuses those of another model with both names, and files that hold none", async () => {
    const { code, message } = await refusal(regmean([file("greek"), file("greek")]));
    assert.equal(code, "statistics/model");
    assert.match(message, /mnist \(\w{16}\)[^]*greek \(\w{16}\)/);
    assert.equal((await refusal(regmean([model("mnist"), file("greek")]))).code, "statistics/file");
  });

  it("refuses statistics for a method that has no use for them", async () => {
    const models = [{ model: model("mnist"), statistics: file("mnist") }, model("greek")];
    const run = async () => merge({ method: "average", models }, { out: path.join(folder, "no") });
    assert.equal((await refusal(run())).code, "recipe/unsupported");
  });
});
