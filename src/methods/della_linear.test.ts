import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned, V } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("della_linear", parameters, second, dialect);

describe("della_linear", () => {
  it("every entry is dropped or divided by its own probability", async () => {
    const { v } = await run({ density: 0.5, epsilon: 0.25 });
    const kept = V.map((x, p) => Math.fround(x / Math.fround(0.75 - p * 0.125)));
    assert.ok(v.every((x, p) => x === 0 || x === kept[p]));
  });

  it("by hand at density 1: a scaled sum", async () => {
    assert.deepEqual((await run({ density: 1, lambda: 0.5 }, 1)).v, V);
  });
});
