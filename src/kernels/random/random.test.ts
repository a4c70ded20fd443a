import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { StreamKey } from "../../numbers/random.js";
import { dropChanges, randomWord, randomWords, streamKey } from "../../numbers/random.js";
import { createMemory, loadKernels } from "../load.js";
import { dropKernel, wordsKernel } from "./binding.js";

const NAN = 0x7fc00000;

/** Bit patterns, with every NaN as one. */
function patterns(values: Float32Array): number[] {
  return Array.from(new Uint32Array(values.slice().buffer), (bits) => ((bits & 0x7fffffff) > 0x7f800000 ? NAN : bits));
}

const ramp = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => (i % 7) / 3 - 1);

for (const shared of [false, true]) {
  describe(`drop kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(1 << 20, shared);
    const run = dropKernel(loadKernels(memory));
    const START = 65_536;
    const key = streamKey(42, "math", "model.embed_tokens.weight");

    const check = (
      values: Float32Array,
      firstEntry: number,
      at: StreamKey,
      drop: number,
      scale: number,
      offset = 0,
    ) => {
      const expected = values.slice();
      dropChanges(expected, firstEntry, at, drop, scale);
      const bytes = new Uint8Array(memory.buffer, START + offset, values.byteLength + 64);
      bytes.fill(0x5a);
      bytes.set(new Uint8Array(values.slice().buffer));
      run(START + offset, values.length, firstEntry, at, drop, scale);
      const found = new Float32Array(bytes.slice(0, values.byteLength).buffer);
      assert.deepEqual(patterns(found), patterns(expected));
      assert.ok(
        bytes.subarray(values.byteLength).every((byte) => byte === 0x5a),
        "wrote beyond the end",
      );
    };
    it("drops what its definition drops, whatever the first entry and the count", () => {
      for (let count = 0; count <= 40; count++) {
        for (let firstEntry = 0; firstEntry < 20; firstEntry++) check(ramp(count), firstEntry, key, 0.5, 2);
      }
      check(ramp(10_007), 5, key, 0.9, 10);
      check(ramp(10_007), 0, key, 0.1, 1, 2);
    });

    it("keeps an entry whose word equals the threshold", () => {
      for (let entry = 0; entry < 40; entry++) {
        const word = randomWord(key, entry);
        for (const threshold of [word - 1, word, word + 1]) check(ramp(40), 0, key, threshold / 2 ** 32, 1);
      }
    });

    it("counts blocks beyond 32 bits", () => {
      for (const firstEntry of [2 ** 32 - 9, 2 ** 34 - 1, 2 ** 34 - 8, 2 ** 34 - 20, 2 ** 36 - 3, 2 ** 53 - 64]) {
        check(ramp(60), firstEntry, key, 0.5, 2);
      }
    });

    it("keeps NaN and infinities and multiplies subnormals and zeros like its definition", () => {
      const bits = [0x7fc00001, 0xff800001, 0x7f800000, 0xff800000, 0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x7f7fffff];
      const values = new Float32Array(Uint32Array.from({ length: 137 }, (_, i) => bits[i % bits.length]!).buffer);
      for (const drop of [0, 2 ** -33, 0.3, 0.5, 0.99, 1 - 2 ** -32, 1 - 2 ** -33, 1]) {
        for (const scale of [1, Math.fround(1 / (1 - drop))]) check(values, 3, key, drop, scale);
      }
    });

    it("writes the words that its definition writes", () => {
      const kernel = wordsKernel(loadKernels(memory));
      for (const count of [0, 1, 3, 31, 32, 33, 100]) {
        for (const firstEntry of [0, 1, 2, 3, 4, 2 ** 34 - 50]) {
          const expected = new Uint32Array(count);
          randomWords(key, firstEntry, expected);
          kernel(START, count, firstEntry, key);
          assert.deepEqual(new Uint32Array(memory.buffer, START, count).slice(), expected);
        }
      }
    });

    it("agrees for any key, share and place", () => {
      const u32 = fc.integer({ min: 0, max: 0xffffffff });
      const keys = fc.record({ key0: u32, key1: u32, stream0: u32, stream1: u32 });
      const share = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
      fc.assert(
        fc.property(
          fc.nat(100),
          fc.maxSafeNat(),
          keys,
          share,
          fc.float({ noNaN: true }),
          (count, place, at, drop, scale) => {
            check(ramp(count), Math.max(0, place - 100), at, drop, scale);
          },
        ),
        { numRuns: 500 },
      );
    });
  });
}
