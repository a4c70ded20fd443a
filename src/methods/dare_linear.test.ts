import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned, V, W } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("dare_linear", parameters, second, dialect);

describe("dare_linear", () => {
  it("every entry is dropped or divided by the density", async () => {
    const { v, w } = await run({ density: 0.5, lambda: 1 });
    assert.ok(v.every((x, p) => x === 0 || x === 2 * V[p]!));
    assert.ok(w.every((x, p) => x === 0 || x === 2 * W[p]!));
  });

  it("in mergekit's dialect every tensor keeps its L1 norm", async () => {
    const { v } = await run({ density: 0.5 }, null, "mergekit");
    const norm = v.reduce((sum, x) => sum + Math.abs(x), 0);
    assert.ok(norm === 0 || Math.abs(norm - 15) < 1e-5);
  });

  it("density 0 leaves the base, density 1 is task arithmetic", async () => {
    assert.deepEqual((await run({ density: 0, lambda: 1 })).v, [0, 0, 0, 0, 0]);
    assert.deepEqual((await run({ density: 1, lambda: 0.5 })).v, [2.5, -2, 1.5, -1, 0.5]);
  });
});
