/** What an artifact's readers say to damage, to another base and to files that lie; and what a killed run leaves. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { inspectArtifact } from "../../src/artifacts/inspect.js";
import { MANIFEST_FILE } from "../../src/artifacts/manifest.js";
import { MergewrightError } from "../../src/errors.js";
import { mergeModels } from "../../src/merge.js";
import { xxh64 } from "../../src/numbers/checksum.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { filesOf, interruptedAfter, Interrupted } from "../faults/support.js";
import { Folder, readTensors, recipeOf } from "../laws/support/family.js";
import { open, write, writeFamily } from "./support.js";
import type { Family } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

const RECORD = "mergewright.json";
let family: Family;
let artifact: string;

before(async () => {
  family = writeFamily(folder, "damage", { models: 2 });
  artifact = folder.fresh();
  const recipe = recipeOf({ method: "emr", ...family, exclude: ["head"], heads: "separate" });
  await mergeModels(recipe, nodePlatform, { out: artifact, threads: 1 });
});

/** A copy of the artifact, changed. */
function changed(change: (at: (name: string) => string) => void): string {
  const copy = folder.fresh();
  fs.cpSync(artifact, copy, { recursive: true });
  change((name) => path.join(copy, name));
  return copy;
}

function edit(file: string, change: (text: string) => string): void {
  fs.writeFileSync(file, change(fs.readFileSync(file, "utf8")));
}

/** Also puts the checksum of the manifest right, as someone would who means it. */
function forge(at: (name: string) => string, change: (text: string) => string): void {
  edit(at(MANIFEST_FILE), change);
  const record = JSON.parse(fs.readFileSync(at(RECORD), "utf8")) as {
    sideFiles: { file: string; checksum?: string }[];
  };
  record.sideFiles.find(({ file }) => file === MANIFEST_FILE)!.checksum = xxh64(fs.readFileSync(at(MANIFEST_FILE)));
  fs.writeFileSync(at(RECORD), JSON.stringify(record));
}

function flip(file: string, fromEnd: number): void {
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - fromEnd]! ^= 1;
  fs.writeFileSync(file, bytes);
}

async function refuses(label: string, code: string, message: RegExp): Promise<void> {
  const out = folder.fresh();
  await assert.rejects(write(label, { task: "damage-task1", out }), (error: unknown) => {
    assert.ok(error instanceof MergewrightError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
  assert.ok(!fs.existsSync(out), "nothing is written");
}

describe("an artifact's manifest", () => {
  it("of another version is refused, with both versions", async () => {
    const copy = changed((at) => edit(at(MANIFEST_FILE), (text) => text.replace('"version": 1', '"version": 3')));
    await refuses(copy, "artifact/manifest", /version 1 or 2[^]*version 3/);
    await assert.rejects(inspectArtifact(copy, nodePlatform), { code: "artifact/manifest" });
  });

  it("that is no JSON, no object, or lacks a key is refused, naming the key", async () => {
    for (const [change, said] of [
      [() => "{", /cannot be read/],
      [() => "[]", /is damaged/],
      [() => "null", /is damaged/],
      [(text: string) => text.replace('"scale"', '"skale"'), /tasks\.0\.scale/],
      [(text: string) => text.replace('"masks/damage-task0"', '"../damage-task0/x"'), /tasks\.0\.mask/],
      [(text: string) => text.replace('"masks/damage-task0"', '"masks/.."'), /tasks\.0\.mask/],
      [(text: string) => text.replace('"name": "damage-task0"', '"name": "damage-task1"'), /different names/],
      [(text: string) => text.replace(/"scale": [\d.]+/, '"scale": 1e999'), /tasks\.0\.scale/],
    ] as const) {
      await refuses(
        changed((at) => edit(at(MANIFEST_FILE), change)),
        "artifact/manifest",
        said,
      );
    }
  });

  it("with a digit changed is not as it was written", async () => {
    const copy = changed((at) =>
      edit(at(MANIFEST_FILE), (text) =>
        text.replace(/"scale": 0\.(\d)/, (_, digit) => `"scale": 0.${9 - Number(digit)}`),
      ),
    );
    await refuses(copy, "artifact/manifest", /not as it was written/);
    const { checks } = await verifyOutput(copy, nodePlatform, { threads: 1 });
    assert.deepEqual(
      checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ["side files"],
    );
  });

  it("that names a folder that is not there, or swaps the parts, is refused", async () => {
    const gone = changed((at) => forge(at, (text) => text.replaceAll("masks/damage-task1", "masks/damage-task9")));
    await refuses(gone, "checkpoint/missing-file", /there is no such checkpoint|missing/);
    const swapped = changed((at) => forge(at, (text) => text.replaceAll("masks/damage-task1", "vectors/shared")));
    await refuses(swapped, "artifact/damaged", /U8 \[33751\][^]*BF16/);
    const headless = changed((at) =>
      forge(at, (text) => text.replaceAll('"shared": "vectors/shared"', '"shared": "masks/damage-task0"')),
    );
    await refuses(headless, "artifact/damaged", /floating-point vector[^]*U8/);
  });

  it("needs the record beside it", async () => {
    await refuses(
      changed((at) => fs.rmSync(at(RECORD))),
      "checkpoint/missing-file",
      /mergewright\.json/,
    );
    const unrecorded = changed((at) =>
      edit(at(RECORD), (text) => text.replaceAll("masks/damage-task1/layers.0.bias", "masks/x/y")),
    );
    await refuses(unrecorded, "artifact/damaged", /a checksum in mergewright\.json/);
  });
});

describe("an artifact's parts", () => {
  for (const file of ["vectors/shared", "masks/damage-task1"].map((name) => `${name}/model.safetensors`)) {
    it(`${file}: a bit, a missing end and a changed header are found`, async () => {
      const flipped = changed((at) => flip(at(file), 5));
      await refuses(flipped, "artifact/damaged", /layers\.\d\.\w+[^]*checksum \w+[^]*checksum \w+/);
      const { ok, checks } = await verifyOutput(flipped, nodePlatform, { threads: 1 });
      assert.ok(!ok && checks.some((check) => check.name === "checksums" && !check.ok));
      await refuses(
        changed((at) => fs.truncateSync(at(file), fs.statSync(at(file)).size - 3)),
        "safetensors/layout",
        /model\.safetensors/,
      );
      await refuses(
        changed((at) => {
          const bytes = fs.readFileSync(at(file));
          bytes.write("layers.0.bjas", bytes.indexOf("layers.0.bias"));
          fs.writeFileSync(at(file), bytes);
        }),
        "artifact/damaged",
        /not as it was written/,
      );
      await refuses(
        changed((at) => fs.rmSync(at(file))),
        "checkpoint/no-weights",
        /no weights/,
      );
    });
  }

  it("are checked tensor by tensor when one is read, and no more", async () => {
    const copy = changed((at) => flip(at("vectors/shared/model.safetensors"), 1));
    const opened = await open(copy);
    const tensors = await readTensors(`${copy}/vectors/shared`);
    const [last] = [...tensors.keys()].reverse();
    await assert.rejects(opened.readTensor("damage-task0", last!), { code: "artifact/damaged" });
    const [other] = tensors.keys();
    assert.equal((await opened.readTensor("damage-task0", other!)).name, other);
    await assert.rejects(opened.readTensor("damage-task0", "no.such"), { code: "plan/missing-tensor" });
    await assert.rejects(opened.readTensor("nobody", other!), {
      code: "artifact/task",
      message: /damage-task0, damage-task1/,
    });
    await opened.close();
  });
});

describe("an artifact's base", () => {
  it("is looked for where it was, or where it is said to be", async () => {
    const moved = folder.at("damage-moved");
    fs.renameSync(family.base, moved);
    try {
      await refuses(artifact, "artifact/base", /cannot be opened[^]*damage-base[^]*--base/);
      const out = folder.fresh();
      await write(artifact, { task: "damage-task0", out, base: moved });
      assert.ok(fs.existsSync(path.join(out, "model.safetensors")));
      assert.equal((await inspectArtifact(artifact, nodePlatform)).tasks.length, 2);
    } finally {
      fs.renameSync(moved, family.base);
    }
  });

  it("that is another model of the same shape is refused at once, and one with a single other bit before anything is written", async () => {
    const early = /not the base that the artifact was made over/;
    await assert.rejects(open(artifact, { base: family.models[0]! }), { code: "artifact/base", message: early });
    const nearly = folder.at("damage-nearly");
    fs.cpSync(family.base, nearly, { recursive: true });
    const file = path.join(nearly, "model.safetensors");
    const bytes = fs.readFileSync(file);
    const header = 8 + Number(bytes.readBigUInt64LE(0));
    // The first tensor is too large to be looked at early.
    bytes[header + 11]! ^= 1;
    fs.writeFileSync(file, bytes);
    const out = folder.fresh();
    const made = write(artifact, { task: "damage-task0", out, base: nearly });
    await assert.rejects(made, { code: "artifact/base", message: /layers\.0\.weight/ });
    assert.ok(!fs.existsSync(out));
  });

  it("without a tensor, or with one of another shape, is refused by its name", async () => {
    const tensors = [...(await readTensors(family.base)).values()];
    const less = folder.write(
      "damage-less",
      tensors.filter(({ name }) => name !== "layers.1.weight"),
    );
    await assert.rejects(open(artifact, { base: less }), {
      code: "artifact/base",
      message: /layers\.1\.weight[^]*none/,
    });
    const flat = tensors.map((one) => (one.name === "layers.1.weight" ? { ...one, shape: [64] } : one));
    const other = folder.write("damage-flat", flat);
    await assert.rejects(open(artifact, { base: other }), { code: "artifact/damaged", message: /\[64\][^]*\[8, 8\]/ });
  });
});

describe("a task", () => {
  it("that there is not is refused with the names of those that there are", async () => {
    const made = write(artifact, { task: "nobody", out: folder.fresh() });
    await assert.rejects(made, { code: "artifact/task", message: /one of damage-task0, damage-task1[^]*nobody/ });
    await assert.rejects(openModel(artifact), {
      code: "artifact/task",
      message: /#TASK[^]*damage-task0, damage-task1/,
    });
    await assert.rejects(openModel(`${artifact}#nobody`), { code: "artifact/task" });
  });

  it("is not written into the artifact or the base, not even by force", async () => {
    for (const out of [artifact, path.join(artifact, "masks"), family.base]) {
      const made = write(artifact, { task: "damage-task0", out, force: true });
      await assert.rejects(made, { code: "output/inside-input" });
    }
    assert.ok((await verifyOutput(artifact, nodePlatform, { threads: 1 })).ok);
  });
});

describe("an interrupted run", () => {
  const recipe = () => recipeOf({ method: "emr", ...family });

  it("of emr continues to the same bytes, wherever it stopped", async () => {
    const whole = folder.fresh();
    await mergeModels(recipe(), nodePlatform, { out: whole, threads: 1 });
    for (const blocks of [0, 1, 3, 4]) {
      const out = folder.fresh();
      const stopped = mergeModels(recipe(), interruptedAfter({ blocks }), { out, threads: 1 });
      await assert.rejects(stopped, Interrupted);
      const { result } = await mergeModels(recipe(), nodePlatform, { out, threads: 2 });
      assert.ok(result.resumed);
      assert.deepEqual(filesOf(out), filesOf(whole));
    }
  });

  it("writes again what a power failure took from a mask", async () => {
    const whole = folder.fresh();
    await mergeModels(recipe(), nodePlatform, { out: whole, threads: 1 });
    const out = folder.fresh();
    await assert.rejects(mergeModels(recipe(), interruptedAfter({ blocks: 3 }), { out, threads: 1 }), Interrupted);
    const partial = path.join(path.dirname(out), `.${path.basename(out)}.mergewright-partial`);
    const mask = path.join(partial, "masks/damage-task1/model.safetensors");
    const bytes = fs.readFileSync(mask);
    bytes.fill(0, 8 + Number(bytes.readBigUInt64LE(0)));
    fs.writeFileSync(mask, bytes);
    await mergeModels(recipe(), nodePlatform, { out, threads: 1 });
    assert.deepEqual(filesOf(out), filesOf(whole));
  });

  it("of materialize continues to the same bytes", async () => {
    const [whole, out] = [folder.fresh(), folder.fresh()];
    await write(artifact, { task: "damage-task0", out: whole });
    const { materialize } = await import("../../src/artifacts/materialize.js");
    const stopped = materialize(artifact, interruptedAfter({ blocks: 1 }), { task: "damage-task0", out, threads: 1 });
    await assert.rejects(stopped, Interrupted);
    const { result } = await write(artifact, { task: "damage-task0", out });
    assert.ok(result.resumed);
    assert.deepEqual(filesOf(out), filesOf(whole));
  });

  it("that was killed continues to the same bytes", async () => {
    const large = writeFamily(folder, "killed", { models: 3, seed: 9 });
    const script = fileURLToPath(new URL("../faults/kill.js", import.meta.url));
    const start = (out: string) =>
      spawn(process.execPath, [script, JSON.stringify({ method: "emr", ...large }), out, "2"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
    const whole = folder.fresh();
    const first = start(whole);
    await once(first.stdout, "data");
    const began = performance.now();
    await once(first, "exit");
    const duration = performance.now() - began;
    const out = folder.fresh();
    let kills = 0;
    for (const share of [0.1, 0.5, 0.3]) {
      if (fs.existsSync(out)) break;
      const child = start(out);
      const ended = once(child, "exit");
      await once(child.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, share * duration));
      child.kill("SIGKILL");
      const [, signal] = (await ended) as [number | null, string | null];
      if (signal === "SIGKILL") kills++;
    }
    assert.ok(kills > 0);
    if (!fs.existsSync(out)) await once(start(out), "exit");
    const [found, expected] = [filesOf(out), filesOf(whole)];
    assert.deepEqual([...found.keys()], [...expected.keys()]);
    for (const [name, bytes] of found) assert.ok(bytes === expected.get(name), name);
  });
});
