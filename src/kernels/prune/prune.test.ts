import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice, normals, patterns } from "../../../test/laws/support/random.js";
import { change, narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { isBelow, randomWord, streamKey } from "../../numbers/random.js";
import { createMemory, loadKernels } from "../load.js";
import { pruneKernels, rankScratchBytes } from "./binding.js";
import {
  addMagnitudes,
  applyKept,
  dropRanked,
  keepBand,
  keepRanked,
  L1_LANES,
  noteChosen,
  noteKept,
  rankLine,
  rankThresholds,
  rowRanks,
} from "./definition.js";

const CHANGES = 65_536;
const ROOM = 65_536;
const RANKS = CHANGES + ROOM;
const OTHER = RANKS + ROOM;
const SMALL = OTHER + ROOM;
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
const key = streamKey(42, "model", "tensor");
/** Of an entry's chance word the lower 24 bits. */
const lowBits = (entry: number) => randomWord(key, entry) >>> 8;

/**
 * A line over the ranks of a row: its ends are 0, 1 or in between, or it is flat and lies at, just below or just above a word
 * that ends as an entry's does.
 */
const anyLine = fc
  .tuple(
    fc.constantFrom(0, 0.1, 0.35, 0.5, 0.85, 1),
    fc.constantFrom(0, 0.1, 0.35, 0.5, 0.85, 1),
    fc.boolean(),
    fc.nat(),
  )
  .map(([one, other, isFlat, seed]) => (length: number, firstEntry: number) => {
    if (!isFlat) return rankLine(Math.min(one, other), Math.max(one, other), length);
    const roll = dice(seed);
    const word = roll(256) * 2 ** 24 + lowBits(firstEntry + roll(length)) + roll(3) - 1;
    return { first: Math.max(0, word), step: 0 };
  });

/** Bytes of chance words that share their thresholds' bytes, or those beside them, a third of the time. */
function bytesAt(thresholds: readonly number[], roll: (sides: number) => number): Uint8Array {
  return Uint8Array.from(thresholds, (threshold) => {
    const near = Math.floor(threshold / 2 ** 24) + (roll(4) === 0 ? roll(3) - 1 : 0);
    return roll(3) === 0 ? Math.max(0, Math.min(255, near)) : roll(256);
  });
}

const anyEntry = fc.oneof(
  fc.nat(100),
  fc.maxSafeNat().map((entry) => Math.max(0, entry - MOST)),
);
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
      const property = fc.property(
        anyRow,
        fc.nat(),
        anyLine,
        anyEntry,
        fc.boolean(),
        scale,
        (row, seed, lineOf, firstEntry, inverse, by) => {
          const line = lineOf(row.length, firstEntry);
          const ranks = rowRanks(row);
          const thresholds = rankThresholds(line, row.length);
          const drawn = bytesAt(
            Array.from(ranks, (rank) => thresholds[rank]!),
            dice(seed),
          );
          const expected = row.slice();
          dropRanked(expected, { bytes: drawn, key, firstEntry }, ranks, line, inverse, by);
          put(CHANGES, row);
          new Uint8Array(memory.buffer, OTHER, row.length).set(drawn);
          put(RANKS, ranks);
          const at = { bytes: OTHER, key, firstEntry };
          kernels.dropRanked(CHANGES, at, RANKS, row.length, line, inverse, by);
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

    it("keep by rank what the definition keeps, of one row and of many, and note it with the sums", () => {
      const property = fc.property(
        anyRow,
        fc.nat(),
        fc.nat(20),
        anyLine,
        anyEntry,
        fc.integer({ min: 1, max: 5 }),
        (all, seed, first, lineOf, firstEntry, rows) => {
          const roll = dice(seed);
          const length = Math.max(1, Math.floor(all.length / rows));
          const count = length * Math.min(rows, all.length);
          const row = all.slice(0, count);
          const line = lineOf(length, firstEntry);
          const thresholds = rankThresholds(line, length);
          kernels.rankThresholds(RANKS, length, line);
          assert.deepEqual(new Uint32Array(memory.buffer, RANKS, length).slice(), thresholds);
          const ofEntries: number[] = [];
          for (let start = 0; start < count; start += length) {
            ofEntries.push(...Array.from(rowRanks(row.slice(start, start + length)), (rank) => thresholds[rank]!));
          }
          const bytes = bytesAt(ofEntries, roll);
          const kept = bytes.map((byte, p) => (isBelow(byte, ofEntries[p]!, key, firstEntry + p) ? 0 : 255));
          put(CHANGES, row);
          new Uint8Array(memory.buffer, OTHER + ROOM / 2, count).set(bytes);
          const inMemory = new Uint8Array(memory.buffer, OTHER, count + GUARD).fill(0x5a);
          const size = { row: length, rows: count / length };
          const at = { bytes: OTHER + ROOM / 2, key, firstEntry };
          kernels.keepRanked(CHANGES, at, OTHER, size, RANKS, SCRATCH);
          const chosen = new Uint8Array(count);
          keepRanked(row, length, { bytes, key, firstEntry }, line, chosen);
          assert.deepEqual(chosen, kept);
          assert.deepEqual(inMemory.slice(0, count), chosen);
          assert.ok(
            inMemory.subarray(count).every((byte) => byte === 0x5a),
            "wrote beyond the end",
          );
          checkNoted(row, chosen, first, roll);
        },
      );
      fc.assert(property, { numRuns: 300 });
    });

    it("note what was chosen, of any row", () => {
      const property = fc.property(anyRow, fc.nat(), fc.nat(20), fc.constantFrom(0, 1, 2), (row, seed, first, few) => {
        const roll = dice(seed);
        const chosen = Uint8Array.from(row, () => (roll(2) < few ? 255 : 0));
        put(CHANGES, row);
        new Uint8Array(memory.buffer, OTHER, row.length).set(chosen);
        checkNoted(row, chosen, first, roll);
      });
      fc.assert(property, { numRuns: 200 });
    });

    /** The row and what is chosen of it lie in memory. */
    const checkNoted = (row: Float32Array, chosen: Uint8Array, first: number, roll: (sides: number) => number) => {
      const mask = Uint8Array.from({ length: MOST / 8 + 16 }, () => roll(256));
      const noted = new Uint8Array(memory.buffer, SMALL + 2 * 8 * L1_LANES, mask.length);
      noted.set(mask);
      const found = new Float64Array(memory.buffer, SMALL, 2 * L1_LANES).fill(0.5);
      const sums = { before: new Float64Array(L1_LANES).fill(0.5), after: new Float64Array(L1_LANES).fill(0.5) };
      noteChosen(row, chosen, first, mask, sums);
      kernels.noteChosen(CHANGES, OTHER, row.length, first, noted.byteOffset, SMALL);
      assert.deepEqual(noted.slice(), mask);
      assert.deepEqual([...found], [...sums.before, ...sums.after]);
      kernels.noteChosen(CHANGES, OTHER, row.length, first, 0, SMALL);
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
          put(OTHER, base);
          new Uint8Array(memory.buffer, RANKS, stored.length).set(stored);
          new Uint8Array(memory.buffer, SMALL, mask.length).set(mask);
          put(CHANGES, new Float32Array(count));
          kernels.keptChange(dtype)(RANKS, OTHER, CHANGES, count, 8 * eighths, SMALL, by);
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
    const drawn = { bytes: Uint8Array.of(255, 127, 64), key, firstEntry: 0 };
    dropRanked(changes, drawn, Uint32Array.of(0, 1, 2), rankLine(0.25, 0.75, 3), true, 1);
    assert.deepEqual([...changes], [4, 0, 4]);
  });
});
