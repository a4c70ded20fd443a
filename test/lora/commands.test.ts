/** The verbs and the library's functions over files. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { extractAdapter, mergeAdapters } from "../../src/node.js";
import { openAdapterAt } from "../../src/platform/node/adapters.js";
import { mergewright, root } from "../cli/support.js";
import { distance, pathsOf, sumOf, updateOf } from "./support.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "mergewright-"));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, name);
const lora = (name: string) => path.join(root, "zoo/language/lora", name);

describe("mergewright adapter merge", () => {
  it("writes the weighted sum, which reads back as it, with a card and what was done", async () => {
    const flags = ["--weights", "0.5,-0.8", "-o", at("sum"), "--json"];
    const { code, out } = await mergewright("adapter", "merge", lora("french"), lora("german"), ...flags);
    assert.equal(code, 0);
    const report = JSON.parse(out) as { method: string; error: number; modules: { rank: number }[] };
    assert.deepEqual([report.method, report.error, report.modules.length], ["cat", 0, 42]);
    const adapters = [await openAdapterAt(lora("french")), await openAdapterAt(lora("german"))];
    const merged = await openAdapterAt(at("sum"));
    for (const module of pathsOf(adapters)) {
      assert.ok(distance(await updateOf(merged, module), await sumOf(adapters, [0.5, -0.8], module)) < 1e-6);
    }
    for (const one of [...adapters, merged]) await one.close();
    assert.match(readFileSync(at("sum/README.md"), "utf8"), /merge of the adapters french, german with cat/);
    const origin = JSON.parse(readFileSync(at("sum/mergewright.json"), "utf8")) as { details: { recipe: string } };
    assert.match(origin.details.recipe, /weight: -0\.8/);
  });

  it("runs a recipe, a flag of which wins, and gives the same bytes with any number of threads", async () => {
    const models = `models: [${lora("french")}, {model: ${lora("c")}, weight: 0.8}]`;
    writeFileSync(
      at("r.yaml"),
      `method: ties\n${models}\nparameters: {density: 0.3}\nadapter: {rank: 4, space: core}\n`,
    );
    const weights = (name: string) => readFileSync(at(`${name}/adapter_model.safetensors`));
    for (const threads of ["1", "3"]) {
      const flags = ["--rank", "6", "--threads", threads, "-o", at(`t${threads}`), "--json"];
      const { code, out } = await mergewright("adapter", "merge", at("r.yaml"), ...flags);
      assert.equal(code, 0);
      const { modules, space } = JSON.parse(out) as { modules: { rank: number }[]; space: string };
      assert.deepEqual([space, Math.max(...modules.map(({ rank }) => rank))], ["core", 6]);
    }
    assert.ok(weights("t1").equals(weights("t3")));
    await mergeAdapters(at("r.yaml"), { out: at("library"), threads: 1 });
    assert.ok(!weights("library").equals(weights("t1")));
    const models2 = [lora("french"), { model: lora("c"), weight: 0.8 }];
    const asked = { method: "ties", models: models2, parameters: { density: 0.3 }, adapter: { rank: 6 } };
    await mergeAdapters(asked, { out: at("object"), threads: 1 });
    assert.ok(weights("object").equals(weights("t1")));
  });

  it("gives the same bytes with any number of threads in every space, and under the dialect peft", async () => {
    const models = ["french", "c", "python"].map(lora);
    const ways = [
      { method: "ties", parameters: { density: 0.3 }, adapter: { space: "full", rank: 4 } },
      { method: "ties", parameters: { density: 0.3 }, adapter: { space: "knots", rank: 4 } },
      { method: "ties_svd", dialect: "peft", adapter: { rank: 4 } },
      { method: "svd", dialect: "peft", adapter: { rank: 4 } },
    ] as const;
    for (const [number, way] of ways.entries()) {
      const made = [];
      for (const threads of [1, 3]) {
        const out = at(`way ${number} ${threads}`);
        const asked = { ...way, models, exclude: ["*.layers.[1-5].*"] };
        const { modules } = await mergeAdapters(asked, { out, threads });
        assert.equal(modules.length, 7);
        made.push(readFileSync(`${out}/adapter_model.safetensors`));
      }
      assert.ok(made[0]!.equals(made[1]!), way.method);
    }
  });

  it("tells what it cut away, and PEFT's distance from the sum", async () => {
    const all = [lora("french"), lora("german")];
    const cut = await mergewright("adapter", "merge", ...all, "--method", "svd", "--rank", "2", "-o", at("cut"));
    assert.match(cut.out, /cut away\s+\d+\.\d %[^]*and 30 modules with less/);
    const peft = await mergewright(
      "adapter",
      "merge",
      ...all,
      "--method",
      "linear",
      "--dialect",
      "peft",
      "-o",
      at("peft"),
    );
    assert.match(peft.out, /from the sum\s+\d+\.\d % away[^]*1 warning:[^]*PEFT's linear/);
  });

  it("names what is wrong and writes nothing", async () => {
    const wrong = await mergewright("adapter", "merge", lora("french"), at("nowhere"), "-o", at("none"));
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /nowhere/);
    const none = await mergewright("adapter", "merge", "-o", at("none"));
    assert.match(none.err, /mergewright adapter merge --help/);
    const space = await mergewright("adapter", "merge", lora("c"), "--space", "cor", "-o", at("none"));
    assert.match(space.err, /core, full, knots/);
  });
});

describe("mergewright adapter extract", () => {
  it("writes a LoRA of a fine-tune, the same with any number of threads", async () => {
    const [model, base] = [path.join(root, "zoo/language/german"), path.join(root, "zoo/language/base")];
    const flags = ["--base", base, "--rank", "4", "--rest", "skip", "-o", at("x1"), "--threads", "2"];
    const { code, out } = await mergewright("adapter", "extract", model, ...flags);
    assert.equal(code, 0);
    assert.match(out, /ranks\s+4 in 42 modules[^]*left out, although changed: model\.embed_tokens\.weight/);
    const report = await extractAdapter(model, base, { rank: 4, rest: "skip", out: at("x2"), threads: 1 });
    assert.equal(report.modules.length, 42);
    const bytes = (name: string) => readFileSync(at(`${name}/adapter_model.safetensors`));
    assert.ok(bytes("x1").equals(bytes("x2")));
  });
});
