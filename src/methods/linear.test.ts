import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { linear } from "./linear.js";

const models = [
  [1, -2, 0.5],
  [3, 2, 0],
  [8, 4, 1],
];

describe("linear", () => {
  it("by hand: a base among the models is a member like the others", () => {
    const weights = [{ weight: 0.5 }, { weight: 0.25 }, { weight: 0.25 }];
    assert.deepEqual(combine(linear, [0, 0, 0], models, {}, weights), [3.25, 0.5, 0.5]);
    const doubled = weights.map(({ weight }) => ({ weight: 2 * weight }));
    assert.deepEqual(combine(linear, [0, 0, 0], models, {}, doubled), [3.25, 0.5, 0.5]);
    assert.deepEqual(combine(linear, [0, 0, 0], models, { normalize: false }, doubled), [6.5, 1, 1]);
  });

  it("refuses weights that sum to zero, unless nothing is divided", () => {
    const weights = [{ weight: 1 }, { weight: -1 }];
    assert.match(linear.check!(settingsOf(linear, {}, weights))!, /sum to zero/);
    assert.equal(linear.check!(settingsOf(linear, { normalize: false }, weights)), null);
  });
});
