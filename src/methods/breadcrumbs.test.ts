import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("breadcrumbs", parameters, second, dialect);

describe("breadcrumbs", () => {
  it("by hand: of five the largest is dropped and the next two are kept, in each tensor", async () => {
    const { v, w } = await run({ density: 0.4, gamma: 0.2, lambda: 0.5 });
    assert.deepEqual(v, [0, -2, 1.5, 0, 0]);
    assert.deepEqual(w, [0, 0, -10, 5, 0]);
  });

  it("over the whole change of ten: two dropped, four kept", async () => {
    const { v, w } = await run({ density: 0.4, gamma: 0.2, lambda: 0.5, scope: "model" });
    assert.deepEqual(v, [2.5, -2, 0, 0, 0]);
    assert.deepEqual(w, [0, 0, 0, 5, 5]);
  });

  it("a gamma that leaves too little gives way to the density", async () => {
    const { v } = await run({ density: 0.8, gamma: 0.9, lambda: 1 });
    assert.deepEqual(v, [0, -4, 3, -2, 1]);
  });
});
