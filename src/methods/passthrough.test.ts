import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { passthrough } from "./passthrough.js";

describe("passthrough", () => {
  const entries = [1, -2, 0.1 + 2 ** -30, 65504, 2 ** -149, -0].map(Math.fround);
  const zeros = entries.map(() => 0);

  it("scale 1 keeps every entry, zeros of both signs and subnormals too", () => {
    assert.deepEqual(combine(passthrough, zeros, [entries], {}), entries);
  });

  it("by hand", () => {
    assert.deepEqual(combine(passthrough, zeros, [entries], { scale: -0.5 }).slice(0, 2), [-0.5, 1]);
    assert.deepEqual(combine(passthrough, zeros, [entries], { scale: 0 }).slice(0, 2), [0, -0]);
  });

  it("takes one model", () => assert.deepEqual(passthrough.models, { min: 1, max: 1 }));
});
