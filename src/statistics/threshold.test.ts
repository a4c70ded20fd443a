import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { selectRank } from "../../test/laws/support/selection.js";
import { selectRanks } from "../kernels/select/definition.js";
import { randomWord, streamKey } from "../numbers/random.js";
import {
  binCount,
  type Bracket,
  bitsOfMagnitude,
  bracketFromSample,
  bracketOf,
  exactRank,
  isFound,
  magnitudeOf,
  MAX_BINS,
  notesSeen,
  resolve,
  SEEN_AT,
  standingOf,
  type SurveyCounts,
} from "./threshold.js";

/** What a pass over everything counts. */
function survey(magnitudes: Uint32Array, bracket: Bracket): SurveyCounts {
  const { low, guess, high, shift } = bracket;
  const bins = new Uint32Array(binCount(bracket));
  const seen = notesSeen(bracket) ? new Uint32Array(bins.length) : null;
  let [atHigh, above, atLeast] = [0, 0, 0];
  for (const magnitude of magnitudes) {
    if (magnitude >= high) atHigh++;
    if (magnitude > guess) above++;
    if (magnitude >= guess) atLeast++;
    if (magnitude <= low || magnitude >= high || magnitude === guess) continue;
    const bin = Math.floor((magnitude - low) / 2 ** shift);
    bins[bin]!++;
    if (seen !== null) seen[bin]! |= 1 << ((magnitude - low) % 2 ** shift);
  }
  return { atHigh, above, atLeast, bins, seen };
}

function checkBracket(bracket: Bracket): void {
  const { low, guess, high } = bracket;
  assert.ok(low >= -1 && low < guess && guess <= high && high <= 2 ** 31, JSON.stringify(bracket));
  assert.ok(binCount(bracket) <= (notesSeen(bracket) ? SEEN_AT : MAX_BINS));
}

/** Passes until the threshold is found. */
function search(magnitudes: Uint32Array, rank: number, first: Bracket): number {
  const expected = selectRank(magnitudes.slice().sort().reverse(), rank);
  let bracket = first;
  for (let passes = 1; ; passes++) {
    checkBracket(bracket);
    const result = resolve(bracket, rank, survey(magnitudes, bracket));
    if (isFound(result)) {
      const { bits, above, atLeast, guessed } = result;
      assert.deepEqual({ bits, above, atLeast }, expected);
      assert.equal(guessed, bits === bracket.guess);
      return passes;
    }
    assert.ok(passes < 4, "does not end");
    bracket = result;
  }
}

const LARGEST = 0x7fffffff;
/** Few values or many, close together or over all exponents. */
const magnitudes = fc
  .oneof(
    fc.array(fc.nat(LARGEST), { minLength: 1, maxLength: 60 }),
    fc.array(fc.constantFrom(0, 1, 2, 0x3f800000, 0x3f800001, 0x3f80001f, 0x7f800000, LARGEST), {
      minLength: 1,
      maxLength: 60,
    }),
    fc
      .record({ from: fc.nat(0x7f000000), steps: fc.array(fc.nat(5_000_000), { minLength: 1, maxLength: 60 }) })
      .map(({ from, steps }) => steps.map((step) => from + step)),
    fc
      .record({ from: fc.nat(0x7f000000), steps: fc.array(fc.nat(70), { minLength: 1, maxLength: 60 }) })
      .map(({ from, steps }) => steps.map((step) => from + step)),
  )
  .map((values) => Uint32Array.from(values));

describe("the threshold of a rank", () => {
  it("is found whatever the sample says", () => {
    const property = fc.property(magnitudes, magnitudes, fc.nat(), fc.nat(3), (values, others, choice, kind) => {
      const rank = 1 + (choice % values.length);
      // Everything, a part, something else, nothing.
      const sample = [values, values.filter((_, at) => at % 3 === 0), others, new Uint32Array()][kind]!;
      const before = sample.slice();
      search(values, rank, bracketFromSample(sample, rank, values.length, 1 + (choice % 3)));
      assert.deepEqual(sample, before);
    });
    fc.assert(property, { seed: 5, numRuns: 400 });
  });

  it("is found at once where the sample is good", () => {
    const values = Uint32Array.from({ length: 60_000 }, (_, at) => 0x3c000000 + (Math.imul(at, 0x9e3779b1) >>> 16));
    const sample = values.filter((_, at) => at % 10 < 3);
    for (const rank of [600, 12_001, 30_000, 59_400]) {
      assert.equal(search(values, rank, bracketFromSample(sample, rank, values.length, 1)), 1);
    }
  });

  it("is found at once where rows differ in scale, as a sample of runs shows", () => {
    const [rows, row] = [512, 256];
    const rank = Math.round((rows * row) / 5);
    const inOnePass = (run: number) =>
      [1, 2, 3, 4, 5, 6, 7, 8].filter((seed) => {
        const key = streamKey(seed, "model", "tensor");
        const drawn = (entry: number) => randomWord(key, entry) / 2 ** 32;
        // Of few distinct magnitudes, as differences of 16-bit entries are.
        const values = Uint32Array.from({ length: rows * row }, (_, at) => {
          const scale = 0.7 + 0.6 * drawn(rows * row + Math.floor(at / row));
          return bitsOfMagnitude(drawn(at) * scale) & 0xffff_e000;
        });
        const sample = values.filter((_, at) => Math.floor(at / row) % 8 === seed - 1);
        return search(values, rank, bracketFromSample(sample, rank, values.length, run)) === 1;
      }).length;
    assert.equal(inOnePass(row), 8);
    // As if the entries of a row had nothing in common.
    assert.ok(inOnePass(1) < 8);
  });

  it("is found at once in bins that drop bits, as long as each met one value", () => {
    // Multiples of 32 patterns: too many for a bin each, but every bin has one.
    const values = Uint32Array.from({ length: 3000 }, (_, at) => 0x3c000000 + 1024 * at);
    const bracket = bracketOf(0x3c000000 - 1, 0x3c000000 + 5 * 1024, 0x3c000000 + 3_100_000);
    assert.ok(notesSeen(bracket));
    for (const rank of [1, 1500, 2994, 2995, 2996, 3000]) assert.equal(search(values, rank, bracket), 1);
  });

  it("is told apart from a guess in the same bin", () => {
    const start = 0x3c000000;
    for (const [guess, other] of [
      [1, 6],
      [6, 1],
    ] as const) {
      // A bracket of half a million patterns, so that a bin has eight of them; in one the guess twice, and another.
      const values = Uint32Array.of(
        start + 500_000,
        start + 320 + guess,
        start + 320 + other,
        start + 320 + guess,
        start + 1,
      );
      const bracket = bracketOf(start, start + 320 + guess, start + 600_000);
      assert.ok(notesSeen(bracket));
      for (let rank = 1; rank <= values.length; rank++) assert.equal(search(values, rank, bracket), 1);
    }
  });

  it("is that of a small group, counted exactly", () => {
    const property = fc.property(magnitudes, fc.nat(), (values, choice) => {
      const rank = 1 + (choice % values.length);
      const sorted = values.slice().sort().reverse();
      const { guessed, ...found } = exactRank(values, rank);
      assert.deepEqual(found, selectRank(sorted, rank));
      assert.ok(guessed);
      const ranks = [1, rank, values.length];
      assert.deepEqual(
        ranks.map(selectRanks(values)),
        ranks.map((one) => selectRank(sorted, one)),
      );
    });
    fc.assert(property, { seed: 6, numRuns: 300 });
  });
});

describe("what a sample says of a guess", () => {
  // A thousand entries: 300 times 9, 200 times 5, 500 times 1.
  const counts = new Map([
    [9, { above: 0, atLeast: 300 }],
    [7, { above: 300, atLeast: 300 }],
    [5, { above: 300, atLeast: 500 }],
    [1, { above: 500, atLeast: 1000 }],
  ]);
  const confidenceOf = (guess: number, rank: number, entries: number) =>
    standingOf(counts.get(guess)!, (rank / entries) * 1000, 15).confidence;

  it("is the distance to the nearer end of the equal entries, in deviations of a sampled rank", () => {
    assert.equal(confidenceOf(5, 400, 1000), 100 / Math.hypot(15, 1));
    assert.equal(confidenceOf(5, 4000, 10_000), 100 / Math.hypot(15, 1));
  });

  it("is negative for a guess that the sample itself refutes", () => {
    assert.ok(confidenceOf(9, 400, 1000) < 0);
    assert.ok(confidenceOf(1, 400, 1000) < 0);
    assert.ok(confidenceOf(7, 310, 1000) < 0);
  });
});

describe("magnitudes", () => {
  it("NaN patterns stand for infinity", () => {
    assert.deepEqual([0, 1, 0x3f800000, 0x7f800000, 0x7fc00000].map(magnitudeOf), [
      0,
      2 ** -149,
      1,
      Infinity,
      Infinity,
    ]);
  });
});
