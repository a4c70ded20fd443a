import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { combine } from "../../test/laws/support/combine.js";
import { trainDifference } from "./train_difference.js";

describe("train_difference", () => {
  it("by hand", () => {
    // base 0, A 1, B 0: distances 1 and 1, so half of the difference times 1.8; A 1, B -2: a quarter of 3.
    const changes = [
      [1, 1, 0, 2],
      [0, -2, 5, 2],
    ];
    assert.deepEqual(combine(trainDifference, [0, 0, 0, 1], changes, { gain: 1 }), [0.5, 0.75, 0, 1]);
    assert.deepEqual(combine(trainDifference, [0], [[1], [0]], {}), [Math.fround(0.9)]);
  });

  it("is supermerger's formula, in f64", () => {
    const number = fc.double({ min: -1, max: 1, noNaN: true }).map(Math.fround);
    fc.assert(
      fc.property(number, number, number, (a, b, c) => {
        const [near, far] = [Math.abs(b - c), Math.abs(b - a)];
        const scale = near + far === 0 ? 0 : far / (near + far);
        const expected = a + Math.sign(b - c) * scale * Math.abs(b - c) * (0.5 * 1.8);
        const [found] = combine(trainDifference, [a], [[b - a], [c - a]], { lambda: 0.5 });
        assert.ok(Math.abs(found! - expected) <= 1e-6, `${found}, not ${expected}`);
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  it("leaves the base where it agrees with A, and where A and B agree", () => {
    assert.deepEqual(
      combine(
        trainDifference,
        [3, 3],
        [
          [0, 2],
          [7, 2],
        ],
        {},
      ),
      [3, 3],
    );
  });

  it("NaN reaches the result", () => {
    assert.deepEqual(
      combine(
        trainDifference,
        [1, 1],
        [
          [NaN, 0],
          [0, NaN],
        ],
        {},
      ),
      [NaN, NaN],
    );
  });
});
