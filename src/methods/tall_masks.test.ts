import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { tallMasks } from "./tall_masks.js";

const changes = [
  [1, -2, 0, 0.5],
  [3, 2, 0, -0.25],
];

describe("tall_masks", () => {
  it("by hand: the scaled sum", () => {
    assert.deepEqual(combine(tallMasks, [9, 9, 9, 9], changes, {}), [4, 0, 0, 0.25]);
    assert.deepEqual(combine(tallMasks, [0, 0, 0, 0], changes, { alpha: 0.5 }), [2, 0, 0, 0.125]);
  });

  it("by hand: a task keeps what outweighs lambda times the rest, strictly", () => {
    const own = [{ mask_lambda: 0.25 }, { mask_lambda: 2 }];
    const args = tallMasks.bind(settingsOf(tallMasks, {}, own), {});
    const { keeps } = tallMasks.masking!;
    // |1| > 0.25 |4 - 1|; |-2| > 0.25 |0 + 2|; 0 > 0 is not.
    assert.deepEqual([keeps(1, 4, 0, args), keeps(-2, 0, 0, args), keeps(0, 0, 0, args)], [true, true, false]);
    // |2| > 2 |3 - 2| is not: equal.
    assert.deepEqual([keeps(2, 3, 1, args), keeps(3, 4, 1, args)], [false, true]);
    assert.equal(keeps(NaN, 1, 0, args), false);
  });

  it("does not rescale", () => {
    assert.equal(tallMasks.masking!.scale(settingsOf(tallMasks, {}, []), []), 1);
  });
});
