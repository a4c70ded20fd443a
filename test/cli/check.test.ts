/** The pre-flight from the command line. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { check } from "../../src/node.js";
import { mergewright, outcomeOf, root, scratch, TIES, VISION } from "./support.js";

const place = scratch(after);

describe("mergewright check", () => {
  it("ends with 0 where nothing stands in the way, and writes nothing", async () => {
    const { code, out, err } = await mergewright("check", ...TIES, "-o", place("merged"));
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /signs disagree in 49\.\d % of the columns/);
    assert.match(out, /the result takes 2\.6 MB, and .* are free at /);
    assert.match(out, /nothing stands in the way of this merge; 1,198,592 parameters of 1,198,592 looked at per model/);
    assert.match((await mergewright("check", ...TIES, "-o", place("merged"))).out, /nothing stands/);
  });

  it("ends with 1 where a problem is found, and tells every one", async () => {
    const { code, out } = await mergewright("check", "--method", "ties", ...VISION.slice(0, 4));
    assert.equal(code, 1);
    assert.match(out, /^2 problems:\n {2}- 2 tensors of mnist and base differ in shape/m);
    assert.match(out, /this merge should not be made as it is/);
  });

  it("ends with 2 where the recipe itself is wrong", async () => {
    const { code, err } = await mergewright("check", "--method", "tise", ...VISION);
    assert.equal(code, 2);
    assert.match(err, /unknown method "tise"/);
  });

  it("is JSON where asked for, without weights where asked for, and a function of the library", async () => {
    const { json, exitCode } = await outcomeOf("check", ...TIES, "--headers");
    assert.equal(exitCode, 0);
    assert.equal(json.ok, true);
    assert.equal(json.sample, null);
    process.chdir(root);
    const [, base, ...models] = VISION.slice(0, 4);
    const preflight = await check(
      { method: "ties", base: base!, models, exclude: ["classifier.*"] },
      { weights: false },
    );
    assert.deepEqual(preflight.findings.filter(({ what }) => what.startsWith("the result takes")).length, 1);
    assert.equal(preflight.cost!.outputBytes, json.cost.outputBytes);
  });
});
