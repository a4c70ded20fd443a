/** The forms that data come in: folders of pictures, Parquet as on the Hub, JSON by lines; fixtures by peers/data_fixtures.py. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { evaluate } from "../../src/browser.js";
import { MergewrightError } from "../../src/errors.js";
import { evaluateModel } from "../../src/evaluate/evaluate.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { openNetwork } from "../../src/platform/memory/network.js";
import { evaluatePlatform } from "../../src/platform/node/evaluate.js";
import type { Batch } from "../../src/runtime/network.js";
import { root } from "../cli/support.js";
import { linearNetwork, memoryEvaluation, pixelModel, safetensors, text } from "./support.js";

const fixture = (name: string) => new Uint8Array(readFileSync(path.join(root, "test/evaluate/fixtures", name)));
const { pictures } = JSON.parse(new TextDecoder().decode(fixture("pictures.json")));
const picture = (name: string) => new Uint8Array(Buffer.from(pictures[name].file, "base64"));
const PARQUET = {
  "set/data/test-00000-of-00002.parquet": fixture("test-00000-of-00002.parquet"),
  "set/data/test-00001-of-00002.parquet": fixture("test-00001-of-00002.parquet"),
};

async function score(
  tasks: string,
  files: Readonly<Record<string, Uint8Array>>,
  model = pixelModel(3, { num_channels: 3, image_size: 4 }),
  split = "test",
) {
  const seen: Batch[] = [];
  const { platform } = memoryEvaluation({ m: model }, files, {
    jpegDecoder: evaluatePlatform.jpegDecoder,
    openNetwork: async (weights, options) => {
      const network = await linearNetwork(weights, options);
      return { ...network, logits: (batch) => (seen.push(batch), network.logits(batch)) };
    },
  });
  const result = await evaluateModel("m", parseTasks(tasks), platform, { threads: 1, split });
  return { ...result, seen };
}

const refused = (...args: Parameters<typeof score>) =>
  score(...args).then(
    () => assert.fail("no error"),
    (error: unknown) => (error instanceof MergewrightError ? error : assert.fail(String(error))),
  );

describe("a folder of pictures by class", () => {
  const files = {
    "set/test/cat/1.png": picture("colour"),
    "set/test/dog/2.jpg": picture("jpeg"),
    "set/test/eel/3.png": picture("palette"),
    "set/test/notes.txt": text("not a picture"),
    "set/validation/cat/4.png": picture("grey"),
  };
  const task = "tasks: [{name: t, type: image-classification, data: set}]";

  it("is decoded, resized to what the model looks at, and counted", async () => {
    const { tasks, seen, notes } = await score(task, files);
    assert.equal(tasks[0]!.total, 3);
    const [batch] = seen;
    assert.ok(batch?.kind === "images");
    assert.deepEqual([batch.count, batch.channels, batch.height, batch.width], [3, 3, 4, 4]);
    assert.ok(batch.pixels.every((value) => value >= -1 && value <= 1));
    assert.match(notes.join(), /cat, dog, eel/);
  });

  it("of val is the folder validation", async () => {
    assert.equal(
      (await score(task, files, pixelModel(3, { num_channels: 3, image_size: 4 }), "val")).tasks[0]!.total,
      1,
    );
  });

  it("numbers classes as the head does where it knows them all", async () => {
    const config = { num_channels: 3, image_size: 4, label2id: { eel: 0, dog: 1, cat: 2 } };
    const { notes, tasks } = await score(task, files, pixelModel(3, config));
    assert.deepEqual(notes, []);
    assert.equal(tasks[0]!.total, 3);
  });

  it("preprocesses as the model's file says", async () => {
    const preprocessor = {
      do_resize: true,
      size: { shortest_edge: 6 },
      resample: 3,
      do_center_crop: true,
      crop_size: 4,
    };
    const model = {
      ...pixelModel(3, { num_channels: 3 }),
      "preprocessor_config.json": text({ ...preprocessor, image_mean: 0, image_std: 1 }),
    };
    const [batch] = (await score(task, files, model)).seen;
    assert.ok(batch?.kind === "images" && batch.height === 4 && batch.width === 4);
    assert.ok(batch.pixels.every((value) => value >= 0 && value <= 1));
  });

  it("names what is wrong: the split, the picture, the size", async () => {
    assert.match((await refused(task, files, pixelModel(3), "train")).message, /no pictures of the split train/);
    const broken = await refused(task, { ...files, "set/test/cat/1.png": picture("colour").slice(0, 90) });
    assert.equal(broken.where?.file, "set/test/cat/1.png");
    const other = {
      ...pixelModel(3, { num_channels: 3, image_size: 4 }),
      "preprocessor_config.json": text({ size: 5 }),
    };
    assert.match((await refused(task, files, other)).message, /not of the size/);
    const deep = await refused(task, files, pixelModel(3, { num_channels: 4 }));
    assert.match(deep.message, /not what the model looks at/);
  });
});

describe("Parquet files as on the Hub", () => {
  const model = pixelModel(4, { num_channels: 3, image_size: 4 });
  const task = "tasks: [{name: t, type: image-classification, data: set}]";

  it("follow each other, whatever their compression and groups; classes are those that the file names", async () => {
    const { tasks, seen } = await score(task, PARQUET, model);
    assert.equal(tasks[0]!.total, 7);
    assert.equal(
      seen.reduce((sum, { count }) => sum + count, 0),
      7,
    );
  });

  it("give what the same pictures as files give", async () => {
    const [batch] = (await score(task, PARQUET, model)).seen;
    const { decodePicture } = await import("../../src/evaluate/images/picture.js");
    const { openTable } = await import("../../src/evaluate/parquet.js");
    const { platform } = memoryEvaluation({}, PARQUET);
    const [parsed] = parseTasks(task);
    assert.ok(parsed?.type === "image-classification" && batch?.kind === "images");
    const table = await openTable(parsed, Object.keys(PARQUET), ["image"], platform);
    const [row] = await table.read(5, 6);
    const { bytes } = row!["image"] as { bytes: Uint8Array };
    const { data } = await decodePicture(parsed, { file: "row" }, bytes, evaluatePlatform);
    // Grey mean of the whole picture survives a resize to a few units.
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
    const own = batch.pixels.subarray(5 * 48, 6 * 48).reduce((sum, value) => sum + (value / 2 + 0.5) * 255, 0) / 48;
    assert.ok(Math.abs(mean - own) < 6, `${mean} ${own}`);
  });

  it("names what is wrong: the split, the column, the file", async () => {
    assert.match((await refused(task, PARQUET, model, "train")).message, /no Parquet file of the split train/);
    const column = "tasks: [{name: t, type: image-classification, data: set, columns: {label: fine_label}}]";
    const missing = await refused(column, PARQUET, model);
    assert.match(missing.message, /no column fine_label/);
    assert.match(missing.found ?? "", /image, label/);
    const [name] = Object.keys(PARQUET);
    const cut = { [name!]: fixture("test-00000-of-00002.parquet").slice(0, 900) };
    assert.match((await refused(task, cut, model)).message, /cannot be read as Parquet/);
  });

  it("hold texts, too, under names of their own", async () => {
    const files = { "texts.parquet": fixture("texts.parquet") };
    const tasks = "tasks: [{name: t, type: sequence-classification, data: 'texts.parquet', columns: {text: sentence}}]";
    const other = await refused(tasks, files);
    assert.match(other.message, /not of the split test/);
    const named = tasks.replace("'texts.parquet'", "'{split}.parquet'");
    // The examples are read; what is missing is a tokenizer.
    const error = await refused(named, files, undefined, "texts");
    assert.match(error.message, /tokenizer/);
  });
});

describe("a file per split", () => {
  const tasks = "tasks: [{name: t, type: multiple-choice, data: 'quiz-{split}.jsonl'}]";
  const line = JSON.stringify({ question: "q", choices: ["a", "b"], answer: 1 });

  it("is JSON by lines, whose errors name the line", async () => {
    const encode = (lines: readonly string[]) => ({ "quiz-test.jsonl": new TextEncoder().encode(lines.join("\n")) });
    assert.match((await refused(tasks, encode([line, "", line]))).message, /tokenizer/);
    const broken = await refused(tasks, encode([line, "{"]));
    assert.deepEqual([broken.where?.file, broken.where?.line], ["quiz-test.jsonl", 2]);
    assert.match((await refused(tasks, encode([line, '{"question": 1}']))).message, /example 2 of the split test/);
    assert.match((await refused(tasks, encode([]))).message, /no examples/);
  });
});

describe("CLIP with texts as classes", () => {
  it("takes a matrix of text embeddings as its head, and knows each picture by its own embedding", async () => {
    const { config } = JSON.parse(readFileSync(path.join(root, "test/runtime/fixtures/clip.json"), "utf8"));
    const clip = {
      "config.json": text(config),
      "model.safetensors": new Uint8Array(readFileSync(path.join(root, "test/runtime/fixtures/clip.safetensors"))),
    };
    const names = ["colour", "grey", "alpha", "palette"];
    const data = Object.fromEntries(names.map((name, at) => [`set/test/${at}/p.png`, picture(name)]));
    const tasks = "tasks: [{name: t, type: image-classification, data: set, head: texts}]";
    const embeddings: number[] = [];
    const opened = memoryEvaluation({ m: clip, texts: clip }, data, {
      jpegDecoder: evaluatePlatform.jpegDecoder,
      openNetwork: async (weights) => {
        const network = await openNetwork(weights, { threads: 1 });
        return {
          ...network,
          classes: names.length,
          async logits(batch) {
            const logits = await network.logits(batch);
            embeddings.push(...logits.values);
            return { ...logits, classes: names.length, values: logits.values.slice(0, logits.rows * names.length) };
          },
          close: () => network.close(),
        };
      },
    });
    await evaluateModel("m", parseTasks(tasks), opened.platform, { threads: 1 });
    const shape = [names.length, embeddings.length / names.length];
    const unit = Array.from({ length: names.length }, (_, row) => {
      const values = embeddings.slice(row * shape[1]!, (row + 1) * shape[1]!);
      return values.map((value) => value / Math.hypot(...values));
    });
    const head = safetensors({ "classifier.weight": { dtype: "F32", shape, values: unit.flat() } });
    const { tasks: scored } = await evaluate("m", { m: clip, texts: { "model.safetensors": head } }, { tasks, data });
    assert.deepEqual([scored[0]!.correct, scored[0]!.total], [4, 4]);
  });
});
