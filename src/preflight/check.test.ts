import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";
import { compareModels } from "../analyse/compare.js";
import { randomValues, temporaryFolder, writeModel } from "../analyse/fixtures.test.js";
import type { FixtureTensor } from "../analyse/fixtures.test.js";
import type { Dtype } from "../numbers/dtypes.js";
import { tableBytes } from "../execute/mixture_jobs.js";
import { nodePlatform } from "../platform/node/platform.js";
import { readRecipe } from "../recipes.js";
import type { RecipeObject } from "../recipes.js";
import { checkRecipe } from "./check.js";
import type { CheckOptions, Preflight } from "./check.js";
import type { Machine } from "./cost.js";
import type { Level, Topic } from "./findings.js";

const folder = temporaryFolder();
const machine: Machine = { freeBytes: () => 1e9, memoryBytes: () => 1e10, readSpeed: () => Promise.resolve(null) };
let made = 0;

type Tensors = Readonly<Record<string, FixtureTensor>>;

function model(
  name: string,
  tensors: Tensors,
  config: object | null = {},
  files: Readonly<Record<string, string>> = {},
) {
  const all = { ...(config !== null && { "config.json": JSON.stringify(config) }), ...files };
  return writeModel(path.join(folder, String(made++), name), tensors, all);
}

function look(recipe: RecipeObject, options: Partial<CheckOptions> = {}, on: Machine = machine): Promise<Preflight> {
  return checkRecipe(readRecipe(recipe), { ...nodePlatform, ...on }, { threads: 1, ...options });
}

/** Whether something was found, and says what to do. */
function found({ findings }: Preflight, level: Level, topic: Topic, what: RegExp): void {
  const found = findings.find(
    (finding) => finding.level === level && finding.topic === topic && what.test(finding.what),
  );
  assert.ok(found !== undefined, `${level} ${topic} ${what}\n${JSON.stringify(findings, null, 1)}`);
  assert.ok(found.advice.length > 10, found.what);
}

const nothingOf = ({ findings }: Preflight, ...topics: Topic[]) =>
  assert.deepEqual(
    findings.filter(({ topic, level }) => topics.includes(topic) && level !== "note"),
    [],
  );

const weights = (seed: number, size = 300, dtype: Dtype = "F32", scale = 0.1): FixtureTensor => ({
  dtype,
  values: randomValues(size, seed).map((x) => x * scale),
});
/** A fine-tune: the base's entries and a small change of its own. */
const tuned = (base: FixtureTensor, seed: number, by = 0.001): FixtureTensor => {
  const change = randomValues(base.values.length, seed);
  return { ...base, values: base.values.map((x, p) => x + by * change[p]!) };
};

const theta = { a: weights(1), b: weights(2) };
const fineTune = (seed: number, by?: number): Tensors => ({
  a: tuned(theta.a, seed, by),
  b: tuned(theta.b, seed + 50, by),
});
const base = model("base", theta);
const [x, y] = [model("x", fineTune(3)), model("y", fineTune(4))];

describe("a check", () => {
  it("of models that fit finds no problem and no warning", async () => {
    const preflight = await look({ method: "ties", base, models: [x, y] });
    assert.equal(preflight.ok, true);
    assert.deepEqual(
      preflight.findings.filter(({ level }) => level !== "note"),
      [],
    );
    assert.equal(preflight.sample!.entries, 600);
    assert.equal(preflight.cost!.outputBytes, (await look({ method: "ties", base, models: [x, y] })).cost!.outputBytes);
  });

  it("puts problems first, and is not passed with one", async () => {
    const small = await look({ method: "ties", base, models: [x, y] }, {}, { ...machine, freeBytes: () => 100 });
    assert.equal(small.ok, false);
    assert.equal(small.findings[0]!.level, "problem");
    found(small, "problem", "cost", /the result takes .* and 100 B are free/);
    const tight = await look({ method: "ties", base, models: [x, y] }, {}, { ...machine, memoryBytes: () => 1000 });
    found(tight, "problem", "cost", /of memory with 1 thread/);
  });

  it("counts what lies beside the result while matrices of an inner merge wait for it", async () => {
    const matrix = (seed: number): FixtureTensor => ({ ...weights(seed), shape: [15, 20] });
    const from = model("from", { a: matrix(1), b: weights(2) });
    const inner = { method: "tsv_m", base: from, models: [model("m", { a: matrix(3), b: weights(4) })] };
    const recipe = { method: "average", models: [{ merge: inner }, from] };
    const { cost } = await look(recipe);
    assert.equal(cost!.workingBytes, 4 * 300, "of the matrix, not of the vector");
    const free = cost!.outputBytes + cost!.workingBytes;
    found(
      await look(recipe, {}, { ...machine, freeBytes: () => free }),
      "note",
      "cost",
      /and 1.2 kB more until it is done/,
    );
    found(await look(recipe, {}, { ...machine, freeBytes: () => free - 1 }), "problem", "cost", /1.2 kB more/);
    assert.equal((await look({ method: "tsv_m", base: from, models: [from] })).cost!.workingBytes, 0);
  });

  it("counts the coefficients of columns that an inner merge is settled with", async () => {
    const wide = (seed: number): FixtureTensor => ({ ...weights(seed, 30_720), shape: [3, 10_240] });
    const models = [model("v", { a: wide(3) }), model("w", { a: wide(4) })];
    // Its own samples and histograms take more than settling the inner merge does.
    const memory = async (parameters: object) => {
      const inner = { method: "nuslerp", models, parameters };
      const outer = { method: "ties", base: models[0]!, models: [{ merge: inner }, models[1]!] };
      return (await look(outer)).cost!.peakMemoryBytes;
    };
    const runs = { nuslerp_flatten: false };
    // Two models' and the base's for each column, held by the thread and by the one that leads it, and a place for them.
    const difference = (await memory({ ...runs, nuslerp_row_wise: true })) - (await memory(runs));
    assert.equal(difference, 3 * tableBytes(2, 10_240));
  });

  it("reads no weights where it is told so", async () => {
    const preflight = await look({ method: "ties", base, models: [x, y] }, { weights: false });
    assert.equal(preflight.sample, null);
    assert.deepEqual(
      preflight.findings.filter(({ topic }) => topic === "changes" || topic === "signs"),
      [],
    );
  });

  it("looks into inner merges, and says where", async () => {
    const far = model("far", fineTune(5, 0.2));
    const inner = { method: "ties", base, models: [x, far] };
    const preflight = await look({ method: "average", models: [{ merge: inner, name: "inner" }, y] });
    found(preflight, "warning", "changes", /^in ties\(x\+far\): the change of far is \d+ % of the base's own size/);
  });
});

describe("tensors", () => {
  it("that are missing, extra or of another shape are told all at once, where a plan stops at the first", async () => {
    const odd = model("odd", { a: { ...weights(1, 200) }, c: weights(9) });
    const preflight = await look({ method: "ties", base, models: [x, odd] });
    assert.equal(preflight.ok, false);
    assert.equal(preflight.cost, null);
    found(preflight, "problem", "tensors", /odd lacks 1 tensor of base: b/);
    found(preflight, "problem", "tensors", /a \[300\] and \[200\]/);
    found(preflight, "warning", "tensors", /odd has 1 tensor that base lacks, which are not in the result: c/);
    const skipping = await look({
      method: "ties",
      base,
      models: [x, model("less", { a: tuned(theta.a, 5) })],
      missing: "skip",
    });
    assert.equal(skipping.ok, true);
    found(skipping, "warning", "tensors", /less lacks 1 tensor/);
  });

  it("that are tied are not missed", async () => {
    const config = { model_type: "llama", tie_word_embeddings: true };
    const embedding = { ...weights(1, 40), shape: [10, 4] };
    const tied = model("tied", { "model.embed_tokens.weight": embedding, "lm_head.weight": embedding }, config);
    const lean = model("lean", { "model.embed_tokens.weight": tuned(embedding, 3) }, config);
    nothingOf(await look({ method: "ties", base: tied, models: [lean] }), "tensors", "plan");
    nothingOf(await look({ method: "ties", base: lean, models: [tied] }), "tensors", "plan");
  });

  it("that are written in fewer bits, or beyond the format", async () => {
    const narrow = model("narrow", { a: { ...theta.a, dtype: "BF16" }, b: { ...theta.b, dtype: "BF16" } });
    const little = model("little", fineTune(3, 0.0002));
    const preflight = await look({ method: "ties", base: narrow, models: [little, y] });
    found(preflight, "warning", "formats", /2 tensors are written in fewer bits/);
    found(preflight, "note", "formats", /typical changes are smaller than half a step of BF16/);
    const large = model("large", { a: { dtype: "F32", values: theta.a.values.with(7, 1e5) }, b: theta.b });
    const half = await look({ method: "average", models: [large, x], output: { dtype: "float16" } });
    found(half, "problem", "formats", /1 tensor hold weights beyond F16: a/);
    found(half, "warning", "weights", /weights above 1000: a of large/);
  });
});

describe("configs", () => {
  const llama = { model_type: "llama", hidden_size: 64, num_attention_heads: 8, rope_theta: 10_000, eos_token_id: 2 };
  const of = (name: string, seed: number, change: object) => model(name, fineTune(seed), { ...llama, ...change });

  it("that agree say nothing; that differ say what the result will have", async () => {
    const original = model("original", theta, llama);
    const same = await look({ method: "ties", base: original, models: [of("one", 3, { _name_or_path: "elsewhere" })] });
    assert.deepEqual(
      same.findings.filter(({ topic }) => topic === "config"),
      [],
    );
    const models = [of("one", 3, { rope_theta: 500_000 }), of("two", 4, { eos_token_id: [2, 7], surprise: 1 })];
    const preflight = await look({ method: "ties", base: original, models });
    assert.equal(preflight.ok, true);
    found(preflight, "warning", "config", /^rope_theta is 10000 in original, but 500000 in one$/);
    found(preflight, "warning", "config", /^eos_token_id is 2 in original, but \[2,7\] in two$/);
    found(preflight, "note", "config", /1 other setting of the configs differ: surprise/);
  });

  it("of networks that only look alike are a problem", async () => {
    const original = model("original", theta, llama);
    const heads = await look({ method: "ties", base: original, models: [of("one", 3, { num_attention_heads: 4 })] });
    assert.equal(heads.ok, false);
    found(heads, "problem", "config", /^num_attention_heads is 8 in original, but 4 in one$/);
    const family = await look({
      method: "ties",
      base: original,
      models: [of("one", 3, { model_type: "mistral", rope_theta: 1 })],
    });
    found(family, "warning", "config", /^model_type is llama in original, but mistral in one$/);
    assert.equal(family.findings.filter(({ topic }) => topic === "config").length, 1);
    const quantised = await look({
      method: "ties",
      base: original,
      models: [of("one", 3, { quantization_config: { bits: 4 } })],
    });
    found(quantised, "problem", "config", /one holds quantised weights/);
  });

  it("of parts are looked into", async () => {
    const outer = (theta: number) => ({ model_type: "llava", text_config: { model_type: "llama", rope_theta: theta } });
    const recipe = {
      method: "ties",
      base: model("base", theta, outer(1)),
      models: [model("one", fineTune(3), outer(2))],
    };
    found(await look(recipe), "warning", "config", /^text_config\.rope_theta is 1 in base, but 2 in one$/);
  });
});

describe("tokens", () => {
  const words = (list: readonly string[]) => Object.fromEntries(list.map((word, index) => [word, index]));
  const files = (list: readonly string[], config: object = {}) => ({
    "tokenizer.json": JSON.stringify({
      ...{ version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: { type: "Whitespace" } },
      model: { type: "WordLevel", vocab: words(list), unk_token: "<unk>" },
    }),
    "tokenizer_config.json": JSON.stringify(config),
  });
  const vocabulary = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "e"];
  const embedding = { ...weights(1, 32), shape: [8, 4] };
  const of = (
    name: string,
    list: readonly string[],
    config: object = {},
    tensor: FixtureTensor = tuned(embedding, 7),
  ) => model(name, { "model.embed_tokens.weight": tensor }, { vocab_size: tensor.shape![0] }, files(list, config));
  const original = of("original", vocabulary, { eos_token: "</s>" }, embedding);

  it("that mean the same say nothing", async () => {
    const other = of("other", vocabulary, { eos_token: { content: "</s>" } });
    const preflight = await look({ method: "ties", base: original, models: [other] });
    assert.deepEqual(
      preflight.findings.filter(({ topic }) => topic === "tokens"),
      [],
    );
  });

  it("whose numbers mean other things spoil the rows that are merged", async () => {
    const swapped = of("swapped", ["<unk>", "<s>", "</s>", "b", "a", "c", "d", "f"], { eos_token: "</s>" });
    const preflight = await look({ method: "ties", base: original, models: [swapped] });
    assert.equal(preflight.ok, false);
    found(
      preflight,
      "problem",
      "tokens",
      /3 token numbers \(38 %\) mean other tokens in swapped than in original: 3 is "a" and "b"/,
    );
    found(preflight, "warning", "tokens", /swapped has 1 token that original lacks: "f"/);
    const apart = await look({
      method: "ties",
      base: model("b", { ...theta, ...tensorsOf(embedding) }, { vocab_size: 8 }, files(vocabulary)),
      models: [
        model(
          "m",
          { ...fineTune(3), ...tensorsOf(embedding) },
          { vocab_size: 8 },
          files(["x", ...vocabulary.slice(1)]),
        ),
      ],
      exclude: ["*embed_tokens*"],
    });
    found(apart, "warning", "tokens", /1 token number/);
    const united = await look({
      method: "ties",
      base: original,
      models: [swapped],
      tokenizer: { source: "union" },
    });
    assert.deepEqual(
      united.findings.filter(({ topic, level }) => topic === "tokens" && level !== "note"),
      [],
    );
  });

  const tensorsOf = (tensor: FixtureTensor) => ({ "model.embed_tokens.weight": tensor });

  it("that are special, and chat templates", async () => {
    const chat = of("chat", vocabulary, { eos_token: "e", pad_token: "<s>", chat_template: "{{ messages }}" });
    const preflight = await look({ method: "ties", base: original, models: [chat] });
    found(
      preflight,
      "warning",
      "tokens",
      /special tokens differ between original and chat: eos_token is "<\/s>" and "e", pad_token is nothing and "<s>"/,
    );
    found(
      preflight,
      "warning",
      "tokens",
      /chat has a chat template, and original, whose files the result gets, has none/,
    );
  });

  it("without rows, and tokenizers that cannot be read", async () => {
    const broken = model("broken", tensorsOf(tuned(embedding, 5)), { vocab_size: 8 }, { "tokenizer.json": "{" });
    found(
      await look({ method: "ties", base: original, models: [broken] }),
      "warning",
      "tokens",
      /the tokenizer of broken cannot be read/,
    );
    const more = of("more", [...vocabulary, "f", "g"]);
    found(
      await look({ method: "ties", base: original, models: [more] }),
      "warning",
      "tokens",
      /more has tokens up to number 9, but 8 rows/,
    );
  });
});

describe("weights", () => {
  it("of another origin, of no change, and of outlying size", async () => {
    const other = model("other", { a: weights(21), b: weights(22) });
    const copy = model("copy", theta);
    const strong = model("strong", fineTune(6, 0.008));
    const preflight = await look({ method: "ties", base, models: [x, y, other, copy, strong] });
    found(preflight, "warning", "changes", /the change of other is 1\d\d % of the base's own size/);
    found(preflight, "warning", "changes", /copy equals base in all 600 parameters looked at/);
    found(preflight, "warning", "changes", /the change of strong .* times the usual one/);
    const unrelated = await look({ method: "average", models: [x, other] });
    found(unrelated, "warning", "weights", /do not resemble each other: x and other/);
    nothingOf(await look({ method: "average", models: [x, y] }), "weights");
  });

  it("that are the same twice, or against each other", async () => {
    const twin = model("twin", fineTune(3));
    const change = (by: number): Tensors => ({ a: tuned(theta.a, 3, by), b: tuned(theta.b, 53, by) });
    const against = model("against", change(-0.001));
    const preflight = await look({ method: "ties", base, models: [x, twin, against] });
    found(preflight, "warning", "changes", /nearly the same \(cosine\): x and twin 1\.00/);
    found(preflight, "warning", "changes", /against each other \(cosine\): x and against -1\.00, twin and against/);
    const two = await look({ method: "ties", base, models: [x, against] });
    found(two, "warning", "signs", /signs disagree in 100\.0 % of the columns .*\(50 % by chance\), in all entries/);
  });

  it("that are broken, empty or scaled", async () => {
    const broken = model("broken", { ...fineTune(3), a: { dtype: "F32", values: theta.a.values.with(5, NaN) } });
    found(
      await look({ method: "ties", base, models: [broken, y] }),
      "problem",
      "weights",
      /NaN or infinite weights: a of broken/,
    );
    const empty = model("empty", { ...fineTune(3), b: { dtype: "F32", values: theta.b.values.map(() => 0) } });
    found(
      await look({ method: "ties", base, models: [empty, y] }),
      "warning",
      "weights",
      /nothing but zeros .*: b of empty/,
    );
    const scaled = model("scaled", { ...fineTune(3), b: { dtype: "F32", values: theta.b.values.map((v) => v * 50) } });
    const preflight = await look({ method: "ties", base, models: [scaled, y] });
    found(preflight, "warning", "weights", /another size than in the other models: b of scaled \(50 times\)/);
    const four: Tensors = { ...theta, c: weights(11), d: weights(12) };
    const tunedFour = Object.fromEntries(
      Object.entries(four).map(([name, tensor], at) => [name, tuned(tensor, at + 5)]),
    );
    const anew = model("anew", { ...tunedFour, d: weights(13) });
    const outlying = await look({
      method: "ties",
      base: model("four", four),
      models: [anew, model("other", tunedFour)],
    });
    found(outlying, "note", "changes", /1 tensor of anew changed far more than the rest of it: d/);
  });
});

describe("a sample", () => {
  it("of large models tells norms, cosines and sign conflicts within its stated error", async () => {
    // Layers differ in how far they moved, so that runs differ among each other as they do in real models.
    const sizes = [1_500_000, 900_000, 2_100_000, 700_000];
    const layers = sizes.map((size, layer): [string, FixtureTensor] => [
      `layers.${layer}.w`,
      weights(layer + 1, size, "BF16", 0.05),
    ]);
    const large = Object.fromEntries(layers);
    const moved = (seed: number): Tensors =>
      Object.fromEntries(
        layers
          .map(([name, tensor], layer) => [name, tuned(tensor, 7, 0.002 * (layer + 1))])
          .map(([name, tensor], layer) => [name, tuned(tensor as FixtureTensor, seed + layer, 0.003)]),
      );
    const [b, m, n] = [model("b", large), model("m", moved(100)), model("n", moved(200))];
    const { sample } = await look({ method: "ties", base: b, models: [m, n] }, { threads: 2 });
    const exact = await compareModels(b, [m, n], nodePlatform, { threads: 2 });
    assert.equal(sample!.of, 5_200_000);
    assert.ok(sample!.entries < 0.5 * sample!.of, String(sample!.entries));
    const within = ({ value, error }: { value: number; error: number }, expected: number, what: string) => {
      assert.ok(error > 0 && error < 0.2 * Math.abs(expected), `${what}: error ${error} of ${expected}`);
      assert.ok(Math.abs(value - expected) <= 1.5 * error, `${what}: ${value} ± ${error}, exactly ${expected}`);
    };
    for (const i of [0, 1]) within(sample!.norms[i]!, exact.models[i]!.norm, `norm ${i}`);
    within(sample!.cosines[0]![1]!, exact.cosine[0]![1]!, "cosine");
    within(sample!.conflicts, exact.signs[0]!.untrimmed.shareOfShared, "conflicts");
  });

  it("of small models is everything, and exact", async () => {
    const { sample } = await look({ method: "ties", base, models: [x, y] });
    const exact = await compareModels(base, [x, y], nodePlatform, { threads: 1 });
    assert.deepEqual(
      sample!.norms.map(({ error }) => error),
      [0, 0],
    );
    assert.ok(Math.abs(sample!.norms[0]!.value / exact.models[0]!.norm - 1) < 1e-12);
    assert.ok(Math.abs(sample!.cosines[0]![1]!.value - exact.cosine[0]![1]!) < 1e-12);
    assert.equal(sample!.conflicts.value, exact.signs[0]!.untrimmed.shareOfShared);
  });
});
