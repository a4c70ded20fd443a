import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rejects, sourceContract } from "../../test/contracts/source.js";
import { memorySink, memorySource } from "./memory.js";

sourceContract("an array in memory", (bytes) => ({ source: memorySource(bytes) }));
sourceContract("a buffer in memory", (bytes) => ({ source: memorySource(bytes.slice().buffer) }));
sourceContract("a view in memory", (bytes) => {
  const larger = new Uint8Array(bytes.length + 20);
  larger.set(bytes, 7);
  return { source: memorySource(larger.subarray(7, 7 + bytes.length)) };
});

describe("a sink in memory", () => {
  it("holds what is written, in any order, and zeros elsewhere", () => {
    const sink = memorySink(6);
    void sink.write(4, Uint8Array.of(5, 6));
    void sink.write(0, Uint8Array.of(1, 2));
    void sink.write(6, new Uint8Array(0));
    assert.deepEqual(sink.bytes, Uint8Array.of(1, 2, 0, 0, 5, 6));
  });

  for (const [offset, length] of [
    [6, 1],
    [5, 2],
    [-1, 1],
    [7, 0],
    [0.5, 1],
  ] as const) {
    it(`refuses ${length} bytes at ${offset} of 6`, async () => {
      await rejects("io/write", () => memorySink(6).write(offset, new Uint8Array(length)));
    });
  }
});
