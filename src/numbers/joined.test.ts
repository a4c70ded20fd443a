import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { joined } from "./joined.js";

describe("joined arrays", () => {
  it("are the parts one after the other, of their kind", () => {
    const parts = [Float32Array.of(1, 2), new Float32Array(), Float32Array.of(3)];
    assert.deepEqual(joined(Float32Array, parts), Float32Array.of(1, 2, 3));
    assert.deepEqual(joined(Uint8Array, []), new Uint8Array());
  });
});
