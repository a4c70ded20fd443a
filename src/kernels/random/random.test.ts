import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice } from "../../../test/laws/support/random.js";
import type { StreamKey } from "../../numbers/random.js";
import { chanceBytes, chanceKept, chanceWord, chanceWords, dropChanges, streamKey } from "../../numbers/random.js";
import { createMemory, loadKernels } from "../load.js";
import { chanceBytesKernel, chanceKeptKernel, dropKernel } from "./binding.js";

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
      for (const count of [...Array(40).keys(), 127, 128, 129, 143, 144, 160, 271, 272, 300]) {
        for (let firstEntry = 0; firstEntry < 20; firstEntry++) check(ramp(count), firstEntry, key, 0.45, 2);
      }
      check(ramp(10_007), 5, key, 0.9, 10);
      check(ramp(10_007), 0, key, 0.1, 1, 2);
    });

    it("keeps an entry whose word equals the threshold, and tells apart what shares its byte", () => {
      const row = ramp(300);
      for (const firstEntry of [0, 5]) {
        for (let entry = firstEntry; entry < firstEntry + 300; entry += 7) {
          const word = chanceWord(key, entry);
          for (const threshold of [word - 1, word, word + 1]) check(row, firstEntry, key, threshold / 2 ** 32, 1);
        }
      }
    });

    it("counts blocks beyond 32 bits", () => {
      for (const firstEntry of [2 ** 32 - 9, 2 ** 34 - 1, 2 ** 36 - 1, 2 ** 36 - 64, 2 ** 36 - 200, 2 ** 53 - 300]) {
        check(ramp(290), firstEntry, key, 0.3, 2);
      }
    });

    it("keeps NaN and infinities and multiplies subnormals and zeros like its definition", () => {
      const bits = [0x7fc00001, 0xff800001, 0x7f800000, 0xff800000, 0, 0x80000000, 1, 0x80000001, 0x7fffff, 0x7f7fffff];
      const values = new Float32Array(Uint32Array.from({ length: 337 }, (_, i) => bits[i % bits.length]!).buffer);
      for (const drop of [0, 2 ** -33, 0.3, 0.5, 0.99, 1 - 2 ** -32, 1 - 2 ** -33, 1]) {
        for (const scale of [1, Math.fround(1 / (1 - drop))]) check(values, 3, key, drop, scale);
      }
    });

    /** Kernel memory with what a kernel wrote there. */
    const written = (count: number, write: (address: number) => void) => {
      const bytes = new Uint8Array(memory.buffer, START, count + 64).fill(0x5a);
      write(START);
      assert.ok(
        bytes.subarray(count).every((byte) => byte === 0x5a),
        "wrote beyond the end",
      );
      return bytes.slice(0, count);
    };

    it("writes the bytes that its definition writes", () => {
      const kernel = chanceBytesKernel(loadKernels(memory));
      for (const count of [0, 1, 3, 15, 16, 17, 127, 128, 129, 400]) {
        for (const firstEntry of [0, 1, 4, 15, 16, 2 ** 36 - 50, 2 ** 53 - 400]) {
          const expected = new Uint8Array(count);
          chanceBytes(key, firstEntry, expected);
          assert.deepEqual(
            written(count, (at) => kernel(at, count, firstEntry, key)),
            expected,
          );
        }
      }
    });

    it("says what is kept as its definition does, at thresholds with any upper byte and around words that are there", () => {
      const kernel = chanceKeptKernel(loadKernels(memory));
      const roll = dice(1);
      for (const firstEntry of [0, 9]) {
        const count = 700;
        const words = new Uint32Array(count);
        chanceWords(key, firstEntry, words);
        const shared = new Map(Array.from(words, (word) => [word >>> 24, word]));
        const thresholds = [0, 1, 2 ** 32 - 1, 2 ** 32];
        for (let top = 0; top < 256; top++) {
          const word = shared.get(top) ?? top * 2 ** 24 + roll(2 ** 24);
          thresholds.push(top * 2 ** 24, word, word + 1, top * 2 ** 24 + roll(2 ** 24));
        }
        for (const threshold of thresholds) {
          const expected = Uint8Array.from(words, (word) => (word < threshold ? 0 : 255));
          const defined = new Uint8Array(count);
          chanceKept(key, firstEntry, threshold, defined);
          assert.deepEqual(defined, expected);
          assert.deepEqual(
            written(count, (at) => kernel(at, count, firstEntry, key, threshold)),
            expected,
          );
        }
      }
    });

    it("agrees for any key, share and place", () => {
      const u32 = fc.integer({ min: 0, max: 0xffffffff });
      const keys = fc.record({ key0: u32, key1: u32, stream0: u32, stream1: u32 });
      const share = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
      fc.assert(
        fc.property(
          fc.nat(400),
          fc.maxSafeNat(),
          keys,
          share,
          fc.float({ noNaN: true }),
          (count, place, at, drop, scale) => {
            check(ramp(count), Math.max(0, place - 400), at, drop, scale);
          },
        ),
        { numRuns: 500 },
      );
    });
  });
}
