import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned, V } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("della", parameters, second, dialect);

describe("della", () => {
  it("every entry is dropped or divided by its own probability", async () => {
    const { v } = await run({ density: 0.5, epsilon: 0.25 });
    // Ranks 4 to 0 of five, from probability 0.75 down to 0.25.
    const kept = V.map((x, p) => Math.fround(x / Math.fround(0.75 - p * 0.125)));
    assert.ok(v.every((x, p) => x === 0 || x === kept[p]));
  });

  it("a single entry is kept with probability density", async () => {
    const { s } = await run({ density: 0.5, epsilon: 0.25 });
    assert.ok(s[0] === 0 || s[0] === 2);
  });

  it("by hand at density 1: the mean of what agrees, and in mergekit's dialect the same", async () => {
    for (const dialect of ["paper", "mergekit"]) {
      assert.deepEqual((await run({ density: 1 }, 0.5, dialect)).v, [3.75, -3, 2.25, -1.5, 0.75]);
    }
  });

  it("refuses probabilities outside 0 to 1", async () => {
    await assert.rejects(run({ density: 0.9, epsilon: 0.2 }), /choose epsilon at most 0.1/);
  });
});
