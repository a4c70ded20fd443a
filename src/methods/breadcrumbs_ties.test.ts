import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runPruned } from "../../test/laws/support/pruned.js";

const run = (parameters: object, second: number | null = null, dialect = "paper") =>
  runPruned("breadcrumbs_ties", parameters, second, dialect);

describe("breadcrumbs_ties", () => {
  it("by hand: masks, then the mean of what agrees", async () => {
    // The second model is the first turned round and halved: what both keep cancels no sign of the first.
    const { v, w } = await run({ density: 0.4, gamma: 0.2 }, -0.5);
    assert.deepEqual(v, [0, -4, 3, 0, 0]);
    assert.deepEqual(w, [0, 0, -20, 10, 0]);
  });

  it("by hand: in mergekit's dialect what agrees is summed", async () => {
    const { v } = await run({ density: 0.4, gamma: 0.2 }, 0.5, "mergekit");
    assert.deepEqual(v, [0, -6, 4.5, 0, 0]);
  });
});
