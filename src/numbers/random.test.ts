import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { StreamKey, Words } from "./random.js";
import {
  chanceBytes,
  chanceKept,
  chanceWord,
  chanceWords,
  dropChanges,
  dropThreshold,
  isBelow,
  philox4x32,
  randomWord,
  randomWords,
  streamKey,
} from "./random.js";

function philox(counter: Words, key0: number, key1: number): string {
  const out = new Uint32Array(4);
  philox4x32(counter, key0, key1, out);
  return Array.from(out, (word) => word.toString(16).padStart(8, "0")).join(" ");
}

/** Philox4x32-10 on BigInts. */
function reference(counter: readonly number[], key: readonly number[]): number[] {
  const mask = 0xffffffffn;
  let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * a;
    const p1 = 0xcd9e8d57n * c;
    [a, b, c, d] = [(p1 >> 32n) ^ b ^ k0, p1 & mask, (p0 >> 32n) ^ d ^ k1, p0 & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [a, b, c, d].map(Number);
}

const key = streamKey(42, "math", "model.layers.0.mlp.up_proj.weight");
const u32 = fc.integer({ min: 0, max: 0xffffffff });

describe("Philox4x32-10", () => {
  it("gives the published values", () => {
    const ones = 0xffffffff;
    assert.equal(philox([0, 0, 0, 0], 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
    assert.equal(philox([ones, ones, ones, ones], ones, ones), "408f276d 41c83b0e a20bc7c6 6d5451fd");
    const pi: Words = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    assert.equal(philox(pi, 0xa4093822, 0x299f31d0), "d16cfe09 94fdcceb 5001e420 24126ea1");
  });

  it("agrees with a plain reference", () => {
    fc.assert(
      fc.property(fc.tuple(u32, u32, u32, u32), u32, u32, (counter, key0, key1) => {
        const out = new Uint32Array(4);
        philox4x32(counter, key0, key1, out);
        assert.deepEqual(Array.from(out), reference(counter, [key0, key1]));
      }),
    );
  });
});

const halves = (seed: number): number[] => {
  const { key0, key1 } = streamKey(seed, "m", "t");
  return [key0, key1];
};

describe("streamKey", () => {
  it("holds the seed in two halves, negative ones in two's complement", () => {
    assert.deepEqual(halves(0), [0, 0]);
    assert.deepEqual(halves(0x1_2345_6789), [0x2345_6789, 1]);
    assert.deepEqual(halves(2 ** 53 - 1), [0xffffffff, 0x1fffff]);
    assert.deepEqual(halves(-1), [0xffffffff, 0xffffffff]);
    assert.throws(() => halves(0.5), /whole number/);
    assert.throws(() => halves(2 ** 53), /whole number/);
  });

  it("names the stream after model and tensor", () => {
    // XXH64 of "a\0b"
    assert.deepEqual(streamKey(7, "a", "b"), { key0: 7, key1: 0, stream0: 0x8d1338c1, stream1: 0xb51b25d6 });
    assert.notDeepEqual(streamKey(7, "ab", "c"), streamKey(7, "a", "bc"));
    assert.notDeepEqual(streamKey(7, "é", "t"), streamKey(7, "e", "t"));
  });
});

describe("randomWord", () => {
  it("is word e mod 4 of block e / 4, also beyond 2^32 blocks", () => {
    const { key0, key1, stream0, stream1 } = key;
    for (const entry of [0, 1, 2, 3, 4, 7, 2 ** 32 - 1, 2 ** 34 - 1, 2 ** 34, 2 ** 34 + 6, 2 ** 53 - 1]) {
      const block = Math.floor(entry / 4);
      const counter = [block % 2 ** 32, Math.floor(block / 2 ** 32), stream0, stream1];
      assert.equal(randomWord(key, entry), reference(counter, [key0, key1])[entry % 4]);
    }
  });

  it("stays what it is: a recorded mask can be made again", () => {
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((entry) => randomWord(streamKey(1, "model", "tensor"), entry)),
      [842941422, 846410619, 533979364, 2232666932, 2181261693],
    );
  });
});

describe("dropThreshold", () => {
  it("rounds drop × 2^32 to the nearest whole number", () => {
    assert.deepEqual([0, 0.5, 0.75, 1].map(dropThreshold), [0, 2 ** 31, 3 * 2 ** 30, 2 ** 32]);
    assert.equal(dropThreshold(0.9), 3865470566);
    assert.deepEqual([2 ** -34, 2 ** -33, 1 - 2 ** -34, 1 - 2 ** -32].map(dropThreshold), [0, 1, 2 ** 32, 2 ** 32 - 1]);
  });
});

const run = (values: Float32Array, firstEntry: number, at: StreamKey, drop: number, scale = 1): number[] => {
  const changes = Float32Array.from(values);
  dropChanges(changes, firstEntry, at, drop, scale);
  return Array.from(changes);
};

describe("randomWords", () => {
  it("are the words of the entries one by one", () => {
    for (const firstEntry of [0, 3, 2 ** 34 - 50]) {
      const found = new Uint32Array(100);
      randomWords(key, firstEntry, found);
      assert.deepEqual(
        Array.from(found),
        Array.from(found, (_, i) => randomWord(key, firstEntry + i)),
      );
    }
  });
});

describe("chance words", () => {
  it("begin with byte e mod 16 of block 2^63 + e / 16 and end with the entry's own word, beyond 2^32 blocks too", () => {
    const { key0, key1, stream0, stream1 } = key;
    for (const entry of [0, 1, 3, 4, 7, 15, 16, 31, 2 ** 32 - 1, 2 ** 36 - 1, 2 ** 36, 2 ** 36 + 6, 2 ** 53 - 1]) {
      const block = Math.floor(entry / 16);
      const counter = [block % 2 ** 32, 2 ** 31 + Math.floor(block / 2 ** 32), stream0, stream1];
      const bytes = new Uint8Array(Uint32Array.from(reference(counter, [key0, key1])).buffer);
      assert.equal(chanceWord(key, entry), bytes[entry % 16]! * 2 ** 24 + Math.floor(randomWord(key, entry) / 256));
    }
  });

  it("stay what they are: a recorded mask can be made again", () => {
    assert.deepEqual(
      [0, 1, 2, 3, 4, 17].map((entry) => chanceWord(streamKey(1, "model", "tensor"), entry)),
      [2704424515, 422736691, 2619331552, 3984921547, 1199702889, 2138522153],
    );
  });

  it("come in runs as they come one by one", () => {
    for (const firstEntry of [0, 3, 15, 2 ** 36 - 50, 2 ** 53 - 100]) {
      const words = new Uint32Array(100);
      const bytes = new Uint8Array(100);
      chanceWords(key, firstEntry, words);
      chanceBytes(key, firstEntry, bytes);
      const expected = Array.from(words, (_, i) => chanceWord(key, firstEntry + i));
      assert.deepEqual(Array.from(words), expected);
      assert.deepEqual(
        Array.from(bytes),
        expected.map((word) => word >>> 24),
      );
    }
  });

  it("are below a threshold or not by their bytes, and by the rest where those are equal", () => {
    const entries = 4000;
    const words = new Uint32Array(entries);
    chanceWords(key, 5, words);
    const kept = new Uint8Array(entries);
    const at = words[7]!;
    for (const threshold of [0, 1, at - 1, at, at + 1, at - (at % 2 ** 24), 2 ** 31 + 12345, 2 ** 32 - 1, 2 ** 32]) {
      chanceKept(key, 5, threshold, kept);
      assert.deepEqual(
        Array.from(kept),
        Array.from(words, (word) => (word < threshold ? 0 : 255)),
      );
      words.forEach((word, i) => assert.equal(isBelow(word >>> 24, threshold, key, 5 + i), word < threshold));
    }
  });

  it("are uniform: in every bit, in every byte of a block, and in the lower bits under any upper ones", () => {
    const entries = 1 << 18;
    const words = new Uint32Array(entries);
    chanceWords(key, 0, words);
    const within = (found: number, of: number, share: number) => {
      const sigma = Math.sqrt(of * share * (1 - share));
      assert.ok(Math.abs(found - of * share) < 5 * sigma, `${found} of ${of}, expected ${of * share}`);
    };
    for (let bit = 0; bit < 32; bit++) {
      within(
        words.reduce((sum, word) => sum + ((word >>> bit) & 1), 0),
        entries,
        1 / 2,
      );
    }
    const counts = new Uint32Array(256);
    const low = new Uint32Array(256);
    const high = new Uint32Array(16);
    words.forEach((word, entry) => {
      counts[word >>> 24]!++;
      low[word >>> 24]! += (word >>> 23) & 1;
      high[entry % 16]! += word >>> 31;
    });
    counts.forEach((count, byte) => {
      within(count, entries, 1 / 256);
      within(low[byte]!, count, 1 / 2);
    });
    for (const count of high) within(count, entries / 16, 1 / 2);
  });
});

describe("dropChanges", () => {
  it("keeps an entry if its word is not below the threshold", () => {
    const ones = new Float32Array(100).fill(1);
    for (const firstEntry of [0, 3, 2 ** 34 - 50]) {
      const expected = Array.from(ones, (_, i) => (chanceWord(key, firstEntry + i) >= dropThreshold(0.3) ? 1 : 0));
      assert.deepEqual(run(ones, firstEntry, key, 0.3), expected);
    }
  });

  it("keeps an entry whose word equals the threshold", () => {
    const words = Array.from({ length: 8 }, (_, entry) => chanceWord(key, entry));
    words.forEach((word, entry) => {
      assert.deepEqual(run(Float32Array.of(1), entry, key, word / 2 ** 32), [1]);
      assert.deepEqual(run(Float32Array.of(1), entry, key, (word + 1) / 2 ** 32), [0]);
    });
  });

  it("gives the same however the tensor is cut", () => {
    const whole = Float32Array.from({ length: 64 }, (_, i) => i + 1);
    const expected = run(whole, 1000, key, 0.5, 2);
    for (let cut = 0; cut <= whole.length; cut++) {
      const parts = [run(whole.subarray(0, cut), 1000, key, 0.5, 2), run(whole.subarray(cut), 1000 + cut, key, 0.5, 2)];
      assert.deepEqual(parts.flat(), expected);
    }
  });

  it("keeps all at 0 and none at 1", () => {
    const values = Float32Array.from({ length: 5000 }, (_, i) => i - 2500);
    assert.deepEqual(run(values, 0, key, 0), Array.from(values));
    assert.deepEqual(
      run(values, 0, key, 1, Infinity),
      Array.from(values, () => 0),
    );
  });

  it("multiplies survivors by the scale, rounded once", () => {
    const values = new Float32Array(50).fill(0.1);
    const scale = Math.fround(1 / (1 - 0.9));
    const scaled = Math.fround(Math.fround(0.1) * scale);
    const found = new Set(run(values, 0, key, 0.9, scale));
    assert.deepEqual(found, new Set([0, scaled]));
  });

  it("never hides NaN or infinity, and drops to +0", () => {
    const values = Float32Array.of(NaN, Infinity, -Infinity, -1, -0);
    assert.deepEqual(run(values, 0, key, 1, Infinity), [NaN, Infinity, -Infinity, 0, 0]);
    assert.deepEqual(run(values, 0, key, 0), [NaN, Infinity, -Infinity, -1, -0]);
  });

  it("drops the share asked for, independently for every stream", () => {
    const entries = 1 << 18;
    const ones = new Float32Array(entries).fill(1);
    const masks = [
      key,
      streamKey(43, "math", "model.layers.0.mlp.up_proj.weight"),
      streamKey(42, "code", "t"),
      streamKey(42, "math", "t"),
    ].map((at) => run(ones, 0, at, 0.25));
    const within = (found: number, share: number): void => {
      const sigma = Math.sqrt(entries * share * (1 - share));
      assert.ok(Math.abs(found - entries * share) < 5 * sigma, `${found} of ${entries}, expected ${entries * share}`);
    };
    masks.forEach((mask, i) => {
      within(
        mask.reduce((sum, kept) => sum + kept, 0),
        0.75,
      );
      for (const other of masks.slice(i + 1))
        within(
          mask.reduce((sum, kept, e) => sum + kept * other[e]!, 0),
          0.5625,
        );
    });
  });
});
