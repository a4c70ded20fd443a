import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { partitionPoint } from "./partition.js";

describe("partition point", () => {
  it("is the number of leading entries that satisfy a condition", () => {
    const sorted = fc.array(fc.integer({ min: -5, max: 5 })).map((all) => all.toSorted((a, b) => a - b));
    fc.assert(
      fc.property(sorted, fc.integer({ min: -6, max: 6 }), (all, limit) => {
        const found = partitionPoint(all.length, (index) => all[index]! <= limit);
        assert.equal(found, all.filter((value) => value <= limit).length);
      }),
    );
  });

  it("asks nothing of an empty list", () => {
    assert.equal(
      partitionPoint(0, () => assert.fail()),
      0,
    );
  });
});
