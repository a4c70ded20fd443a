import assert from "node:assert/strict";
import { cpSync, readFileSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { verbs } from "../../src/cli/verbs.js";
import { mergewright, outcomeOf, root, scratch, TIES, VISION } from "./support.js";

const at = scratch(after);

describe("the command line", { concurrency: os.availableParallelism() }, () => {
  it("prints the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
    assert.deepEqual(await mergewright("--version"), { code: 0, out: `${version}\n`, err: "" });
  });

  it("is what the package installs", () => {
    const { bin } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
    const file = path.join(root, bin.mergewright);
    assert.equal(readFileSync(file, "utf8"), '#!/usr/bin/env node\nimport "../dist/cli/main.js";\n');
    assert.ok((statSync(file).mode & 0o111) !== 0, "executable");
  });

  it("lists every verb in its help", async () => {
    const parents = [...new Set(verbs.map(({ name }) => name.split(" ").slice(0, -1).join(" ")))];
    const helps = new Map<string, string>();
    for (const parent of parents) {
      const { code, out } = await mergewright(...(parent === "" ? [] : [parent]), "--help");
      assert.equal(code, 0);
      helps.set(parent, out);
    }
    for (const { name, summary } of verbs) {
      const words = name.split(" ");
      const help = helps.get(words.slice(0, -1).join(" "))!;
      assert.match(help, new RegExp(`^  ${words.at(-1)!} .* ${summary.split(" ")[0]!} `, "m"));
    }
  });

  it("lists every flag of a verb in its help", async () => {
    const helps = await Promise.all(verbs.map(({ name }) => mergewright(...name.split(" "), "--help")));
    for (const [index, { code, out }] of helps.entries()) {
      assert.equal(code, 0);
      for (const { spelling } of verbs[index]!.flags) assert.ok(out.includes(`\n  ${spelling} `), spelling);
    }
  });

  for (const { name, flags } of verbs) {
    it(`describes every flag of ${name} on its page`, () => {
      const page = readFileSync(path.join(root, "docs", "commands", `${name.split(" ")[0]!}.md`), "utf8");
      for (const { spelling, text } of flags) assert.ok(page.includes(`| \`${spelling}\` | ${text}`), spelling);
    });
  }

  it("plans without reading weights", async () => {
    const { code, out, err } = await mergewright("plan", ...TIES);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /^merge +102 +1,198,592 +2\.4 MB$/m);
    assert.match(out, /^classifier\.bias +F16 \[657\] +copy +excluded by the recipe; copied from the base$/m);
    assert.match(out, /^model\.safetensors +2\.6 MB$/m);
    assert.match(out, /^reads +15 MB in 2 passes$/m);
    assert.match(out, /\nrecipe\nmethod: ties\ndialect: paper\n/);
    assert.doesNotMatch(out, /^vit\.layernorm\.bias /m);
    assert.match((await mergewright("plan", ...TIES, "--all")).out, /^vit\.layernorm\.bias +F16 \[128\] +merge$/m);
  });

  it("plans as JSON with every tensor and the memory for the threads", async () => {
    const [{ json: one }, { json: two }] = await Promise.all([
      outcomeOf("plan", ...TIES, "--threads", "1"),
      outcomeOf("plan", ...TIES, "--threads", "2"),
    ]);
    assert.equal(one.tensors.length, 104);
    assert.equal(one.actions.copy.tensors, 2);
    assert.equal(one.skipped.length, 4);
    assert.deepEqual(one.files, [{ file: "model.safetensors", bytes: 2578266 }]);
    assert.equal(one.passes, 2);
    assert.ok(one.peakMemoryBytes > 5e7 && two.peakMemoryBytes > one.peakMemoryBytes);
    assert.equal(one.plan, two.plan);
  });

  it("inspects headers, and weights on request", async () => {
    const { code, out, err } = await mergewright("inspect", "zoo/language/french");
    assert.equal(code, 0, err);
    assert.match(out, /^tensors +56 with 3,148,224 parameters, 6\.3 MB in 4 files$/m);
    assert.match(out, /^model\.layers\.0\.self_attn\.k_proj\.weight +BF16 +\[64, 192\] +25 kB$/m);
    const { json } = await outcomeOf("inspect", "zoo/vision/mnist", "--norms");
    assert.equal(json.tensors.length, 104);
    assert.ok(json.norm > 0 && json.tensors[0].figures.norm > 0);
  });

  it("compares models with their base", async () => {
    const { code, out, err } = await mergewright("compare", ...VISION);
    assert.equal(code, 0, err);
    assert.match(out, /^compared +102 tensors, 1,198,592 parameters$/m);
    assert.match(out, /^2 fashion +0\.015 +1\.000$/m);
    assert.match(out, /^first 2 +587,072 +49\.0 % +49\.2 % +29,929 +2\.5 % +48\.7 %$/m);
    const { json } = await outcomeOf("compare", ...VISION, "--density", "1");
    assert.equal(json.signs[0].trimmed.conflicts, json.signs[0].untrimmed.conflicts);
  });

  it("lists the methods and shows the manual of each", async () => {
    const [list, manual] = await Promise.all([mergewright("methods"), mergewright("methods", "ties")]);
    assert.match(list.out, /^ties +TIES-Merging/m);
    assert.deepEqual([manual.code, manual.err], [0, ""]);
    assert.match(manual.out, /^# ties\n/);
    const { json } = await outcomeOf("methods");
    assert.ok(json.methods.some(({ name }: { name: string }) => name === "ties"));
    assert.equal((await outcomeOf("methods", "ties/peft")).json.parameters.density.default, 0.2);
  });
});

describe("mergewright verify", () => {
  before(async () => {
    await mergewright("merge", ...TIES, "-o", at("merged"));
    cpSync(at("merged"), at("broken"), { recursive: true });
    const file = at("broken", "model.safetensors");
    const bytes = readFileSync(file);
    bytes[bytes.length - 7]! ^= 1;
    writeFileSync(file, bytes);
  });

  it("ends with 0 where the result is as it was written", async () => {
    const { code, out, err } = await mergewright("verify", at("merged"), "--inputs");
    assert.equal(code, 0, err);
    assert.match(out, /^ok +checksums /m);
    assert.equal((await outcomeOf("verify", at("merged"))).json.ok, true);
  });

  it("ends with 1 where a bit differs, and names the tensor", async () => {
    const { code, out, err } = await mergewright("verify", at("broken"));
    assert.deepEqual([code, err], [1, ""]);
    assert.match(out, /^FAILED +checksums +1 problem$/m);
    assert.match(out, /^ {2}- vit\.[\w.]+ in model\.safetensors: checksum \w+, recorded \w+$/m);
    const { exitCode, json } = await outcomeOf("verify", at("broken"));
    assert.deepEqual([exitCode, json.ok], [1, false]);
  });
});
