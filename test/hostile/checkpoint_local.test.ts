/** Checkpoints on the disk: links, the Hub's cache, paths that are something else, and the zoo. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { openFolder } from "../../src/platform/node/files.js";
import { simpleFile, textFile } from "../contracts/checkpoint_files.js";
import { rejects } from "../contracts/source.js";

const ZOO = fileURLToPath(new URL("../../../zoo", import.meta.url));
const A = simpleFile({ a: [1] });
const REVISION = "0123456789abcdef0123456789abcdef01234567";

let root: string;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "mergewright-checkpoint-")));
});

afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, content: Uint8Array | string = A): string {
  const whole = join(root, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, content);
  return whole;
}

function link(path: string, target: string): void {
  const whole = join(root, path);
  mkdirSync(dirname(whole), { recursive: true });
  symlinkSync(target, whole);
}

const open = (path: string) => openCheckpoint(path, openFolder(path));

/** The layout of a download: the snapshot holds links to the blobs. */
function hubCache(): string {
  const repository = "models--org--small";
  put(`${repository}/blobs/aaaa`);
  put(`${repository}/blobs/bbbb`, textFile({ model_type: "llama" }));
  put(`${repository}/refs/main`, REVISION);
  link(`${repository}/snapshots/${REVISION}/model.safetensors`, "../../blobs/aaaa");
  link(`${repository}/snapshots/${REVISION}/config.json`, "../../blobs/bbbb");
  return join(root, repository);
}

describe("a checkpoint on the disk", () => {
  it("is a folder", async () => {
    put("x/model.safetensors");
    put("x/config.json", "{}");
    put("x/tokenizer.json", "tokens");
    put("x/additional_chat_templates/rag.jinja", "{{ documents }}");
    put("x/onnx/tokenizer.json", "not this one");
    const checkpoint = await open(join(root, "x"));
    assert.equal(checkpoint.location, join(root, "x"));
    assert.equal(checkpoint.name, "x");
    assert.deepEqual([...checkpoint.tensors.keys()], ["a"]);
    const { source } = checkpoint.shards[0]!;
    assert.deepEqual(source.address, { kind: "file", path: join(root, "x/model.safetensors") });
    assert.equal(source.label, join(root, "x/model.safetensors"));
    assert.deepEqual(
      checkpoint.sideFiles.map(({ name }) => name),
      ["additional_chat_templates/rag.jinja", "tokenizer.json"],
    );
    for (const [at, text] of ["{{ documents }}", "tokens"].entries()) {
      assert.equal(new TextDecoder().decode(await checkpoint.sideFiles[at]!.read()), text);
    }
    await checkpoint.close();
  });

  it("is one file, whatever lies beside it", async () => {
    put("x/style.safetensors");
    put("x/other.safetensors", simpleFile({ b: [1] }));
    put("x/config.json", "[]");
    const checkpoint = await open(join(root, "x/style.safetensors"));
    assert.equal(checkpoint.name, "style");
    assert.equal(checkpoint.location, join(root, "x/style.safetensors"));
    assert.deepEqual([...checkpoint.tensors.keys()], ["a"]);
    assert.equal(checkpoint.config, null);
    await checkpoint.close();
  });

  it("is a link to a folder, found at its real place", async () => {
    put("x/model.safetensors");
    link("y", "x");
    const checkpoint = await open(join(root, "y"));
    assert.equal(checkpoint.location, join(root, "x"));
    assert.equal(checkpoint.name, "y");
    await checkpoint.close();
  });

  for (const [title, below] of [
    ["its snapshot", `snapshots/${REVISION}`],
    ["its folder", ""],
  ] as const) {
    it(`is a download in the Hub's cache, given by ${title}`, async () => {
      const checkpoint = await open(join(hubCache(), below));
      assert.equal(checkpoint.name, "small");
      assert.equal(checkpoint.location, join(root, "models--org--small/snapshots", REVISION));
      assert.deepEqual(checkpoint.config, { model_type: "llama" });
      assert.deepEqual(checkpoint.shards[0]!.source.address, {
        kind: "file",
        path: join(root, "models--org--small/blobs/aaaa"),
      });
      assert.deepEqual(checkpoint.notes, below === "" ? [`taken from the Hub cache, snapshot ${REVISION}`] : []);
      await checkpoint.close();
    });
  }

  it("is the only snapshot of a cache without refs/main", async () => {
    const path = hubCache();
    unlinkSync(join(path, "refs/main"));
    await (await open(path)).close();
    put("models--org--small/snapshots/other/model.safetensors");
    const error = await rejects("checkpoint/missing-file", () => open(path));
    assert.match(error.message, /0123456789abcdef.*other.*give the path of one snapshot/s);
  });

  for (const revision of ["../../../elsewhere", "/etc", "gone", "", "."]) {
    it(`is not found where refs/main says ${JSON.stringify(revision)}`, async () => {
      const path = hubCache();
      put("elsewhere/model.safetensors");
      put("models--org--small/refs/main", revision);
      await rejects("checkpoint/missing-file", () => open(path));
    });
  }

  it("says that a link leads nowhere", async () => {
    const path = hubCache();
    unlinkSync(join(path, "blobs/aaaa"));
    const error = await rejects("checkpoint/missing-file", () => open(path));
    assert.match(error.message, /model\.safetensors.*link leads nowhere/s);
  });

  it("says that a shard is a link that leads nowhere, or to itself", async () => {
    for (const target of ["nowhere", "model-00001-of-00001.safetensors"]) {
      rmSync(join(root, "x"), { recursive: true, force: true });
      put("x/model.safetensors.index.json", textFile({ weight_map: { a: "model-00001-of-00001.safetensors" } }));
      link("x/model-00001-of-00001.safetensors", target);
      const error = await rejects("checkpoint/missing-file", () => open(join(root, "x")));
      assert.match(error.message, /leads nowhere/);
    }
  });

  it("is not a pipe that would never answer", async () => {
    put("x/config.json", "{}");
    execFileSync("mkfifo", [join(root, "x/model.safetensors")]);
    await rejects("checkpoint/no-weights", () => open(join(root, "x")));
    await rejects("checkpoint/no-weights", () => open(put("y/empty.txt", "")));
  });

  it("is not a pickle or another file, even when it is given by name", async () => {
    await rejects("checkpoint/pickle", () => open(put("pytorch_model.bin")));
    await rejects("checkpoint/no-weights", () => open(put("notes.txt")));
    assert.match((await rejects("checkpoint/no-weights", () => open(put("x.gguf")))).message, /GGUF/);
    assert.match(
      (await rejects("checkpoint/no-weights", () => open(put("adapter_model.safetensors")))).message,
      /adapter/,
    );
  });

  it("that is not there may be a repository of the Hub", async () => {
    const error = await rejects("checkpoint/missing-file", () => open("organisation/model-7b"));
    assert.match(error.advice!, /hf download organisation\/model-7b/);
    assert.doesNotMatch((await rejects("checkpoint/missing-file", () => open(join(root, "a/b/c")))).message, /hf/);
    put("file");
    await rejects("checkpoint/missing-file", () => open(join(root, "file/below")));
  });

  it("opens nothing outside its folder", async () => {
    put("x/model.safetensors");
    put("secret.safetensors");
    const folder = openFolder(join(root, "x"));
    for (const name of [
      "../secret.safetensors",
      join(root, "secret.safetensors"),
      "..",
      "sub/x",
      "additional_chat_templates/../x",
    ]) {
      await rejects("checkpoint/outside-folder", () => folder.open(name));
      await rejects("checkpoint/outside-folder", () => folder.readWhole(name, 100));
    }
    await rejects("checkpoint/missing-file", () => folder.open("nothing"));
  });
});

describe("the zoo", () => {
  it("has a model in four shards", async () => {
    const checkpoint = await open(join(ZOO, "language/base"));
    assert.equal(checkpoint.shards.length, 4);
    assert.equal(checkpoint.tensors.size, 56);
    assert.equal(checkpoint.config!["model_type"], "llama");
    assert.deepEqual(checkpoint.notes, []);
    assert.deepEqual(
      checkpoint.sideFiles.map(({ name }) => name),
      ["generation_config.json", "tokenizer.json", "tokenizer_config.json"],
    );
    const entries = [...checkpoint.tensors.values()].reduce((sum, { length }) => sum + length / 2, 0);
    assert.equal(entries, 3_148_224);
    await checkpoint.close();
  });

  it("has the same model in one file", async () => {
    const [single, sharded] = [await open(join(ZOO, "language/german")), await open(join(ZOO, "language/base"))];
    assert.deepEqual(new Set(single.tensors.keys()), new Set(sharded.tensors.keys()));
    await single.close();
    await sharded.close();
  });

  it("has a vision model with its data beside it", async () => {
    const checkpoint = await open(join(ZOO, "vision/mnist"));
    assert.equal(checkpoint.tensors.size, 104);
    assert.deepEqual(checkpoint.notes, ["not part of the checkpoint, left alone: data.safetensors"]);
    await checkpoint.close();
  });
});
