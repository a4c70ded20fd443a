import assert from "node:assert/strict";
import {
  existsSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  utimesSync,
  cpSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { hollowModel, mergewright, root, scratch, startMergewright, TIES } from "./support.js";
import type { Ended } from "./support.js";

const at = scratch(after);

describe("mergewright merge", { concurrency: os.availableParallelism() }, () => {
  let first: Ended;
  before(async () => {
    first = await mergewright("merge", ...TIES, "-p", "density=0.2", "-o", at("merged"));
  });

  it("writes the model and says what was done", () => {
    assert.equal(first.code, 0, first.err);
    assert.deepEqual(readdirSync(at("merged")).sort(), [
      "README.md",
      "config.json",
      "mergewright.json",
      "model.safetensors",
    ]);
    assert.match(first.out, /^tensors +102 merged, 2 copied, 4 skipped$/m);
    assert.match(first.out, /^conflicts +29,929 \(2\.5 % of merged entries\)/m);
    assert.match(first.out, /^mnist +240,828 +20\.1 % +0\.007385$/m);
    assert.match(first.out, /^memory +\d+ MB at most$/m);
    assert.ok(first.out.endsWith(`next: mergewright verify ${at("merged")}\n`));
  });

  it("writes plain text and no progress of short work into a pipe", () => {
    assert.equal(first.err, "");
    assert.match(first.out, /^[\n\u0020-\u007e]+$/);
  });

  it("does nothing where the folder holds the result already", async () => {
    const { mtimeNs } = statSync(at("merged", "model.safetensors"), { bigint: true });
    const again = await mergewright("merge", ...TIES, "-p", "density=0.2", "-o", at("merged"));
    assert.equal(again.code, 0);
    assert.match(again.out, /holds the result of this recipe over these inputs already; nothing was done/);
    assert.equal(statSync(at("merged", "model.safetensors"), { bigint: true }).mtimeNs, mtimeNs);
  });

  it("prints one JSON object on standard output with --json", async () => {
    const { code, out, err } = await mergewright(
      "merge",
      ...TIES,
      "-p",
      "mnist.weight=0.5",
      "--json",
      "-o",
      at("json"),
    );
    assert.equal(code, 0, err);
    assert.equal(err, "");
    const report = JSON.parse(out);
    assert.equal(report.upToDate, false);
    assert.equal(report.resumed, false);
    assert.equal(report.base, "zoo/vision/base");
    assert.deepEqual(report.tensors, { merged: 102, copied: 2, skipped: 4 });
    assert.deepEqual(report.models[0].kept, { kept: 240828, entries: 1198592, share: 240828 / 1198592 });
    assert.equal(report.counters.conflicts.count, 29929);
    assert.equal(report.outputs[0].file, "model.safetensors");
    assert.ok(report.cost.seconds > 0 && report.cost.readBytes > 0 && report.cost.peakMemoryBytes > 2e7);
  });

  it("takes a recipe file, which flags override", async () => {
    writeFileSync(
      at("recipe.yaml"),
      "method: average\nmodels: [zoo/vision/mnist, zoo/vision/fashion]\nexclude: ['classifier.*']\n",
    );
    const flags = ["--dtype", "float32", "--quiet", "-p", "mnist.weight=3", "-o", at("average")];
    const { code, out, err } = await mergewright("merge", at("recipe.yaml"), ...flags);
    assert.deepEqual([code, out, err], [0, "", ""]);
    const { recipe } = JSON.parse(readFileSync(at("average", "mergewright.json"), "utf8"));
    assert.match(recipe, /method: average[^]*mnist\n +parameters:\n +weight: 3[^]*dtype: float32/);
  });

  it("writes the same files from the same inputs, the model card included", async () => {
    const second = await mergewright("merge", ...TIES, "-p", "density=0.2", "--threads", "1", "-o", at("second"));
    assert.equal(second.code, 0, second.err);
    for (const file of readdirSync(at("merged"))) {
      assert.deepEqual(readFileSync(at("second", file)), readFileSync(at("merged", file)), file);
    }
  });

  it("writes a model card that the Hub reads and that names no path of the machine", () => {
    const card = readFileSync(at("merged", "README.md"), "utf8");
    assert.ok(card.startsWith('---\nbase_model:\n- "zoo/vision/base"\n- "zoo/vision/mnist"\n- "zoo/vision/fashion"\n'));
    assert.match(card, /^library_name: transformers\ntags:\n- merge\n- mergewright\n- ties\n---$/m);
    assert.match(card, /from transformers import ViTForImageClassification/);
    assert.match(card, /\| `fashion` \| 239,736 \| 1,198,592 \| 20\.0 % \|/);
    assert.ok(!card.includes(path.resolve(root)) && !card.includes(os.tmpdir()));
  });

  it("merges again where the recorded inputs have another time, and refuses to overwrite", async () => {
    for (const name of ["base", "mnist", "fashion"])
      cpSync(path.join(root, "zoo/vision", name), at(name), { recursive: true });
    const command = [
      "merge",
      "--method",
      "average",
      at("mnist"),
      at("fashion"),
      "--exclude",
      "classifier.*",
      "-o",
      at("moved"),
    ];
    assert.equal((await mergewright(...command)).code, 0);
    assert.match((await mergewright(...command)).out, /nothing was done/);
    utimesSync(at("mnist", "model.safetensors"), 1e9, 1e9);
    const refused = await mergewright(...command);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /^error: the output folder is not empty$/m);
    const forced = await mergewright(...command, "--force");
    assert.equal(forced.code, 0, forced.err);
    assert.doesNotMatch(forced.out, /nothing was done/);
    truncateSync(at("moved", "model.safetensors"), 1000);
    assert.equal((await mergewright(...command)).code, 2, "a cut file is no finished result");
  });

  it("stops at a signal with exit code 3, and the same command continues", async () => {
    const models = ["base", "one", "two"].map((name) => hollowModel(at("hollow", name), 48 << 20));
    const command = ["merge", "--method", "ties", "--base", ...models, "--threads", "1", "-o", at("stopped")];
    const child = startMergewright(...command);
    let err = "";
    child.stderr!.on("data", (text: Buffer) => (err += text.toString()));
    const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      child.on("exit", (code, signal) => resolve([code, signal]));
    });
    const partial = at(".stopped.mergewright-partial");
    const journal = path.join(partial, "journal.jsonl");
    while (!existsSync(journal) || !readFileSync(journal, "utf8").includes('"block"')) {
      assert.equal(child.exitCode, null, "the merge ended before it could be stopped");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill("SIGINT");
    assert.deepEqual(await ended, [3, null]);
    assert.match(err, /^error: stopped by SIGINT\n +do: +run the same command again; it continues where it stopped$/m);
    assert.ok(!existsSync(at("stopped")) && !existsSync(path.join(partial, "lock")));
    const { code, out } = await mergewright(...command);
    assert.equal(code, 0);
    assert.match(out, /continuing an interrupted run/);
  });
});
