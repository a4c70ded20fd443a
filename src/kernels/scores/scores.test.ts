import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice } from "../../../test/laws/support/random.js";
import { keyOf, LARGEST_KEY, scoreOf } from "../../statistics/order.js";
import { binCount, bracketOf } from "../../statistics/threshold.js";
import { createMemory, loadKernels } from "../load.js";
import { SCORE_STATE_BYTES, scoreKernels, ScoreStates } from "./binding.js";

const SCORES = 65_536;
const STATE = SCORES + 65_536;
const BINS = STATE + 1024;
const memory = createMemory(BINS + 2 * 1_048_576 + 65_536, false);
const kernels = scoreKernels(loadKernels(memory));
const states = new ScoreStates(memory, STATE, 3);

const SPECIAL = [0, -0, Number.NaN, Infinity, -Infinity, 1e-45, -1e-45, 3.4e38, -3.4e38, 1, -1];

/** Scores among which many are equal. */
function draw(count: number, seed: number): Float32Array {
  const roll = dice(seed);
  const scale = 10 ** (roll(20) - 10);
  return Float32Array.from({ length: count }, () => {
    if (roll(10) === 0) return SPECIAL[roll(SPECIAL.length)]!;
    return (roll(2) === 0 ? roll(40) - 20 : (roll(2 ** 24) / 2 ** 23 - 1) * 3) * scale;
  });
}

function put(scores: Float32Array): void {
  new Float32Array(memory.buffer, SCORES, scores.length).set(scores);
}

const cases = fc.record({ count: fc.integer({ min: 1, max: 100 }).map((n) => 8 * n), seed: fc.integer() });

describe("keys of scores", () => {
  it("are in the order of the scores, -0 as 0 and NaN first", () => {
    const sorted = [Number.NaN, -Infinity, -3.4e38, -1, -1e-45, 0, 1e-45, 1, 3.4e38, Infinity];
    const keys = sorted.map((score) => keyOf(score));
    assert.deepEqual(
      keys,
      [...keys].sort((a, b) => a - b),
    );
    assert.equal(keyOf(-0), keyOf(0));
    assert.equal(keys.at(-1), LARGEST_KEY);
    for (const score of sorted.slice(1)) assert.equal(scoreOf(keyOf(score)), Math.fround(score));
    assert.equal(scoreOf(keyOf(Number.NaN)), Number.NEGATIVE_INFINITY);
  });

  it("are what the kernel makes", () => {
    const property = fc.property(cases, ({ count, seed }) => {
      const scores = draw(count, seed);
      put(scores);
      kernels.keys(SCORES, count);
      assert.deepEqual([...new Uint32Array(memory.buffer, SCORES, count)], [...scores].map(keyOf));
    });
    fc.assert(property, { seed: 5, numRuns: 200 });
  });
});

describe("the range of scores", () => {
  it("passes over NaN, over several tiles", () => {
    const property = fc.property(cases, cases, (first, second) => {
      const all = [draw(first.count, first.seed), draw(second.count, second.seed)];
      states.startRange(0);
      for (const scores of all) {
        put(scores);
        kernels.range(SCORES, scores.length, STATE);
      }
      const numbers = all.flatMap((scores) => [...scores].filter((x) => !Number.isNaN(x)));
      const expected = {
        least: Math.min(...numbers) + 0,
        most: Math.max(...numbers) + 0,
        positive: numbers.filter((x) => x > 0).length,
      };
      assert.deepEqual(states.range(0), expected);
    });
    fc.assert(property, { seed: 6, numRuns: 200 });
  });
});

describe("sums of scores", () => {
  it("are made in eight lanes of f64, without what is not finite", () => {
    const property = fc.property(cases, fc.boolean(), ({ count, seed }, squares) => {
      const scores = draw(count, seed);
      put(scores);
      const half = Math.floor(count / 16) * 8;
      states.startSum(1);
      const add = squares ? kernels.squares : kernels.sum;
      add(SCORES, half, STATE + SCORE_STATE_BYTES);
      add(SCORES + 4 * half, count - half, STATE + SCORE_STATE_BYTES);
      const lanes = Array.from({ length: 8 }, () => 0);
      for (const [p, x] of scores.entries()) if (Number.isFinite(x)) lanes[p % 8]! += squares ? x * x : x;
      const [a, b, c, d, e, f, g, h] = lanes as [number, number, number, number, number, number, number, number];
      assert.equal(states.sum(1), a + b + (c + d) + (e + f + (g + h)));
    });
    fc.assert(property, { seed: 7, numRuns: 200 });
  });
});

describe("counts of scores around a bracket", () => {
  it("say how many lie above, at and in each bin", () => {
    const property = fc.property(cases, fc.array(fc.nat(), { minLength: 3, maxLength: 3 }), ({ count, seed }, at) => {
      const scores = draw(count, seed);
      const keys = [...scores].map(keyOf);
      const [low, guess, high] = at.map((place) => keys[place % count]!).sort((a, b) => a - b) as [
        number,
        number,
        number,
      ];
      const bracket = bracketOf(Math.min(low, guess - 1), guess, high);
      const words = new Uint32Array(memory.buffer, BINS, binCount(bracket)).fill(0);
      const isNoted = bracket.shift > 0 && bracket.shift <= 5;
      const seen = new Uint32Array(memory.buffer, BINS + 1_048_576, binCount(bracket)).fill(0);
      put(scores);
      states.startCount(2, { ...bracket, bins: BINS, seen: isNoted ? BINS + 1_048_576 : 0 });
      kernels.count(SCORES, count, STATE + 2 * SCORE_STATE_BYTES);
      assert.deepEqual(states.counts(2), {
        atHigh: keys.filter((key) => key >= bracket.high).length,
        above: keys.filter((key) => key > guess).length,
        atLeast: keys.filter((key) => key >= guess).length,
      });
      const inside = keys.filter((key) => key > bracket.low && key < bracket.high && key !== guess);
      const expected = new Map<number, number>();
      for (const key of inside) {
        const bin = Math.floor((key - bracket.low) / 2 ** bracket.shift);
        expected.set(bin, (expected.get(bin) ?? 0) + 1);
        if (isNoted) assert.ok(seen[bin]! & (1 << ((key - bracket.low) % 2 ** bracket.shift)));
      }
      for (const [bin, n] of expected) assert.equal(words[bin], n, `bin ${bin}`);
      assert.equal(
        words.reduce((sum, n) => sum + n, 0),
        inside.length,
      );
    });
    fc.assert(property, { seed: 8, numRuns: 60 });
  });
});
