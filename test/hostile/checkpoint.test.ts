/** What makes a folder a checkpoint, and what is said where it is none. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ErrorCode } from "../../src/errors.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { rawFile, simpleFile, textFile } from "../contracts/checkpoint_files.js";
import { rejects } from "../contracts/source.js";

type Files = Record<string, Uint8Array>;

const open = (files: Files): Promise<Checkpoint> => openCheckpoint("models/x", memoryFolder(files));
const index = (weightMap: unknown) => textFile({ metadata: { total_size: 8 }, weight_map: weightMap });
const INDEX = "model.safetensors.index.json";
const A = simpleFile({ a: [1] });
const B = simpleFile({ b: [2] });
const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";
const SHARDED = { [FIRST]: A, [SECOND]: B, [INDEX]: index({ a: FIRST, b: SECOND }) };

function where(checkpoint: Checkpoint): Record<string, string> {
  const { shards, tensors } = checkpoint;
  return Object.fromEntries([...tensors].map(([name, { shard }]) => [name, shards[shard]!.name]));
}

describe("a checkpoint", () => {
  it("keeps the text of a config with the numbers that Python writes", async () => {
    const text = '{"rope": 1e-06, "limit": [0.0, Infinity], "x": NaN}';
    const checkpoint = await open({ "model.safetensors": A, "config.json": new TextEncoder().encode(text) });
    assert.deepEqual(checkpoint.config, { rope: 1e-6, limit: [0, null], x: null });
    assert.equal(checkpoint.configText, text);
  });

  it("is one file", async () => {
    const checkpoint = await open({ "model.safetensors": A, "config.json": textFile({ model_type: "llama" }) });
    assert.deepEqual(where(checkpoint), { a: "model.safetensors" });
    assert.deepEqual(checkpoint.config, { model_type: "llama" });
    assert.deepEqual(checkpoint.notes, []);
    assert.equal(checkpoint.label, "models/x");
    assert.equal(checkpoint.name, "x");
    const { offset, length, shard } = checkpoint.tensors.get("a")!;
    const into = new Uint8Array(length);
    await checkpoint.shards[shard]!.source.read(offset, into);
    assert.deepEqual(into, new Uint8Array(Float32Array.of(1).buffer));
    await checkpoint.close();
  });

  it("is several files and an index", async () => {
    assert.deepEqual(where(await open(SHARDED)), { a: FIRST, b: SECOND });
  });

  it("is several files and an index of another name", async () => {
    const name = "diffusion_pytorch_model.safetensors.index.json";
    const files = {
      "one.safetensors": A,
      "two.safetensors": B,
      [name]: index({ a: "one.safetensors", b: "two.safetensors" }),
    };
    assert.deepEqual(where(await open(files)), { a: "one.safetensors", b: "two.safetensors" });
  });

  it("is a single file of any name", async () => {
    const checkpoint = await open({ "style.safetensors": A });
    assert.deepEqual(where(checkpoint), { a: "style.safetensors" });
    assert.equal(checkpoint.config, null);
  });

  it("is a complete set of numbered files without an index", async () => {
    assert.deepEqual(where(await open({ [FIRST]: A, [SECOND]: B })), { a: FIRST, b: SECOND });
  });

  it("is model.safetensors where there is an index as well, as in transformers", async () => {
    const checkpoint = await open({ ...SHARDED, "model.safetensors": simpleFile({ c: [3] }) });
    assert.deepEqual(where(checkpoint), { c: "model.safetensors" });
    assert.match(checkpoint.notes.join("\n"), /both model\.safetensors and model\.safetensors\.index\.json/);
    assert.match(checkpoint.notes.join("\n"), /left alone: model-00001-of-00002.*model-00002/);
  });

  it("tells which files it leaves alone", async () => {
    const checkpoint = await open({
      "model.safetensors": A,
      "adapter_model.safetensors": B,
      "pytorch_model.bin": textFile("never read"),
      "optimizer.pt": textFile("never read"),
    });
    const [others, pickles] = checkpoint.notes;
    assert.match(others!, /left alone: adapter_model\.safetensors/);
    assert.match(pickles!, /pickles are never opened.*optimizer\.pt, pytorch_model\.bin/);
  });

  it("has its side files carried over, and nothing else", async () => {
    const checkpoint = await open({
      ...SHARDED,
      "config.json": textFile({}),
      "tokenizer.json": textFile("tokens"),
      "tokenizer.model": textFile("pieces"),
      "generation_config.json": textFile({}),
      "chat_template.jinja": textFile("{{ messages }}"),
      "additional_chat_templates/rag.jinja": textFile("{{ documents }}"),
      "README.md": textFile("# x"),
      "modeling_x.py": textFile("import os"),
      ".gitattributes": textFile(""),
      "training_args.bin": textFile(""),
      "notes.json": textFile({}),
    });
    assert.deepEqual(
      checkpoint.sideFiles.map(({ name, size }) => [name, size]),
      [
        ["additional_chat_templates/rag.jinja", 15],
        ["chat_template.jinja", 14],
        ["generation_config.json", 2],
        ["tokenizer.json", 6],
        ["tokenizer.model", 6],
      ],
    );
    assert.deepEqual(await checkpoint.sideFiles.at(-1)!.read(), textFile("pieces"));
  });

  it("tells that code which its config needs is not carried over", async () => {
    const config = textFile({ auto_map: { AutoConfig: "configuration_x.XConfig", AutoModel: "modeling_x.XModel" } });
    const checkpoint = await open({
      "model.safetensors": A,
      "config.json": config,
      "modeling_x.py": textFile("import os"),
    });
    assert.match(checkpoint.notes[0]!, /Python code.*configuration_x\.XConfig, modeling_x\.XModel/);
    assert.deepEqual(checkpoint.sideFiles, []);
  });

  it("may hold tensors with names that mean something to JavaScript", async () => {
    const names = ["__proto__", "constructor", "0"];
    const file = rawFile(
      `{${names.map((name) => `"${name}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`).join(",")}}`,
    );
    const map = `{"weight_map":{${names.map((name) => `"${name}":"x.safetensors"`).join(",")}}}`;
    const checkpoint = await open({ "x.safetensors": file, [INDEX]: textFile(map) });
    assert.deepEqual([...checkpoint.tensors.keys()].sort(), [...names].sort());
  });
});

interface Refusal {
  readonly title: string;
  readonly files: Files;
  readonly code: ErrorCode;
  readonly says: RegExp;
  readonly tensor?: string;
}

const outside = [
  "../x.safetensors",
  "/etc/x.safetensors",
  "sub/x.safetensors",
  "..\\x.safetensors",
  "C:x.safetensors",
  "..",
  "",
  "x\u0000.safetensors",
];

const REFUSALS: readonly Refusal[] = [
  { title: "nothing", files: {}, code: "checkpoint/no-weights", says: /no files/ },
  {
    title: "only a config",
    files: { "config.json": textFile({}) },
    code: "checkpoint/no-weights",
    says: /config\.json/,
  },
  {
    title: "a pipeline of models",
    files: { "model_index.json": textFile({}) },
    code: "checkpoint/no-weights",
    says: /give the folder of one of them/,
  },
  { title: "GGUF", files: { "x.gguf": A }, code: "checkpoint/no-weights", says: /GGUF/ },
  {
    title: "an adapter",
    files: { "adapter_model.safetensors": A, "adapter_config.json": textFile({}) },
    code: "checkpoint/no-weights",
    says: /adapter, not a checkpoint.*BASE\+ADAPTER/s,
  },
  ...["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "pytorch_model.bin.index.json"].map((name) => ({
    title: `a pickle: ${name}`,
    files: { [name]: textFile("never read"), "config.json": textFile({}) },
    code: "checkpoint/pickle" as const,
    says: /run code.*never opened.*sandbox.*safe_serialization=True/s,
  })),
  {
    title: "an index of pickles",
    files: { [INDEX]: index({ a: "pytorch_model.bin" }), "pytorch_model.bin": textFile("never read") },
    code: "checkpoint/pickle",
    says: /pytorch_model\.bin/,
  },
  {
    title: "several files",
    files: { "one.safetensors": A, "two.safetensors": B },
    code: "checkpoint/index",
    says: /one\.safetensors, two\.safetensors/,
  },
  {
    title: "a numbered set and another file",
    files: { [FIRST]: A, [SECOND]: B, "three.safetensors": B },
    code: "checkpoint/index",
    says: /three/,
  },
  {
    title: "two numbered sets",
    files: { [FIRST]: A, "model-00002-of-00003.safetensors": B },
    code: "checkpoint/index",
    says: /how several weight files belong together/,
  },
  {
    title: "a numbered set with a gap",
    files: { "model-00001-of-00003.safetensors": A, "model-00003-of-00003.safetensors": B },
    code: "checkpoint/missing-file",
    says: /model-00002-of-00003\.safetensors/,
  },
  {
    title: "one file of a set",
    files: { [SECOND]: B },
    code: "checkpoint/missing-file",
    says: /model-00001-of-00002.*give the folder/s,
  },
  {
    title: "a shard with number zero",
    files: { "model-00000-of-00001.safetensors": B },
    code: "checkpoint/missing-file",
    says: /model-00001-of-00001/,
  },
  {
    title: "a shard that the index names and nobody has",
    files: { [FIRST]: A, [INDEX]: index({ a: FIRST, b: SECOND }) },
    code: "checkpoint/missing-file",
    says: /model-00002-of-00002\.safetensors/,
  },
  {
    title: "a tensor that is not in its shard",
    files: { ...SHARDED, [INDEX]: index({ a: FIRST, b: SECOND, c: SECOND }) },
    code: "checkpoint/index",
    says: /not in their files.*c in model-00002-of-00002/s,
    tensor: "c",
  },
  {
    title: "a tensor in another shard than the index says",
    files: { ...SHARDED, [FIRST]: simpleFile({ a: [1], c: [1] }), [INDEX]: index({ a: FIRST, b: SECOND, c: SECOND }) },
    code: "checkpoint/index",
    says: /wrong file.*model-00001-of-00002.*model-00002-of-00002/s,
    tensor: "c",
  },
  {
    title: "a tensor that the index does not name",
    files: { ...SHARDED, [SECOND]: simpleFile({ b: [1], c: [1] }) },
    code: "checkpoint/index",
    says: /does not name.*c in model-00002-of-00002/s,
    tensor: "c",
  },
  {
    title: "a tensor in two shards",
    files: { ...SHARDED, [SECOND]: simpleFile({ a: [1], b: [1] }) },
    code: "checkpoint/index",
    says: /two weight files.*model-00001-of-00002\.safetensors and model-00002-of-00002\.safetensors/s,
    tensor: "a",
  },
  {
    title: "a tensor in two shards without an index",
    files: { [FIRST]: A, [SECOND]: A },
    code: "checkpoint/index",
    says: /two weight files/,
    tensor: "a",
  },
  {
    title: "weights without tensors",
    files: { "model.safetensors": rawFile("{}") },
    code: "checkpoint/no-weights",
    says: /no tensors/,
  },
  ...outside.map((name) => ({
    title: `an index that names ${JSON.stringify(name)}`,
    files: { [INDEX]: index({ a: FIRST, b: name }), [FIRST]: A, [name]: B },
    code: "checkpoint/outside-folder" as const,
    says: /outside its own folder.*who made it/s,
  })),
  {
    title: "an index of other files",
    files: { [INDEX]: index({ a: "x.txt" }) },
    code: "checkpoint/index",
    says: /not a safetensors file.*x\.txt/s,
  },
  {
    title: "an index that is no JSON",
    files: { [INDEX]: textFile("{,}") },
    code: "checkpoint/index",
    says: /not valid JSON/,
  },
  {
    title: "an index that is no UTF-8",
    files: { [INDEX]: Uint8Array.of(0x7b, 0xff) },
    code: "checkpoint/index",
    says: /not UTF-8 text/,
  },
  {
    title: "an index that is a list",
    files: { [INDEX]: textFile([]) },
    code: "checkpoint/index",
    says: /no weight_map/,
  },
  {
    title: "an index without a map",
    files: { [INDEX]: textFile({}) },
    code: "checkpoint/index",
    says: /no weight_map/,
  },
  {
    title: "an index with a list for a map",
    files: { [INDEX]: index([]) },
    code: "checkpoint/index",
    says: /no weight_map/,
  },
  {
    title: "an index with an empty map",
    files: { [INDEX]: index({}) },
    code: "checkpoint/index",
    says: /names no tensors/,
  },
  {
    title: "an index with a number",
    files: { [INDEX]: index({ a: 1 }) },
    code: "checkpoint/index",
    says: /no file name/,
    tensor: "a",
  },
  {
    title: "a config that is a list",
    files: { "model.safetensors": A, "config.json": textFile([]) },
    code: "checkpoint/config",
    says: /object/,
  },
  {
    title: "a config that is null",
    files: { "model.safetensors": A, "config.json": textFile("null") },
    code: "checkpoint/config",
    says: /object/,
  },
  {
    title: "a config that is empty",
    files: { "model.safetensors": A, "config.json": textFile("") },
    code: "checkpoint/config",
    says: /JSON/,
  },
  {
    title: "a config that is too large",
    files: { "model.safetensors": A, "config.json": textFile(`{"a":"${"x".repeat(5e6)}"}`) },
    code: "checkpoint/config",
    says: /at most 4194304 bytes/,
  },
  {
    title: "a config that is too deep",
    files: { "model.safetensors": A, "config.json": textFile(`{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}`) },
    code: "checkpoint/config",
    says: /nested too deeply/,
  },
  {
    title: "a damaged file",
    files: { "model.safetensors": A.slice(0, -1) },
    code: "safetensors/layout",
    says: /ends before its data/,
    tensor: "a",
  },
  {
    title: "a damaged shard",
    files: { ...SHARDED, [SECOND]: textFile("version https://git-lfs.github.com/spec/v1\noid x") },
    code: "safetensors/header",
    says: /model-00002-of-00002.*git lfs pull/s,
  },
];

describe("no checkpoint is made of", () => {
  for (const { title, files, code, says, tensor } of REFUSALS) {
    it(title, async () => {
      const error = await rejects(code, () => open(files));
      assert.equal(error.kind, "request");
      assert.match(error.message, says);
      assert.equal(error.where.tensor, tensor);
      assert.ok(error.where.file !== undefined, "an error says where");
    });
  }
});

describe("a checkpoint that cannot be opened", () => {
  it("closes the files that were already open", async () => {
    const folder = memoryFolder({ ...SHARDED, [SECOND]: simpleFile({ c: [1] }) });
    let opened = 0;
    const counting = {
      ...folder,
      async open(name: string) {
        const source = await folder.open(name);
        opened++;
        return Object.assign(source, { close: () => void opened-- });
      },
    };
    await rejects("checkpoint/index", () => openCheckpoint("x", counting));
    assert.equal(opened, 0);
    await rejects("safetensors/header", () =>
      openCheckpoint("x", {
        ...counting,
        open: (name) => (name === SECOND ? memoryFolder({ a: textFile("") }).open("a") : counting.open(name)),
      }),
    );
    assert.equal(opened, 0);
  });

  it("does not let a name write to the terminal", async () => {
    const error = await rejects("checkpoint/outside-folder", () =>
      open({ [INDEX]: index({ a: "../\u001b[2J\u202e" }) }),
    );
    for (const character of "\u001b\u202e") assert.ok(!error.message.includes(character));
  });
});
