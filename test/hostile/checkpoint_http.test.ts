/** Checkpoints on a server that redirects, refuses and changes. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { httpFolder } from "../../src/models/http_folder.js";
import type { Checkpoint } from "../../src/models/model.js";
import { simpleFile, textFile } from "../contracts/checkpoint_files.js";
import { startHub, type Hub } from "../contracts/hub.js";
import { rejects } from "../contracts/source.js";

const A = simpleFile({ a: [1] });
const B = simpleFile({ b: [2] });
const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";
const INDEX = "model.safetensors.index.json";

describe("a checkpoint on a server", () => {
  let hub: Hub;

  before(async () => {
    hub = await startHub({});
  });

  beforeEach(() => {
    hub.files.clear();
    hub.requests.length = 0;
    hub.faults.token = null;
    hub.faults.ignoreRanges = false;
  });

  after(() => hub.close());

  function put(files: Readonly<Record<string, Uint8Array>>): void {
    for (const [name, content] of Object.entries(files)) hub.files.set(name, content);
  }

  function open(address = hub.url, headers: Record<string, string> = {}): Promise<Checkpoint> {
    return openCheckpoint(address, httpFolder(address, { headers, backoffMs: 1, attempts: 2 }));
  }

  const sharded = { [FIRST]: A, [SECOND]: B, [INDEX]: textFile({ weight_map: { a: FIRST, b: SECOND } }) };

  it("is read in place: headers and small files, not the data", async () => {
    const large = simpleFile({ a: Array.from({ length: 1_000_000 }, () => 1) });
    put({
      "model.safetensors": large,
      "config.json": textFile({ model_type: "llama" }),
      "tokenizer.json": textFile("tokens"),
    });
    const checkpoint = await open();
    assert.equal(checkpoint.name, "name");
    assert.equal(checkpoint.location, hub.url);
    assert.deepEqual(checkpoint.config, { model_type: "llama" });
    assert.deepEqual([...checkpoint.tensors.keys()], ["a"]);
    assert.deepEqual(
      checkpoint.sideFiles.map(({ name, size }) => [name, size]),
      [["tokenizer.json", 6]],
    );
    assert.deepEqual(await checkpoint.sideFiles[0]!.read(), textFile("tokens"));
    const ranges = hub.requests
      .filter(({ server, name }) => server === "store" && name === "model.safetensors")
      .map(({ range }) => range);
    assert.deepEqual(ranges, ["bytes=0-0", "bytes=0-0", "bytes=0-65535"]);
    const { offset, length } = checkpoint.tensors.get("a")!;
    const part = new Uint8Array(8);
    await checkpoint.shards[0]!.source.read(offset + length - 8, part);
    assert.deepEqual(new Float32Array(part.buffer), Float32Array.of(1, 1));
    await checkpoint.close();
  });

  it("is several files and an index", async () => {
    put(sharded);
    const checkpoint = await open(`${hub.url}/`);
    assert.deepEqual(
      checkpoint.shards.map(({ name }) => name),
      [FIRST, SECOND],
    );
    assert.match(checkpoint.notes[0]!, /does not list its files/);
    assert.deepEqual(checkpoint.shards[0]!.source.address, { kind: "http", url: `${hub.url}/${FIRST}`, headers: {} });
    await checkpoint.close();
  });

  it("is one file", async () => {
    put({ "style one.safetensors": A });
    const checkpoint = await open(`${hub.url}/style%20one.safetensors`);
    assert.deepEqual([...checkpoint.tensors.keys()], ["a"]);
    assert.equal(hub.requests.filter(({ name }) => name !== "style one.safetensors").length, 0);
    await checkpoint.close();
  });

  it("misses a shard", async () => {
    put({ ...sharded });
    hub.files.delete(SECOND);
    assert.match((await rejects("checkpoint/missing-file", () => open())).message, /model-00002-of-00002/);
  });

  it("names nothing outside its folder", async () => {
    put({ [INDEX]: textFile({ weight_map: { a: "../../../other/model.safetensors" } }) });
    await rejects("checkpoint/outside-folder", () => open());
    assert.ok(hub.requests.every(({ name }) => !name.includes("other")));
  });

  it("is an adapter, a pickle, or nothing", async () => {
    await rejects("checkpoint/no-weights", () => open());
    put({ "pytorch_model.bin": textFile("never read") });
    await rejects("checkpoint/pickle", () => open());
    put({ "adapter_model.safetensors": A });
    assert.match((await rejects("checkpoint/no-weights", () => open())).message, /adapter/);
  });

  it("needs a token", async () => {
    put({ "model.safetensors": A });
    hub.faults.token = "Bearer good";
    const error = await rejects("io/http", () => open());
    assert.equal(error.kind, "request");
    assert.match(error.message, /token/);
    const checkpoint = await open(hub.url, { authorization: "Bearer good" });
    assert.equal(checkpoint.tensors.size, 1);
    await checkpoint.close();
  });

  it("cannot be read in place without ranges, and says so", async () => {
    put({ "model.safetensors": A });
    hub.faults.ignoreRanges = true;
    assert.match((await rejects("io/http", () => open())).message, /download the file/);
  });

  it("changes while it is being read", async () => {
    put({ "model.safetensors": A });
    const checkpoint = await open();
    put({ "model.safetensors": simpleFile({ a: [2] }) });
    const { offset } = checkpoint.tensors.get("a")!;
    await rejects("input/changed", () => checkpoint.shards[0]!.source.read(offset, new Uint8Array(4)));
    await checkpoint.close();
  });

  it("is no address", async () => {
    await rejects("io/http", () => open("not an address"));
    await rejects("io/http", () => open("file:///etc"));
  });
});
