import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { merge as mergeInMemory } from "../../browser.js";
import { merge } from "../../node.js";

const zoo = fileURLToPath(new URL("../../../../zoo/", import.meta.url));
const filesOf = (model: string) => ({
  "model.safetensors": new Blob([readFileSync(path.join(zoo, model, "model.safetensors"))]),
  "config.json": new Uint8Array(readFileSync(path.join(zoo, model, "config.json"))),
});

describe("models in memory", () => {
  const rules = { method: "ties", exclude: ["classifier.*"], parameters: { density: 0.3 } };

  it("merge to the bytes that files merge to", async () => {
    const names = ["base", "mnist", "latin"];
    const models = Object.fromEntries(names.map((name) => [name, filesOf(`vision/${name}`)]));
    const { files } = await mergeInMemory({ ...rules, base: "base", models: ["mnist", "latin"] }, models);
    const out = mkdtempSync(path.join(os.tmpdir(), "mergewright-"));
    try {
      const at = (name: string) => path.join(zoo, "vision", name);
      await merge({ ...rules, base: at("base"), models: [at("mnist"), at("latin")] }, { out });
      const fromFiles = readFileSync(path.join(out, "model.safetensors"));
      assert.ok(fromFiles.equals(new Uint8Array(await files.get("model.safetensors")!.arrayBuffer())));
    } finally {
      rmSync(out, { recursive: true });
    }
    assert.deepEqual([...files.keys()].sort(), ["README.md", "config.json", "mergewright.json", "model.safetensors"]);
  });

  it("are asked for by a name that exists", async () => {
    await assert.rejects(
      mergeInMemory({ method: "average", models: ["a"] }, { b: {} }),
      /no model of this name[\s\S]*one of b/,
    );
  });
});
