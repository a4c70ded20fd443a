import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { addDifference } from "./add_difference.js";

describe("add_difference", () => {
  it("by hand: base + lambda (A - B)", () => {
    // A = [4, 1, 3], B = [2, 1, 5] seen from the base [1, 1, 1].
    const changes = [
      [3, 0, 2],
      [1, 0, 4],
    ];
    assert.deepEqual(combine(addDifference, [1, 1, 1], changes, {}), [3, 1, -1]);
    assert.deepEqual(combine(addDifference, [1, 1, 1], changes, { lambda: 0.25 }), [1.5, 1, 0.5]);
  });

  it("equal models leave the base's bits", () => {
    const change = [0.1, -3e7, 1e-30].map(Math.fround);
    const base = [0.3, 1, 2].map(Math.fround);
    assert.deepEqual(combine(addDifference, base, [change, change], { lambda: 7 }), base);
  });

  it("needs both models in every tensor", () => {
    assert.match(addDifference.check!(settingsOf(addDifference, {}, [{}]))!, /both models/);
    assert.equal(addDifference.check!(settingsOf(addDifference, {}, [{}, {}])), null);
  });
});
