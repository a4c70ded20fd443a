import assert from "node:assert/strict";
import {
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";
import fc from "fast-check";
import type { MergewrightError } from "../errors.js";
import { parseHeader } from "../formats/safetensors/header.js";
import { mergeModels } from "../merge.js";
import type { MergeOptions } from "../merge.js";
import { methods } from "../methods/catalogue.js";
import { nodePlatform } from "../platform/node/platform.js";
import { parseRecipe } from "../recipe/native.js";
import { copyFolder, temporaryFolder, writeModel, ZOO } from "./fixtures.test.js";
import type { FixtureTensor } from "./fixtures.test.js";
import { verifyOutput } from "./verify.js";
import type { Verification, VerifyOptions } from "./verify.js";

const folder = temporaryFolder();
let made = 0;
const place = (name: string) => path.join(folder, `${name}-${made++}`);

async function merge(recipe: Readonly<Record<string, unknown>>, options: Partial<MergeOptions> = {}): Promise<string> {
  const out = place("merged");
  await mergeModels(parseRecipe(JSON.stringify(recipe), { methods }), nodePlatform, { out, threads: 1, ...options });
  return out;
}

function verify(out: string, options: Partial<VerifyOptions> = {}): Promise<Verification> {
  return verifyOutput(out, nodePlatform, { threads: 1, ...options });
}

/** Names of the checks that failed, and all their problems. */
async function failures(out: string, options: Partial<VerifyOptions> = {}): Promise<Record<string, readonly string[]>> {
  const { ok, checks } = await verify(out, options);
  const failed = checks.filter((check) => !check.ok);
  assert.equal(ok, failed.length === 0);
  return Object.fromEntries(failed.map(({ name, problems }) => [name, problems]));
}

function edit(file: string, change: (text: string) => string): void {
  const before = readFileSync(file, "utf8");
  const after = change(before);
  assert.notEqual(after, before);
  writeFileSync(file, after);
}

describe("verifyOutput on merges of the zoo", () => {
  /** A backbone in one file with a separate head per model; and a sharded model with a tokenizer. */
  let vision: string;
  let language: string;

  before(async () => {
    const at = (name: string) => path.join(ZOO, name);
    vision = await merge({
      method: "ties",
      base: at("vision/base"),
      models: [at("vision/mnist"), at("vision/fashion")],
      exclude: ["classifier.*"],
      heads: "separate",
    });
    language = await merge({
      method: "ties",
      base: at("language/base"),
      models: [at("language/french"), at("language/german")],
      output: { shard_size: "2MB" },
    });
  });

  it("passes what a merge has written, with separate heads and with shards", async () => {
    const found = await verify(vision, { inputs: true });
    assert.deepEqual(
      found.checks.filter(({ ok }) => !ok),
      [],
    );
    assert.equal(found.ok, true);
    assert.equal(found.tensors, 102 + 2 + 2);
    assert.deepEqual(
      found.checks.map(({ name }) => name),
      [
        "files",
        "headers",
        "strays",
        "tensors",
        "checksums",
        "finite",
        "index",
        "config",
        "side files",
        "inputs",
        "copies",
      ],
    );
    assert.deepEqual(await failures(language, { inputs: true }), {});
  });

  it("finds the same with one thread and with two", async () => {
    const { seconds: _one, ...one } = await verify(language, { threads: 1 });
    const { seconds: _two, ...two } = await verify(language, { threads: 2 });
    assert.deepEqual(two, one);
  });

  it("finds one changed byte anywhere in a weight file, and names the tensor where it lies in one", async () => {
    const out = copyFolder(vision, place("flipped"));
    const files = ["model.safetensors", "heads/mnist/model.safetensors", "heads/fashion/model.safetensors"];
    const originals = files.map((file) => readFileSync(path.join(out, file)));
    const flips = fc.record({
      file: fc.nat({ max: files.length - 1 }),
      // Half of the flips in the header, which is a small part of the file.
      inHeader: fc.boolean(),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      mask: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(flips, async ({ file, inHeader, at, mask }) => {
        const original = originals[file]!;
        const { dataStart, tensors } = parseHeader(original);
        const position = inHeader
          ? Math.floor(at * dataStart)
          : dataStart + Math.floor(at * (original.length - dataStart));
        const changed = Uint8Array.from(original);
        changed[position]! ^= mask;
        const target = path.join(out, files[file]!);
        writeFileSync(target, changed);
        const failed = await failures(out);
        writeFileSync(target, original);
        if (inHeader) {
          assert.ok(failed["headers"]![0]!.startsWith(files[file]!), JSON.stringify(failed));
          return;
        }
        const { name } = tensors.find(({ offset, length }) => position >= offset && position < offset + length)!;
        const key = file === 0 ? name : `${path.posix.dirname(files[file]!)}/${name}`;
        assert.equal(failed["checksums"]!.length, 1);
        assert.ok(failed["checksums"]![0]!.startsWith(`${key} in model.safetensors: checksum `));
        delete failed["checksums"];
        // The flip may have made a NaN.
        delete failed["finite"];
        assert.deepEqual(failed, {});
      }),
      { seed: 3, numRuns: 60 },
    );
    assert.deepEqual(await failures(out), {});
  });

  it("finds a header that makes sense but is not the one written", async () => {
    for (const [from, to] of [
      ['"format":"pt"', '"format":"np"'],
      ['"dtype":"F16","shape":[128]', '"dtype":"I16","shape":[128]'],
      ['"shape":[128,512]', '"shape":[512,128]'],
    ] as const) {
      const out = copyFolder(vision, place("header"));
      const file = path.join(out, "model.safetensors");
      const bytes = readFileSync(file);
      const at = bytes.indexOf(from);
      assert.ok(at > 0);
      bytes.write(to, at);
      writeFileSync(file, bytes);
      assert.deepEqual(await failures(out), { headers: ["model.safetensors: the header is not as written"] });
    }
  });

  it("finds a file cut short, by one byte or inside its header, and one grown by a byte", async () => {
    const size = statSync(path.join(language, "model-00002-of-00004.safetensors")).size;
    for (const wanted of [size - 1, 100, 0, size + 1]) {
      const out = copyFolder(language, place("resized"));
      truncateSync(path.join(out, "model-00002-of-00004.safetensors"), wanted);
      const failed = await failures(out);
      assert.deepEqual(failed["files"], [`model-00002-of-00004.safetensors has ${wanted} bytes, recorded ${size}`]);
      assert.ok(failed["headers"]![0]!.startsWith("model-00002-of-00004.safetensors: "));
      assert.ok(failed["tensors"]!.every((problem) => problem.endsWith(" is in no readable file")));
      assert.deepEqual(Object.keys(failed), ["files", "headers", "tensors"]);
    }
  });

  it("finds a missing shard, and a separate head that is gone", async () => {
    const shardless = copyFolder(language, place("shardless"));
    rmSync(path.join(shardless, "model-00003-of-00004.safetensors"));
    const failed = await failures(shardless);
    assert.deepEqual(failed["files"], ["model-00003-of-00004.safetensors is missing"]);
    assert.deepEqual(Object.keys(failed), ["files", "tensors", "index"]);

    const headless = copyFolder(vision, place("headless"));
    rmSync(path.join(headless, "heads/mnist"), { recursive: true });
    const lost = await failures(headless);
    assert.deepEqual(lost["files"], ["heads/mnist/model.safetensors is missing"]);
    assert.deepEqual(lost["side files"], ["heads/mnist/config.json is missing"]);
    assert.deepEqual(lost["tensors"], [
      "heads/mnist/classifier.bias is in no readable file",
      "heads/mnist/classifier.weight is in no readable file",
    ]);
  });

  it("finds weights and an index of another model, beside the merge or in a head's folder", async () => {
    const out = copyFolder(vision, place("strays"));
    const copy = (name: string) =>
      writeFileSync(path.join(out, name), readFileSync(path.join(out, "model.safetensors")));
    copy("model-00005-of-00007.safetensors");
    copy("heads/mnist/adapter.SAFETENSORS");
    writeFileSync(path.join(out, "model.safetensors.index.json"), "{}");
    assert.deepEqual(await failures(out), {
      strays: [
        "model-00005-of-00007.safetensors is not part of the merge",
        "model.safetensors.index.json is not part of the merge",
        "heads/mnist/adapter.SAFETENSORS is not part of the merge",
      ],
    });
  });

  it("finds two shards that changed places, under names that are all there", async () => {
    const out = copyFolder(language, place("swapped"));
    const at = (name: string) => path.join(out, name);
    renameSync(at("model-00001-of-00004.safetensors"), at("x"));
    renameSync(at("model-00002-of-00004.safetensors"), at("model-00001-of-00004.safetensors"));
    renameSync(at("x"), at("model-00002-of-00004.safetensors"));
    const failed = await failures(out);
    assert.deepEqual(Object.keys(failed), ["files", "headers", "index"]);
    assert.match(
      failed["index"]![0]!,
      /^model\.safetensors\.index\.json: \S+ is in model-00001\S+, not in "model-00002/,
    );
  });

  it("finds an index that is lost, broken, or not true to the files", async () => {
    const index = "model.safetensors.index.json";
    const problemsAfter = async (change: (file: string) => void) => {
      const out = copyFolder(language, place("index"));
      change(path.join(out, index));
      return (await failures(out))["index"];
    };
    assert.deepEqual(await problemsAfter((file) => rmSync(file)), [`${index} is missing`]);
    assert.deepEqual(await problemsAfter((file) => edit(file, (text) => text.slice(1))), [
      `${index} is not valid JSON`,
    ]);
    assert.deepEqual(await problemsAfter((file) => writeFileSync(file, "{}")), [`${index} has no weight_map`]);
    const renamed = (file: string) => edit(file, (text) => text.replace('"model.norm.weight"', '"model.norm.bias"'));
    assert.deepEqual(await problemsAfter(renamed), [
      `${index}: model.norm.weight of model-00004-of-00004.safetensors is not named`,
      `${index}: model.norm.bias is not in "model-00004-of-00004.safetensors"`,
    ]);
  });

  it("finds a config that cannot be read or was edited, and a missing tokenizer", async () => {
    const out = copyFolder(language, place("small"));
    edit(path.join(out, "config.json"), (text) => text.replace("{", ""));
    rmSync(path.join(out, "tokenizer.json"));
    assert.deepEqual(await failures(out), {
      config: ["config.json is not valid JSON"],
      "side files": ["config.json is not as written", "tokenizer.json is missing"],
    });
  });

  it("finds an edited tokenizer by its inputs", async () => {
    const out = copyFolder(language, place("edited"));
    edit(path.join(out, "tokenizer.json"), (text) => `${text} `);
    assert.deepEqual(await failures(out), {});
    const failed = await failures(out, { inputs: true });
    assert.deepEqual(failed, { copies: [`tokenizer.json differs from that of ${path.join(ZOO, "language/base")}`] });
  });

  it("takes a README for the reader's own", async () => {
    const out = copyFolder(language, place("readme"));
    writeFileSync(path.join(out, "README.md"), "mine");
    assert.deepEqual(await failures(out, { inputs: true }), {});
  });

  it("says what is wrong with the record of the merge", async () => {
    const damaged = async (change: (text: string) => string): Promise<MergewrightError> => {
      const out = copyFolder(vision, place("record"));
      edit(path.join(out, "mergewright.json"), change);
      return verify(out).then(
        () => assert.fail("the record was taken"),
        (error: MergewrightError) => error,
      );
    };
    const cut = await damaged((text) => text.slice(0, 500));
    assert.equal(cut.code, "verify/failed");
    assert.equal(cut.exitCode, 1);
    const typed = await damaged((text) => text.replace(/"bytes": (\d+)/, '"bytes": "$1"'));
    assert.deepEqual([typed.where.key, typed.expected], ["inputs.0.files.0.bytes", "number"]);
    const hash = await damaged((text) => text.replace(/("header": ")[0-9a-f]/, "$1X"));
    assert.deepEqual([hash.where.key, hash.expected], ["inputs.0.files.0.header", "16 hexadecimal digits"]);
    const outside = await damaged((text) => text.replace('"file": "heads/mnist/', '"file": "heads/../../'));
    assert.equal(outside.where.key, "outputs.1.file");
    const later = await damaged((text) => text.replace('"format": 1', '"format": 2'));
    assert.equal(later.where.key, "format");
    await assert.rejects(verify(path.join(ZOO, "vision/base")), (error: MergewrightError) => {
      return error.code === "checkpoint/missing-file" && error.exitCode === 2;
    });
  });

  it("finds a tensor that the record does not know, and one that it misses", async () => {
    const out = copyFolder(vision, place("tensors"));
    edit(path.join(out, "mergewright.json"), (text) => text.replace('"vit.layernorm.bias":', '"vit.layernorm.beta":'));
    assert.deepEqual(await failures(out), {
      tensors: ["vit.layernorm.bias in model.safetensors is not recorded", "vit.layernorm.beta is in no readable file"],
    });
  });
});

describe("verifyOutput and the inputs of a merge", () => {
  const tensors = (x: number): Record<string, FixtureTensor> => ({ a: { dtype: "F32", values: [x, 1, 2] } });

  /** Inputs and merge of its own, so that a test may damage them. */
  async function fresh(options: Partial<MergeOptions> = {}): Promise<{ out: string; model: string; weights: string }> {
    const base = writeModel(place("base"), tensors(1), { "tokenizer.json": "{}" });
    const model = writeModel(place("model"), tensors(2));
    const out = await merge({ method: "task_arithmetic", base, models: [model] }, options);
    return { out, model, weights: path.join(model, "model.safetensors") };
  }

  /** Another last byte and the time it had before. */
  function changeContent(file: string): void {
    const { atime, mtime } = statSync(file);
    const bytes = readFileSync(file);
    bytes[bytes.length - 4]! ^= 1;
    writeFileSync(file, bytes);
    utimesSync(file, atime, mtime);
  }

  it("does not look at them unless asked", async () => {
    const { out, model } = await fresh();
    rmSync(model, { recursive: true });
    assert.deepEqual(await failures(out), {});
    const { inputs } = await failures(out, { inputs: true });
    assert.equal(inputs!.length, 1);
    assert.ok(inputs![0]!.startsWith(`${model}: `));
  });

  it("finds one that was written to, has another size or another header", async () => {
    const touched = await fresh();
    utimesSync(touched.weights, 1, 1);
    assert.match(
      (await failures(touched.out, { inputs: true }))["inputs"]![0]!,
      /model\.safetensors was written to since/,
    );
    const grown = await fresh();
    writeModel(grown.model, { ...tensors(2), b: { dtype: "F32", values: [1] } });
    assert.match((await failures(grown.out, { inputs: true }))["inputs"]![0]!, / bytes, recorded /);
    const renamed = await fresh();
    writeModel(renamed.model, { b: tensors(2)["a"]! });
    assert.match((await failures(renamed.out, { inputs: true }))["inputs"]![0]!, /has another header/);
  });

  it("goes by the content where it was recorded, whatever the time", async () => {
    const { out, weights } = await fresh({ hashInputs: true });
    utimesSync(weights, 1, 1);
    assert.deepEqual(await failures(out, { inputs: true }), {});
    changeContent(weights);
    assert.match((await failures(out, { inputs: true }))["inputs"]![0]!, /has another content \(sha256:/);
  });

  it("finds a weight file that joined or left a model", async () => {
    const { out, model, weights } = await fresh();
    renameSync(weights, path.join(model, "other.safetensors"));
    assert.match((await failures(out, { inputs: true }))["inputs"]![0]!, /model\.safetensors is not part of the model/);
  });
});

describe("verifyOutput and entries that are not finite", () => {
  it("takes those that the merge recorded, in merged tensors and in copied ones", async () => {
    const tensors = (x: number): Record<string, FixtureTensor> => ({
      a: { dtype: "BF16", values: [x, 1, x] },
      head: { dtype: "F16", values: [Infinity, 1] },
    });
    const base = writeModel(place("base"), tensors(1));
    const model = writeModel(place("model"), tensors(NaN));
    const out = await merge({ method: "task_arithmetic", base, models: [model], exclude: ["head"] });
    const { ok, checks } = await verify(out);
    assert.equal(ok, true);
    assert.match(checks.find(({ name }) => name === "finite")!.detail, /^3 NaN or infinite entries, as recorded/);
    edit(path.join(out, "mergewright.json"), (text) => text.replace('"nonFinite": 3', '"nonFinite": 4'));
    assert.deepEqual((await failures(out))["finite"], [
      "a: 2 NaN or infinite entries",
      "head: 1 NaN or infinite entries",
      "3 NaN or infinite entries in all, recorded 4",
    ]);
  });

  it("counts a NaN that damage made", async () => {
    const base = writeModel(place("base"), { a: { dtype: "F32", values: [1, 1] } });
    const model = writeModel(place("model"), { a: { dtype: "F32", values: [2, 2] } });
    const out = await merge({ method: "average", models: [base, model] });
    const file = path.join(out, "model.safetensors");
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 4);
    writeFileSync(file, bytes);
    const failed = await failures(out);
    assert.deepEqual(Object.keys(failed), ["checksums", "finite"]);
    assert.equal(failed["finite"]![0], "a: 1 NaN or infinite entries");
    assert.ok(existsSync(file));
  });
});
