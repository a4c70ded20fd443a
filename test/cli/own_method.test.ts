/** Methods of one's own, from a module to threads. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { merge } from "../../src/node.js";
import type { OwnMethod } from "../../src/node.js";
import { fingerprint, readTensors } from "../laws/support/family.js";
import { mergewright, outcomeOf, root, scratch, VISION } from "./support.js";

const place = scratch(after);
const example = path.join(root, "examples/own-method.js");
const models = ["zoo/vision/mnist", "zoo/vision/fashion"];
const recipe = { method: "agreement", base: "zoo/vision/base", models, exclude: ["classifier.*"] };
const prints = async (folder: string) => fingerprint((await readTensors(folder)).values());

describe("examples/own-method.js", () => {
  it("is short, and is what the documentation shows", () => {
    const text = readFileSync(example, "utf8");
    assert.ok(text.split("\n").length <= 40);
    assert.ok(readFileSync(path.join(root, "docs/own-methods.md"), "utf8").includes(text.trim()));
  });

  it("merges from the command line, in any number of threads, with parameters and counters", async () => {
    const found: (readonly string[])[] = [];
    for (const threads of ["1", "3"]) {
      const out = place(`agreement-${threads}`);
      const args = ["merge", "--use", "examples/own-method.js", "--method", "agreement", ...VISION, "-p", "power=2"];
      const {
        code,
        out: text,
        err,
      } = await mergewright(...args, "-p", "mnist.weight=0.5", "--threads", threads, "-o", out);
      assert.equal(code, 0, err);
      assert.match(text, /opposed/);
      found.push(await prints(out));
    }
    assert.deepEqual(found[1], found[0]);
  });

  it("computes what it says", async () => {
    process.chdir(root);
    const out = place("plain");
    await merge({ ...recipe, parameters: { power: 0 } }, { out, use: [example] });
    // Without damping it is Task Arithmetic at 1/n, up to rounding in f32.
    const other = place("task-arithmetic");
    await merge({ ...recipe, method: "task_arithmetic", parameters: { lambda: 0.5 } }, { out: other });
    const [own, theirs] = [await readTensors(out), await readTensors(other)];
    let different = 0;
    for (const [name, { bytes }] of own) {
      const twin = theirs.get(name)!.bytes;
      for (const [at, byte] of bytes.entries())
        if (Math.abs(byte - twin[at]!) > 1 && Math.abs(byte - twin[at]!) < 255) different++;
    }
    assert.equal(different, 0);
  });

  it("goes into a merge inside another, and into threads of it", async () => {
    process.chdir(root);
    const stage = place("stage");
    await merge({ ...recipe, output: { dtype: "float32" } }, { out: stage, use: [example] });
    const outer = (first: unknown) => ({
      method: "average",
      models: [first as string, models[0]!],
      exclude: ["classifier.*"],
    });
    const [nested, written] = [place("nested"), place("written")];
    await merge(
      { ...outer({ merge: recipe }), output: { dtype: "float16" } },
      { out: nested, use: [example], threads: 2 },
    );
    await merge({ ...outer(stage), output: { dtype: "float16" } }, { out: written });
    assert.deepEqual(await prints(nested), await prints(written));
  });

  it("is recorded with the hash of its module, which a restart and a second run heed", async () => {
    const module = place("mine.mjs");
    const text = readFileSync(example, "utf8");
    writeFileSync(module, text);
    const args = ["merge", "--use", module, "--method", "agreement", ...VISION, "-o", place("mine")];
    const first = await mergewright(...args);
    assert.equal(first.code, 0, first.err);
    const { methodHash } = JSON.parse(readFileSync(place("mine", "mergewright.json"), "utf8")) as {
      methodHash: string;
    };
    assert.match(methodHash, /^[0-9a-f]{16}$/);
    assert.match((await mergewright(...args)).out, /nothing was done/);
    writeFileSync(module, text.replace("< 0.5", "< 0.4"));
    assert.match((await mergewright(...args)).err, /output\/exists|is not empty|holds/);
  });

  it("has a manual and stands in the list", async () => {
    const { json } = await outcomeOf("methods", "--use", "examples/own-method.js");
    assert.ok(json.methods.some(({ name }: { name: string }) => name === "agreement"));
    const manual = await mergewright("methods", "agreement", "--use", "examples/own-method.js");
    assert.match(manual.out, /how much disagreement damps/);
    const plan = await outcomeOf("plan", "--use", "examples/own-method.js", "--method", "agreement", ...VISION);
    assert.equal(plan.json.method, "agreement");
  });
});

describe("--use", () => {
  const using = async (text: string, ...more: readonly string[]) => {
    const module = place("wrong.mjs");
    writeFileSync(module, text);
    return mergewright("plan", "--use", module, "--method", "mine", ...VISION, ...more);
  };

  it("says what is wrong with a module", async () => {
    const cases: readonly (readonly [text: string, message: RegExp])[] = [
      ["export const a = 1;", /no default export/],
      ["export default {", /cannot be loaded[^]*SyntaxError/],
      ["throw new Error('at once');", /cannot be loaded[^]*at once/],
      ["export default { name: 'ties', combine() {} };", /ties is a method of the catalogue; choose another name/],
      [
        "export default [{ name: 'mine', combine() {} }, { name: 'mine', combine() {} }];",
        /two own methods are called mine/,
      ],
    ];
    for (const [text, message] of cases) {
      const { code, err } = await using(text);
      assert.equal(code, 2);
      assert.match(err, message);
      assert.match(err, /wrong\.mjs/);
    }
    const missing = await mergewright("plan", "--use", "nowhere.js", "--method", "mine", ...VISION);
    assert.match(missing.err, /there is no such module/);
    assert.equal(missing.code, 2);
  });

  it("says which method failed, from a thread too", async () => {
    process.chdir(root);
    const module = place("failing.mjs");
    writeFileSync(module, "export default { name: 'failing', combine() { throw new Error('over there'); } };");
    for (const threads of ["1", "2"]) {
      const args = ["merge", "--use", module, "--method", "failing", ...VISION, "--threads", threads];
      const { code, err } = await mergewright(...args, "-o", place("failing"));
      assert.equal(code, 2, err);
      assert.match(err, /combine of the method failing failed[^]*over there/);
    }
  });
});

describe("a method that no module holds", () => {
  it("merges in the thread that knows it", async () => {
    process.chdir(root);
    const own: OwnMethod = {
      ...{ name: "first_model", inputs: "weights" },
      combine: ({ inputs, out }) => out.set(inputs[0]!),
    };
    const out = place("object");
    await merge({ method: "first_model", models, exclude: ["classifier.*"] }, { out, use: [own], threads: 4 });
    const [found, expected] = [await readTensors(out), await readTensors(models[0]!)];
    for (const [name, { bytes }] of found) assert.deepEqual(bytes, expected.get(name)!.bytes, name);
  });
});
