import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice, normals, patterns } from "../../../test/laws/support/random.js";
import { change, narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { createMemory, loadKernels } from "../load.js";
import { pruneKernels, rankScratchBytes } from "./binding.js";
import {
  addMagnitudes,
  applyKept,
  dropRanked,
  keepBand,
  keepRanked,
  L1_LANES,
  noteKept,
  noteWords,
  rankLine,
  rankThresholds,
  rowRanks,
} from "./definition.js";

const CHANGES = 65_536;
const ROOM = 65_536;
const RANKS = CHANGES + ROOM;
const WORDS = RANKS + ROOM;
const SMALL = WORDS + ROOM;
const SCRATCH = SMALL + 4096;
const GUARD = 64;
const MOST = 5000;

/** Rows as they occur, and rows that find mistakes. */
const KINDS = {
  normal: (count: number, seed: number) => normals(count, seed, 0.01),
  // Differences of BF16 entries: few values, zeros, and some with longer mantissas.
  coarse: (count: number, seed: number) => {
    const roll = dice(seed);
    return Float32Array.from({ length: count }, () => {
      const value = (roll(17) - 8) * 2 ** -(9 + roll(3));
      return roll(12) === 0 ? value + 2 ** -20 : value;
    });
  },
  equal: (count: number, seed: number) => new Float32Array(count).fill(seed % 3),
  wide: (count: number, seed: number) => {
    const roll = dice(seed);
    return Float32Array.from({ length: count }, () => (roll(2) === 0 ? -1 : 1) * 2 ** (roll(277) - 149));
  },
  any: (count: number, seed: number) => {
    const roll = dice(seed);
    const bits = Uint32Array.from({ length: count }, () =>
      roll(6) === 0 ? [0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 1][roll(6)]! : roll(2 ** 32),
    );
    return new Float32Array(bits.buffer);
  },
} as const;

const anyRow = fc
  .record({
    kind: fc.constantFrom(...(Object.keys(KINDS) as (keyof typeof KINDS)[])),
    count: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: MOST })),
    seed: fc.nat(),
  })
  .map(({ kind, count, seed }) => KINDS[kind](count, seed));

/** Bit patterns, with every NaN as one. */
const bitsOf = (values: Float32Array) =>
  [...patterns(values)].map((bits) => ((bits & 0x7fff_ffff) > 0x7f80_0000 ? NaN : bits));
/** Entries equal to an end of a band: some, none, more than there are. */
const anyLeft = fc.oneof(fc.nat(50), fc.constantFrom(0, MOST, 0x7fff_ffff));
const scale = fc.constantFrom(1, 2, Math.fround(1 / 0.3), Math.fround(1e30));

for (const shared of [false, true]) {
  describe(`prune kernels, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(SCRATCH + rankScratchBytes(MOST), shared);
    const kernels = pruneKernels(loadKernels(memory));
    const put = (address: number, values: Float32Array | Uint32Array) => {
      new Uint8Array(memory.buffer, address, values.byteLength + GUARD).fill(0x5a);
      new Uint32Array(memory.buffer, address, values.length).set(new Uint32Array(values.buffer, 0, values.length));
    };
    const take = (address: number, count: number) => {
      assert.ok(
        new Uint8Array(memory.buffer, address + 4 * count, GUARD).every((byte) => byte === 0x5a),
        "wrote beyond the end",
      );
      return Float32Array.from(new Float32Array(memory.buffer, address, count));
    };

    it("keep the band that the definition keeps, and spend what is left alike", () => {
      const property = fc.property(
        anyRow,
        fc.nat(),
        fc.nat(),
        anyLeft,
        anyLeft,
        scale,
        (row, first, second, keep, drop, by) => {
          const magnitudes = [...patterns(row)].map((bits) => bits & 0x7fff_ffff);
          const ends = [magnitudes[first % row.length]!, magnitudes[second % row.length]!].sort((a, b) => a - b);
          const band = { low: ends[0]!, high: ends[1]! };
          const expected = row.slice();
          const left = { low: keep, high: drop };
          keepBand(expected, band, by, left);
          put(CHANGES, row);
          const counts = new Int32Array(memory.buffer, SMALL, 2);
          counts.set([keep, drop]);
          kernels.band(CHANGES, row.length, band, by, SMALL);
          assert.deepEqual(bitsOf(take(CHANGES, row.length)), bitsOf(expected));
          assert.deepEqual([...counts], [left.low, left.high]);
        },
      );
      fc.assert(property, { numRuns: 300 });
    });

    it("rank a row as the definition does", () => {
      const property = fc.property(anyRow, (row) => {
        put(CHANGES, row);
        put(RANKS, new Uint32Array(row.length));
        kernels.rowRanks(CHANGES, row.length, RANKS, SCRATCH);
        const found = new Uint32Array(take(RANKS, row.length).buffer);
        assert.deepEqual(found, rowRanks(row));
      });
      fc.assert(property, { numRuns: 300 });
    });

    it("drop by rank what the definition drops", () => {
      const probability = fc.constantFrom(0, 0.1, 0.35, 0.5, 0.85, 1);
      const property = fc.property(
        anyRow,
        fc.nat(),
        probability,
        probability,
        fc.boolean(),
        scale,
        (row, seed, one, other, inverse, by) => {
          const roll = dice(seed);
          const line = rankLine(Math.min(one, other), Math.max(one, other), row.length);
          const ranks = rowRanks(row);
          // Words at, just above and just below the rank's threshold are where mistakes would show.
          const words = Uint32Array.from(ranks, (rank) => {
            const near = Math.round(line.first - line.step * rank) + roll(3) - 1;
            return roll(3) === 0 ? Math.max(0, Math.min(2 ** 32 - 1, near)) : roll(2 ** 32);
          });
          const expected = row.slice();
          dropRanked(expected, words, ranks, line, inverse, by);
          put(CHANGES, row);
          put(WORDS, words);
          put(RANKS, ranks);
          kernels.dropRanked(CHANGES, WORDS, RANKS, row.length, line, inverse, by);
          assert.deepEqual(bitsOf(take(CHANGES, row.length)), bitsOf(expected));
        },
      );
      fc.assert(property, { numRuns: 300 });
    });

    it("note and apply what was kept as the definitions do, from any bit on", () => {
      const property = fc.property(anyRow, fc.nat(20), fc.nat(), scale, (row, first, seed, by) => {
        const roll = dice(seed);
        const pruned = row.map((x) => (roll(2) === 0 ? x : 0));
        const before = Uint8Array.from({ length: MOST / 8 + 16 }, () => roll(256));
        const expected = before.slice();
        noteKept(pruned, first, expected);
        put(CHANGES, pruned);
        const mask = new Uint8Array(memory.buffer, SMALL, before.length);
        mask.set(before);
        kernels.noteKept(CHANGES, pruned.length, first, SMALL);
        assert.deepEqual(mask.slice(), expected);
        const kept = row.slice();
        applyKept(kept, first, expected, by);
        put(CHANGES, row);
        kernels.applyKept(CHANGES, row.length, first, SMALL, by);
        assert.deepEqual(bitsOf(take(CHANGES, row.length)), bitsOf(kept));
        // Pruned and noted, then applied to the whole: the pruned values.
        const again = row.slice();
        applyKept(again, first, expected, 1);
        assert.deepEqual(bitsOf(again), bitsOf(pruned.map((x, p) => (Number.isFinite(row[p]!) ? x : row[p]!))));
      });
      fc.assert(property, { numRuns: 300 });
    });

    it("keep by rank what the definition keeps, and note it with the sums", () => {
      const probability = fc.constantFrom(0, 0.1, 0.35, 0.5, 0.85, 1);
      const property = fc.property(
        anyRow,
        fc.nat(),
        fc.nat(20),
        probability,
        probability,
        (row, seed, first, one, other) => {
          const roll = dice(seed);
          const line = rankLine(Math.min(one, other), Math.max(one, other), row.length);
          const thresholds = rankThresholds(line, row.length);
          kernels.rankThresholds(RANKS, row.length, line);
          assert.deepEqual(new Uint32Array(memory.buffer, RANKS, row.length).slice(), thresholds);
          const ranks = rowRanks(row);
          // Words at, just above and just below the rank's threshold are where mistakes would show.
          const words = Uint32Array.from(ranks, (rank) => {
            const near = Math.max(0, Math.min(2 ** 32 - 1, thresholds[rank]! + roll(3) - 1));
            return roll(3) === 0 ? near : roll(2 ** 32);
          });
          const dropped = row.slice();
          dropRanked(dropped, words, ranks, line, false, 1);
          put(CHANGES, row);
          put(WORDS, words);
          kernels.keepRanked(CHANGES, WORDS, row.length, RANKS, SCRATCH);
          keepRanked(row, words, line);
          assert.deepEqual(new Uint32Array(take(WORDS, row.length).buffer), words);
          checkNoted(row, words, 1, first, roll);
          assert.deepEqual(bitsOf(dropped), bitsOf(row.map((x, p) => (words[p] === 0 && Number.isFinite(x) ? 0 : x))));
        },
      );
      fc.assert(property, { numRuns: 300 });
    });

    it("note what words keep, whatever the threshold", () => {
      const threshold = fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32);
      const property = fc.property(anyRow, fc.nat(), fc.nat(20), threshold, (row, seed, first, limit) => {
        const roll = dice(seed);
        const words = Uint32Array.from(row, () => {
          return roll(3) === 0 ? Math.max(0, Math.min(2 ** 32 - 1, limit + roll(3) - 1)) : roll(2 ** 32);
        });
        put(CHANGES, row);
        put(WORDS, words);
        checkNoted(row, words, limit, first, roll);
      });
      fc.assert(property, { numRuns: 200 });
    });

    /** The row and its words lie in memory. */
    const checkNoted = (
      row: Float32Array,
      words: Uint32Array,
      threshold: number,
      first: number,
      roll: (sides: number) => number,
    ) => {
      const mask = Uint8Array.from({ length: MOST / 8 + 16 }, () => roll(256));
      const noted = new Uint8Array(memory.buffer, SMALL + 2 * 8 * L1_LANES, mask.length);
      noted.set(mask);
      const found = new Float64Array(memory.buffer, SMALL, 2 * L1_LANES).fill(0.5);
      const sums = { before: new Float64Array(L1_LANES).fill(0.5), after: new Float64Array(L1_LANES).fill(0.5) };
      noteWords(row, words, threshold, first, mask, sums);
      kernels.noteWords(CHANGES, WORDS, row.length, threshold, first, noted.byteOffset, SMALL);
      assert.deepEqual(noted.slice(), mask);
      assert.deepEqual([...found], [...sums.before, ...sums.after]);
      kernels.noteWords(CHANGES, WORDS, row.length, threshold, first, 0, SMALL);
      assert.deepEqual(noted.slice(), mask, "without a mask nothing is noted");
    };

    for (const dtype of ["BF16", "F16", "F32"] as const) {
      it(`apply what was kept to entries as they are stored, ${dtype}`, () => {
        const property = fc.property(anyRow, fc.nat(20), fc.nat(), scale, (row, eighths, seed, by) => {
          const roll = dice(seed);
          const count = Math.ceil(row.length / 8) * 8;
          const stored = new Uint8Array(count * DTYPE_BYTES[dtype]);
          narrow(
            dtype,
            Float32Array.from({ length: count }, (_, p) => row[p] ?? 0),
            stored,
          );
          const base = Float32Array.from({ length: count }, () => (roll(9) - 4) / 512);
          const mask = Uint8Array.from({ length: MOST / 8 + 64 }, () => roll(256));
          const expected = new Float32Array(count);
          widen(dtype, stored, expected);
          change(expected, base, expected);
          applyKept(expected, 8 * eighths, mask, by);
          put(WORDS, base);
          new Uint8Array(memory.buffer, RANKS, stored.length).set(stored);
          new Uint8Array(memory.buffer, SMALL, mask.length).set(mask);
          put(CHANGES, new Float32Array(count));
          kernels.keptChange(dtype)(RANKS, WORDS, CHANGES, count, 8 * eighths, SMALL, by);
          assert.deepEqual(bitsOf(take(CHANGES, count)), bitsOf(expected));
        });
        fc.assert(property, { numRuns: 150 });
      });
    }

    it("sum magnitudes as the definition does, however a run is cut", () => {
      const property = fc.property(anyRow, fc.nat(), (row, cut) => {
        const at = cut % (row.length + 1);
        const expected = new Float64Array(L1_LANES);
        addMagnitudes(row, 0, expected);
        put(CHANGES, row);
        const sums = new Float64Array(memory.buffer, SMALL, L1_LANES);
        sums.fill(0);
        kernels.l1(CHANGES, at, 0, SMALL);
        kernels.l1(CHANGES + 4 * at, row.length - at, at % L1_LANES, SMALL);
        assert.deepEqual([...sums], [...expected]);
      });
      fc.assert(property, { numRuns: 200 });
    });
  });
}

describe("the definitions of pruning", () => {
  it("a band keeps what lies between, equal entries by lowest index", () => {
    const bits = (x: number) => patterns(Float32Array.of(x))[0]!;
    const changes = Float32Array.of(5, -4, 3, -3, 2, 2, -2, 1, NaN, Infinity);
    keepBand(changes, { low: bits(2), high: bits(4) }, 10, { low: 2, high: 1 });
    assert.deepEqual([...changes], [0, 0, 30, -30, 20, 20, 0, 0, NaN, Infinity]);
  });

  it("ranks ascend with the magnitude, equal ones with the index", () => {
    assert.deepEqual([...rowRanks(Float32Array.of(-3, 1, 0, 1, -0, 2))], [5, 2, 0, 3, 1, 4]);
  });

  it("probabilities run from the lowest to the highest, and a single entry has the mean", () => {
    const { first, step } = rankLine(0.25, 0.75, 3);
    assert.deepEqual(
      [first, first - step, first - 2 * step].map((dropped) => 1 - dropped / 2 ** 32),
      [0.25, 0.5, 0.75],
    );
    assert.deepEqual(rankLine(0.25, 0.75, 1), { first: 2 ** 31, step: 0 });
  });

  it("by rank, survivors are divided by their probability", () => {
    const changes = Float32Array.of(1, 2, 3);
    const words = Uint32Array.of(2 ** 32 - 1, 2 ** 31 - 1, 2 ** 30);
    dropRanked(changes, words, Uint32Array.of(0, 1, 2), rankLine(0.25, 0.75, 3), true, 1);
    assert.deepEqual([...changes], [4, 0, 4]);
  });
});
