import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { magmax } from "./magmax.js";
import { taskArithmetic } from "./task_arithmetic.js";

describe("magmax", () => {
  const base = [1, 1, 1, 1, 1];
  const changes = [
    [0.5, -0.25, 0, 1, -2],
    [-1, 0.125, 0, -1, 0.5],
    [0.75, 0.25, 0, 0.5, 2],
  ];

  it("by hand: the largest magnitude, the first of equals", () => {
    assert.deepEqual(combine(magmax, base, changes, {}), [0, 0.75, 1, 2, -1]);
    assert.deepEqual(combine(magmax, base, changes, { lambda: 0.5 }), [0.5, 0.875, 1, 1.5, 0]);
  });

  it("weights count before the comparison", () => {
    assert.deepEqual(
      combine(magmax, base, changes, {}, [{ weight: 4 }, { weight: 1 }, { weight: -1 }]),
      [3, 0, 1, 5, -7],
    );
  });

  it("of one model is Task Arithmetic", () => {
    const given = { lambda: 0.3 };
    assert.deepEqual(combine(magmax, base, [changes[0]!], given), combine(taskArithmetic, base, [changes[0]!], given));
  });

  it("NaN reaches the result from any model", () => {
    for (const place of [0, 1, 2]) {
      const one = [[1], [2], [3]];
      one[place] = [NaN];
      assert.deepEqual(combine(magmax, [1], one, {}), [NaN]);
    }
  });
});
