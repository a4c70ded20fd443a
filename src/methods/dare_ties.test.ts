import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned, V } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("dare_ties", parameters, second, dialect);

describe("dare_ties", () => {
  it("by hand at density 1: TIES with its own trim, or without", async () => {
    // trunc(10 · 0.2) + 1 = 3 of the ten entries, and what equals the last one.
    const { v, w } = await run({ density: 1 });
    assert.deepEqual(v, [0, 0, 0, 0, 0]);
    assert.deepEqual(w, [0, 40, -20, 10, 10]);
    assert.deepEqual((await run({ density: 1, top: 1 })).v, V);
  });

  it("by hand: a sum of what agrees in mergekit's dialect", async () => {
    assert.deepEqual((await run({}, -0.5, "mergekit")).v, V);
    assert.deepEqual((await run({}, 0.5, "mergekit")).v, [7.5, -6, 4.5, -3, 1.5]);
  });

  it("every entry is dropped or divided by the density", async () => {
    const { v } = await run({ density: 0.5, top: 1 });
    assert.ok(v.every((x, p) => x === 0 || x === 2 * V[p]!));
  });
});
