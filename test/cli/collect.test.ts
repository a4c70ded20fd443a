/** mergewright collect: tables and signs from the command line, from files on disk to merges that use them. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { layoutHeader } from "../../src/formats/safetensors/layout.js";
import { mergewright, outcomeOf, root, scratch } from "./support.js";

const at = scratch(after);

/** The first images of a task, without labels for `val`. */
function fewImages(task: string): string {
  const file = readFileSync(path.join(root, "zoo", "vision", task, "data.safetensors"));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start).toString());
  const bytes = (name: string, length: number) =>
    file.subarray(start + header[name].data_offsets[0]).subarray(0, length);
  const layout = layoutHeader([
    { name: "val.images", dtype: "U8", shape: [12, 28, 28] },
    { name: "train.images", dtype: "U8", shape: [12, 28, 28] },
    { name: "train.labels", dtype: "U8", shape: [12] },
  ]);
  const contents = [bytes("val.images", 12 * 784), bytes("train.images", 12 * 784), bytes("train.labels", 12)];
  writeFileSync(at(`${task}.safetensors`), Buffer.concat([layout.header, ...contents]));
  return at(`${task}.safetensors`);
}

const NAMES = ["mnist", "fashion"];
const tasks = at("tasks.yaml");
writeFileSync(
  tasks,
  `tasks:\n${NAMES.map((name) => `- {name: ${name}, type: image-classification, data: ${fewImages(name)}, head: zoo/vision/${name}}\n`).join("")}`,
);
const recipe = (name: string, text: string, models = NAMES) => {
  const head = `base: zoo/vision/base\nmodels: [${models.map((model) => `zoo/vision/${model}`).join(", ")}]\nexclude: ['classifier.*']\n`;
  writeFileSync(at(name), head + text);
  return at(name);
};
const table = at("c.safetensors");
const ada = recipe("ada.yaml", `method: adamerging\ncoefficients: ${table}\n`);

describe("mergewright collect coefficients", () => {
  it("is what a recipe without its table asks for", async () => {
    const { code, err } = await mergewright("merge", ada, "-o", at("never"));
    assert.equal(code, 2);
    assert.match(
      err,
      /the table of coefficients is not there[^]*do: .*mergewright collect coefficients \S*ada\.yaml --tasks/,
    );
    assert.match(err, /ada\.yaml:5:1, coefficients/);
  });

  it("writes a table and its curves from inputs without labels, and the recipe merges", async () => {
    const { json } = await outcomeOf(
      ...["collect", "coefficients", ada, "--tasks", tasks, "--steps", "2", "--batch", "4", "--seed", "0", "-o", table],
    );
    assert.deepEqual([json.split, json.transductive, json.steps, json.losses.length], ["val", false, 2, 2]);
    const curves = JSON.parse(readFileSync(at("c.curves.json"), "utf8"));
    assert.equal(curves.means.length, 2);
    assert.equal(Object.keys(curves.coefficients).length, 102);
    assert.match(readFileSync(at("c.entropy.svg"), "utf8"), /^<svg/);
    await outcomeOf("merge", ada, "-o", at("merged"));
    const verified = await outcomeOf("verify", at("merged"));
    assert.equal(verified.exitCode, 0);
    const { code, err } = await mergewright("collect", "coefficients", ada, "--tasks", tasks, "-o", table);
    assert.equal(code, 2);
    assert.match(err, /the output is there already[^]*--force/);
  });

  it("refuses the table of other models, showing names and fingerprints of both", async () => {
    const other = recipe("other.yaml", `method: adamerging\ncoefficients: ${table}\n`, ["mnist", "latin"]);
    const { code, err } = await mergewright("merge", other, "-o", at("never"));
    assert.equal(code, 2);
    assert.match(
      err,
      /made with other models[^]*mnist \([0-9a-f]{16}\), fashion \([0-9a-f]{16}\)[^]*latin \([0-9a-f]{16}\)/,
    );
    const text = recipe("text.yaml", "method: adamerging\ncoefficients: zoo/vision/mnist/model.safetensors\n");
    assert.match((await mergewright("plan", text)).err, /no table of coefficients/);
    const more = recipe("more.yaml", `method: adamerging\ncoefficients: ${table}\n`);
    writeFileSync(more, readFileSync(more, "utf8").replace("['classifier.*']", "['classifier.*', '*.layer.0.*']"));
    assert.match((await mergewright("plan", more)).out, /coefficients for 16 tensors that are not merged/);
  });

  it("refuses what cannot be learnt, by name", async () => {
    const collect = (file: string, ...more: readonly string[]) =>
      mergewright("collect", "coefficients", file, "--tasks", tasks, "-o", at("x.safetensors"), ...more);
    const average = await collect(recipe("average.yaml", "method: average\n"));
    assert.match(average.err, /cannot be learnt for the method average[^]*adamerging/);
    assert.match(
      (await collect(ada, "--split", "test")).err,
      /task mnist[^]*no images for the split test|no images for the split test/,
    );
    assert.match((await collect(ada, "--per", "block")).err, /--per has a wrong value[^]*tensor, layer or model/);
    assert.match((await collect(ada, "--steps", "many")).err, /--steps has a wrong value/);
    assert.equal(existsSync(at("x.safetensors")), false);
  });
});

describe("mergewright collect signs", () => {
  it("trains a checkpoint that TIES takes as its oracle", async () => {
    const ties = recipe("ties.yaml", "method: ties\n");
    const { json } = await outcomeOf(
      ...[
        "collect",
        "signs",
        ties,
        "--tasks",
        tasks,
        "--steps",
        "3",
        "--batch",
        "6",
        "--examples",
        "6",
        "-o",
        at("signs"),
      ],
    );
    assert.deepEqual([json.steps, json.examples, json.losses.length, json.split], [3, 6, 3, "train"]);
    assert.equal(json.entries, 1_198_592);
    assert.ok(json.losses[2][1] < json.losses[0][1], "it learns");
    assert.ok(json.agreement.mass > json.agreement.entries && json.agreement.entries > 0.5);
    await outcomeOf("merge", ties, "-p", "elect=oracle", "-p", `oracle=${at("signs")}`, "-o", at("oracle"));
    await outcomeOf("merge", ties, "-o", at("elected"));
    const print = (folder: string) => readFileSync(path.join(folder, "model.safetensors"));
    assert.notDeepEqual(print(at("oracle")), print(at("elected")));
  });

  it("needs labels", async () => {
    const ties = recipe("ties2.yaml", "method: ties\n");
    const { code, err } = await mergewright(
      "collect",
      "signs",
      ties,
      "--tasks",
      tasks,
      "--split",
      "val",
      "-o",
      at("never"),
    );
    assert.equal(code, 2);
    assert.match(err, /no labels for the split val/);
  });
});

describe("mergewright collect importance", () => {
  it("is what a recipe of apl asks for, word for word, and then the recipe merges", async () => {
    const { code, err } = await mergewright("plan", recipe("apl.yaml", "method: apl\n"));
    assert.equal(code, 2);
    const wanted = [
      ...err.replace(/\s+/g, " ").matchAll(/mergewright (collect importance [^;]*?-o \S+\.safetensors)/g),
    ];
    assert.equal(wanted.length, NAMES.length);
    for (const [, command] of wanted) {
      const words = command!.split(" ").map((word) => (word === "tasks.yaml" ? tasks : word));
      words.push(at(words.pop()!));
      const { json } = await outcomeOf(...words, "--examples", "6");
      assert.deepEqual(
        [json.kind, json.dialect, json.per, json.examples, json.base.name],
        ["importance", "gradient", "row", 6, "base"],
      );
    }
    const models = NAMES.map(
      (name) => `- {model: zoo/vision/${name}, statistics: ${at(`${name}.importance.safetensors`)}}`,
    );
    writeFileSync(
      at("apl.yaml"),
      `method: apl\nbase: zoo/vision/base\nmodels:\n${models.join("\n")}\nexclude: ['classifier.*']\nparameters: {density: 0.5}\n`,
    );
    await outcomeOf("merge", at("apl.yaml"), "-o", at("apl"));
    assert.equal((await outcomeOf("verify", at("apl"))).exitCode, 0);
    const inspected = await mergewright("inspect", at("mnist.importance.safetensors"));
    assert.match(inspected.out, /importance, dialect gradient[^]*change of +base, fingerprint \w{16}[^]*per +row/);
  });

  it("says what it lacks, and what cannot be looked at by itself", async () => {
    const collect = (...more: string[]) =>
      mergewright(
        "collect",
        "importance",
        "--model",
        "zoo/vision/mnist",
        "--tasks",
        tasks,
        "--task",
        "mnist",
        "-o",
        at("no"),
        ...more,
      );
    assert.match((await collect()).err, /--base BASE, the checkpoint that zoo\/vision\/mnist was fine-tuned from/);
    const base = ["--base", "zoo/vision/base"];
    assert.match((await collect(...base, "--per", "block")).err, /row, tensor, layer or model/);
    assert.match((await collect(...base, "--per", "row", "--dialect", "remove")).err, /tensor, layer or model/);
    assert.match((await collect(...base, "--dialect", "guess")).err, /gradient, per-example, restore or remove/);
    assert.equal(existsSync(at("no")), false);
  });
});
