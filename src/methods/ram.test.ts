import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { smallestAbove } from "./overlap.js";
import { ram } from "./ram.js";

const models = [
  [1, 1, 0, 0.5, 0.25],
  [0, 3, 0, -0.5, 0.25],
  [0, 0, 0, 0.75, 1],
];

describe("ram", () => {
  it("by hand: alone whole, together averaged", () => {
    const base = [1, 1, 1, 1, 1];
    assert.deepEqual(combine(ram, base, models, {}), [2, 3, 1, 1.25, 1.5]);
    assert.deepEqual(combine(ram, base, models, { lambda: 2 }), [3, 5, 1, 1.5, 2]);
  });

  it("an entry of magnitude epsilon is not active, one above is", () => {
    assert.deepEqual(combine(ram, [0, 0, 0, 0, 0], models, { epsilon: 0.5 }), [1, 2, 0, 0.75, 1]);
    assert.deepEqual(combine(ram, [0, 0, 0, 0, 0], models, { epsilon: 0.25 }), [1, 2, 0, 0.25, 1]);
    const [above] = [smallestAbove(0.5)];
    assert.deepEqual(combine(ram, [0, 0], [[0.5, above]], { epsilon: 0.5 }), [0, above]);
  });

  it("compares with epsilon as written, not as rounded to f32", () => {
    // 0.1 rounds up to f32, 1e-5 down.
    assert.equal(smallestAbove(0.1), Math.fround(0.1));
    assert.ok(Math.fround(1e-5) < 1e-5 ? smallestAbove(1e-5) > Math.fround(1e-5) : smallestAbove(1e-5) > 1e-5);
    assert.equal(smallestAbove(0), 2 ** -149);
  });

  it("of one model is the model, where it changed more than epsilon", () => {
    assert.deepEqual(combine(ram, [1, 1], [[0.5, 1e-6]], {}), [1.5, 1]);
  });

  it("NaN reaches the result", () => {
    assert.deepEqual(combine(ram, [1], [[NaN], [0]], {}), [NaN]);
  });
});
