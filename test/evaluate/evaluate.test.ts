import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { evaluateModel, type EvaluateOptions } from "../../src/evaluate/evaluate.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { root } from "../cli/support.js";
import { memoryEvaluation, memoryStore, pixelModel, safetensors, type Stored, text } from "./support.js";

const images = (shape: readonly number[], values: readonly number[]): Stored => ({ dtype: "U8", shape, values });
const labels = (...values: readonly number[]): Stored => ({ dtype: "U8", shape: [values.length], values });

/** Four images of 1 x 3 pixels; the brightest pixel is the class, but the last is mislabelled. */
const IMAGES = safetensors({
  "test.images": images([4, 1, 3], [9, 1, 2, 3, 8, 1, 0, 1, 7, 5, 4, 6]),
  "test.labels": labels(0, 1, 2, 0),
  "val.images": images([1, 1, 3], [0, 0, 1]),
  "val.labels": labels(2),
  "none.images": images([0, 1, 3], []),
  "none.labels": labels(),
});
const IMAGE_TASK = "tasks: [{name: pixels, type: image-classification, data: d.safetensors}]";

async function score(
  tasks: string,
  models: Readonly<Record<string, Record<string, Uint8Array>>>,
  files: Readonly<Record<string, Uint8Array>>,
  options: Partial<EvaluateOptions> = {},
) {
  const { platform, count } = memoryEvaluation(models, files);
  const result = await evaluateModel("m", parseTasks(tasks), platform, { threads: 1, ...options });
  assert.equal(count.open, 0, "every network is closed");
  return { ...result, opened: count.opened };
}

async function refused(...args: Parameters<typeof score>): Promise<MergewrightError> {
  return score(...args).then(
    () => assert.fail("no error"),
    (error: unknown) => (error instanceof MergewrightError ? error : assert.fail(String(error))),
  );
}

describe("image classification", () => {
  it("counts what is right, with an interval", async () => {
    const result = await score(IMAGE_TASK, { m: pixelModel(3) }, { "d.safetensors": IMAGES });
    const [task] = result.tasks;
    assert.deepEqual(
      { ...task, interval: null, seconds: 0 },
      {
        name: "pixels",
        type: "image-classification",
        metric: "accuracy",
        value: 0.75,
        correct: 3,
        total: 4,
        better: "higher",
        interval: null,
        perplexity: null,
        bytes: null,
        head: null,
        comparison: null,
        cached: false,
        seconds: 0,
      },
    );
    assert.ok(task!.interval!.low > 0.3 && task!.interval!.high < 0.96);
    assert.deepEqual([result.model, result.split, result.mean, result.metric], ["m", "test", 0.75, "accuracy"]);
  });

  it("another split", async () => {
    const result = await score(IMAGE_TASK, { m: pixelModel(3) }, { "d.safetensors": IMAGES }, { split: "val" });
    assert.deepEqual([result.split, result.tasks[0]!.correct, result.tasks[0]!.total], ["val", 1, 1]);
  });

  it("attaches the head of the task, or of the command line", async () => {
    const models = { m: pixelModel(7), own: pixelModel(3), wrong: pixelModel(3, {}, -1) };
    const tasks = "tasks: [{name: pixels, type: image-classification, data: d.safetensors, head: own}]";
    const files = { "d.safetensors": IMAGES };
    const one = await score(tasks, models, files);
    assert.deepEqual([one.tasks[0]!.correct, one.tasks[0]!.head], [3, "own"]);
    const two = await score(tasks, models, files, { heads: { pixels: "wrong" } });
    assert.deepEqual([two.tasks[0]!.correct, two.tasks[0]!.head], [0, "wrong"]);
  });

  it("normalises as the task says, else as the preprocessor says, else as ViT's does", async () => {
    const seen: number[][] = [];
    const probe = async (normalise: string, preprocessor?: object) => {
      const model = { ...pixelModel(3), ...(preprocessor && { "preprocessor_config.json": text(preprocessor) }) };
      const { platform } = memoryEvaluation({ m: model }, { "d.safetensors": IMAGES });
      const openNetwork: typeof platform.openNetwork = async (...args) => {
        const network = await platform.openNetwork(...args);
        return {
          ...network,
          logits: (batch) => {
            if (batch.kind === "images") seen.push([...batch.pixels]);
            return network.logits(batch);
          },
        };
      };
      const tasks = `tasks: [{name: p, type: image-classification, data: d.safetensors${normalise}}]`;
      await evaluateModel("m", parseTasks(tasks), { ...platform, openNetwork }, { threads: 1, split: "val" });
      return seen.pop()!;
    };
    const rounded = (values: number[]) => values.map((value) => Number(value.toFixed(6)));
    assert.deepEqual(rounded(await probe("")), [-1, -1, -0.992157]);
    const preprocessor = { rescale_factor: 0.5, image_mean: [0.25], image_std: [0.5] };
    assert.deepEqual(rounded(await probe("", preprocessor)), [-0.5, -0.5, 0.5]);
    assert.deepEqual(rounded(await probe("", { ...preprocessor, do_normalize: false })), [0, 0, 0.5]);
    assert.deepEqual(
      rounded(await probe(", normalise: {scale: 2, mean: 1, std: 4}", preprocessor)),
      [-0.25, -0.25, 0.25],
    );
  });

  it("planes and interleaved channels are told apart by the model's size; floating-point pixels are scaled already", async () => {
    const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    const data = (shape: readonly number[], dtype: "U8" | "F32" = "U8") =>
      safetensors({ "test.images": { dtype, shape, values }, "test.labels": labels(0) });
    const config = { num_channels: 3, image_size: 2 };
    const task = "tasks: [{name: p, type: image-classification, data: d, classes: 12, normalise: {scale: 1}}]";
    const answer = async (file: Uint8Array, sign: number) => {
      const result = await score(task, { m: pixelModel(12, config, sign) }, { d: file });
      return result.tasks[0]!.correct;
    };
    // The first entry is the smallest in either layout; a planar reading of [1, 2, 2, 3] would not fit the size.
    assert.equal(await answer(data([1, 3, 2, 2]), -1), 1);
    assert.equal(await answer(data([1, 2, 2, 3], "F32"), -1), 1);
    assert.equal(await answer(data([1, 2, 2, 3], "F32"), 1), 0);
    const error = await refused(
      task,
      { m: pixelModel(12, { num_channels: 1, image_size: 4 }) },
      { d: data([1, 2, 2, 3]) },
    );
    assert.match(error.message, /not of the size[^]*expected: 1 x 4 x 4[^]*\[1, 2, 2, 3\]/);
  });

  it("a head that does not fit the labels", async () => {
    const files = { "d.safetensors": IMAGES };
    const few = await refused(IMAGE_TASK, { m: pixelModel(2) }, files);
    assert.equal(few.code, "tasks/head");
    assert.match(few.message, /expected: 3 classes, as the labels have\n {2}found: {4}2 classes; labels up to 2\n/);
    const many = await refused(IMAGE_TASK, { m: pixelModel(657) }, files);
    assert.match(many.message, /found: {4}657 classes\n.*write classes: 657/);
    const stated = "tasks: [{name: p, type: image-classification, data: d.safetensors, classes: 5}]";
    assert.match((await refused(stated, { m: pixelModel(3) }, files)).message, /expected: 5 classes, as the task says/);
  });

  it("data that are not there, empty, or of another form", async () => {
    const files = { "d.safetensors": IMAGES };
    const missing = await refused(IMAGE_TASK, { m: pixelModel(3) }, files, { split: "dev" });
    assert.match(
      missing.message,
      /no images for the split dev[^]*d\.safetensors, tensor dev\.images, task pixels[^]*found: {4}test, val, none/,
    );
    const empty = await refused(IMAGE_TASK, { m: pixelModel(3) }, files, { split: "none" });
    assert.match(empty.message, /^the split none has no examples/);
    for (const [bad, message] of [
      [{ "test.images": images([2, 1, 3], [1, 2, 3, 4, 5, 6]), "test.labels": labels(0) }, /not equally many/],
      [{ "test.images": images([6], [1, 2, 3, 4, 5, 6]), "test.labels": labels(0) }, /no known shape/],
      [{ "test.images": images([1, 1, 3], [1, 2, 3]) }, /no labels for the split test/],
      [
        { "test.images": images([1, 1, 3], [1, 2, 3]), "test.labels": { dtype: "F32", shape: [1], values: [0] } },
        /no whole numbers/,
      ],
      [
        { "test.images": images([1, 1, 3], [1, 2, 3]), "test.labels": { dtype: "I64", shape: [1], values: [-1] } },
        /no class/,
      ],
    ] as const) {
      const error = await refused(IMAGE_TASK, { m: pixelModel(3) }, { "d.safetensors": safetensors(bad) });
      assert.match(error.message, message);
      assert.equal(error.code, "tasks/data");
    }
  });

  it("logits that are not finite are no answer", async () => {
    const broken = pixelModel(3);
    broken["model.safetensors"] = safetensors({
      "classifier.weight": { dtype: "F32", shape: [3, 3], values: Array<number>(9).fill(Number.NaN) },
    });
    assert.equal((await score(IMAGE_TASK, { m: broken }, { "d.safetensors": IMAGES })).tasks[0]!.correct, 0);
  });
});

describe("what is known already", () => {
  const files = { "d.safetensors": IMAGES };

  it("is not computed again: by content, whatever files are called", async () => {
    const store = memoryStore();
    const first = await score(IMAGE_TASK, { m: pixelModel(3) }, files, { store });
    assert.deepEqual([first.opened, first.tasks[0]!.cached], [1, false]);
    const renamed = IMAGE_TASK.replace("d.safetensors", "e").replace("pixels", "other");
    const second = await score(renamed, { m: pixelModel(3) }, { e: IMAGES }, { store });
    assert.deepEqual([second.opened, second.tasks[0]!.cached, second.tasks[0]!.value], [0, true, 0.75]);
    assert.equal(store.texts.size, 1);
  });

  it("is computed again for other weights, config, head, data, split or normalisation", async () => {
    const store = memoryStore();
    const fresh = async (...[tasks, models, data, options]: Parameters<typeof score>) =>
      (await score(tasks, models, data, { ...options, store })).opened;
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3) }, files), 1);
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3, {}, -1) }, files), 1);
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3, { x: 1 }) }, files), 1);
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3), h: pixelModel(3) }, files, { heads: { pixels: "h" } }), 1);
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3) }, files, { split: "val" }), 1);
    const scaled = IMAGE_TASK.replace("}", ", normalise: {mean: 0.25}}");
    assert.equal(await fresh(scaled, { m: pixelModel(3) }, files), 1);
    const other = safetensors({
      "test.images": images([3, 1, 3], [9, 1, 2, 3, 8, 1, 0, 1, 7]),
      "test.labels": labels(0, 1, 2),
    });
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3) }, { "d.safetensors": other }), 1);
    assert.equal(await fresh(IMAGE_TASK, { m: pixelModel(3) }, files), 0);
  });

  it("a damaged entry is as if there were none", async () => {
    const store = memoryStore();
    await score(IMAGE_TASK, { m: pixelModel(3) }, files, { store });
    const [key] = store.texts.keys();
    for (const damage of ["", "{", "{}", '{"kind":"answers","metric":"accuracy","labels":[0],"answers":[]}']) {
      store.texts.set(key!, damage);
      assert.equal((await score(IMAGE_TASK, { m: pixelModel(3) }, files, { store })).opened, 1);
    }
  });
});

describe("two models", () => {
  it("are compared example by example", async () => {
    const models = { m: pixelModel(3), worse: pixelModel(3, {}, -1) };
    const result = await score(IMAGE_TASK, models, { "d.safetensors": IMAGES }, { against: "worse" });
    const { comparison } = result.tasks[0]!;
    assert.equal(result.against, "worse");
    assert.deepEqual([comparison!.against, comparison!.difference], [0, 0.75]);
    assert.deepEqual(comparison!.only, { this: 3, other: 0 });
  });
});

const zoo = (...parts: readonly string[]) => new Uint8Array(readFileSync(path.join(root, "zoo", ...parts)));

/** The zoo's tokenizer over a network for which every token of the vocabulary is equally likely, or as said. */
function textModel(logitOf: (id: number) => number = () => 0, config: object = {}): Record<string, Uint8Array> {
  const values = Array.from({ length: 4096 }, (_, id) => logitOf(id));
  return {
    "config.json": text({ bos_token_id: 0, max_position_embeddings: 512, ...config }),
    "model.safetensors": safetensors({ unigrams: { dtype: "F32", shape: [4096], values } }),
    "tokenizer.json": zoo("language", "base", "tokenizer.json"),
    "tokenizer_config.json": zoo("language", "base", "tokenizer_config.json"),
  };
}

describe("language modelling", () => {
  const { evaluation_sizes: sizes } = JSON.parse(
    readFileSync(path.join(root, "zoo", "reference.json"), "utf8"),
  ).language;

  for (const domain of ["french", "german"]) {
    it(`cuts ${domain} into the reference's windows, tokens and bytes`, async () => {
      const tasks = "tasks: [{name: t, type: language-modelling, data: t.json}]";
      const seen: number[] = [];
      const result = await score(
        tasks,
        { m: textModel() },
        { "t.json": zoo("language", domain, "text.json") },
        { progress: ({ done }) => seen.push(done) },
      );
      const [task] = result.tasks;
      const { windows_of_256: windows, predicted_tokens: tokens, bytes } = sizes[domain];
      assert.deepEqual([seen.at(-1), task!.total, task!.bytes], [windows, tokens, bytes]);
      assert.deepEqual([seen[0], seen], [0, seen.toSorted((a, b) => a - b)]);
      assert.ok(Math.abs(task!.value - (tokens * 12) / bytes) < 1e-6);
      assert.ok(Math.abs(task!.perplexity! - 4096) < 0.01);
      assert.deepEqual([task!.metric, task!.better, task!.correct], ["bits_per_byte", "lower", null]);
      assert.ok(task!.interval!.low < task!.value && task!.value < task!.interval!.high);
    });
  }

  it("windows that overlap predict every token but the first once", async () => {
    const document = "le chat est sur la table et le chien dort sous la table ".repeat(4);
    const files = { "t.json": text({ test: [document] }) };
    const task = (keys: string) => `tasks: [{name: t, type: language-modelling, data: t.json, ${keys}}]`;
    const whole = (await score(task("window: 11, stride: 3"), { m: textModel() }, files)).tasks[0]!;
    const apart = (await score(task("window: 11"), { m: textModel() }, files)).tasks[0]!;
    const length = apart.total + apart.total / 10;
    assert.ok(whole.total > apart.total && (whole.total - 10) % 3 === 0 && whole.total > length - 11);
    // Equally likely tokens: what is predicted is what is decoded, but for the beginning token.
    assert.ok(Math.abs(whole.value - (12 * whole.total) / whole.bytes!) < 1e-6);
    assert.ok(document.startsWith(document.slice(0, whole.bytes!)) && whole.bytes! <= document.length);
  });

  it("begins documents as the task says", async () => {
    const files = { "t.json": text({ test: ["a b c d e f g h", { text: "i j k l m n o p" }] }) };
    const total = async (begin: string, config = {}) => {
      const tasks = `tasks: [{name: t, type: language-modelling, data: t.json, window: 2${begin}}]`;
      return (await score(tasks, { m: textModel((id) => (id === 1 ? 20 : 0), config) }, files)).tasks[0]!;
    };
    const model = await total("");
    assert.deepEqual(await total(", begin: <s>").then(({ total: tokens }) => tokens), model.total);
    assert.ok((await total(", begin: none")).total < model.total);
    assert.equal((await total("", { bos_token_id: null })).total, model.total, "tokenizer_config.json names it too");
    await assert.rejects(total(", begin: <none>"), /not in the vocabulary/);
  });

  it("refuses what cannot be scored", async () => {
    const task = "tasks: [{name: t, type: language-modelling, data: t.json, window: 512}]";
    const french = { "t.json": zoo("language", "french", "text.json") };
    const { "tokenizer.json": _, ...bare } = textModel();
    const missing = await refused(task, { m: bare }, french);
    assert.deepEqual([missing.code, missing.kind], ["checkpoint/tokenizer", "request"]);
    assert.match(missing.message, /tokenizer\.json/);
    const long = await refused(task.replace("512", "513"), { m: textModel() }, french);
    assert.match(long.message, /at most 512 tokens/);
    for (const [content, message] of [
      [{ test: [] }, /the split test has no examples/],
      [{ val: ["a"] }, /no split test[^]*found: {4}val/],
      [["a"], /not divided into splits[^]*found: {4}a list/],
      [{ test: ["a"] }, /do not fill one window/],
      [{ test: ["a", 7] }, /example 2 of the split test cannot be used[^]*found: {4}7/],
    ] as const) {
      assert.match((await refused(task, { m: textModel() }, { "t.json": text(content) })).message, message);
    }
    assert.match((await refused(task, { m: textModel() }, { "t.json": text([]).subarray(1) })).message, /not JSON/);
  });

  it("is compared window by window", async () => {
    const models = { m: textModel(), peaked: textModel((id) => (id < 100 ? 1 : 0)) };
    const task = "tasks: [{name: t, type: language-modelling, data: t.json}]";
    const result = await score(
      task,
      models,
      { "t.json": zoo("language", "french", "text.json") },
      { against: "peaked" },
    );
    const { comparison, value } = result.tasks[0]!;
    assert.equal(comparison!.better, value < comparison!.against ? "this" : "other");
    assert.equal(comparison!.p, null);
  });
});

describe("multiple choice", () => {
  const question = (answer: number, ...choices: readonly string[]) => ({ question: "le chat", choices, answer });
  const tasks = (likelihood: string) =>
    `tasks: [{name: q, type: multiple-choice, data: q.json, likelihood: ${likelihood}}]`;

  it("by the sum, per token, per byte", async () => {
    // Equally likely tokens: the sum prefers few tokens, per byte prefers many bytes per token, per token sees no difference.
    const files = {
      "q.json": text({
        test: [question(0, "a", "a a a a"), question(1, "a", "a a a a"), question(1, "é è ê", "la table")],
      }),
    };
    const correct = async (likelihood: string) =>
      (await score(tasks(likelihood), { m: textModel() }, files)).tasks[0]!.correct;
    assert.equal(await correct("sum"), 2);
    assert.equal(await correct("per-token"), 1);
    assert.ok((await correct("per-byte"))! >= 1);
  });

  it("refuses questions that are none", async () => {
    for (const bad of [
      { question: "a", choices: ["b"], answer: 0 },
      { question: "a", choices: ["b", "c"], answer: 2 },
      { question: "a", choices: ["b", ""], answer: 0 },
      { choices: ["b", "c"], answer: 0 },
    ]) {
      const error = await refused(tasks("sum"), { m: textModel() }, { "q.json": text({ test: [bad] }) });
      assert.match(error.message, /example 1 of the split test cannot be used/);
    }
  });
});

describe("sequence classification", () => {
  const tasks = "tasks: [{name: s, type: sequence-classification, data: s.json, longest: 4, head: h}]";

  it("counts what is right and tells what was cut", async () => {
    // Logits are plus and minus the first token's id.
    const head = { "model.safetensors": safetensors({ w: { dtype: "F32", shape: [2, 1], values: [1, -1] } }) };
    const examples = [
      { text: "le chat dort sur la table", label: 0 },
      { text: "a", label: 1 },
    ];
    const result = await score(tasks, { m: textModel(), h: head }, { "s.json": text({ test: examples }) });
    assert.deepEqual([result.tasks[0]!.correct, result.tasks[0]!.total], [1, 2]);
    assert.deepEqual(result.notes, ["s: 1 of 2 texts were cut to 4 tokens"]);
    const pair = [
      { text: "le chat dort", pair: "sur la table", label: 0 },
      { text: "a", label: 1 },
    ];
    const error = await refused(tasks, { m: textModel(), h: head }, { "s.json": text({ test: pair }) });
    assert.match(error.message, /a pair of texts is longer/);
  });
});

describe("several tasks", () => {
  it("have a mean where they have one metric", async () => {
    const files = { "d.safetensors": IMAGES, "t.json": zoo("language", "french", "text.json") };
    const both =
      "tasks: [{name: a, type: image-classification, data: d.safetensors, head: p}, {name: t, type: language-modelling, data: t.json}]";
    const result = await score(both, { m: textModel(), p: pixelModel(3) }, files);
    assert.deepEqual([result.mean, result.metric], [null, null]);
    const twice =
      "tasks: [{name: a, type: image-classification, data: d.safetensors}, {name: b, type: image-classification, data: e}]";
    const e = safetensors({ "test.images": images([1, 1, 3], [9, 1, 2]), "test.labels": labels(0) });
    const named = twice.replace("data: e", "data: e, classes: 3");
    assert.equal((await score(named, { m: pixelModel(3) }, { ...files, e })).mean, (0.75 + 1) / 2);
  });
});
