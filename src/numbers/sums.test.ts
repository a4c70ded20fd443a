import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Moments } from "./sums.js";
import {
  CompensatedSum,
  NO_MOMENTS,
  deviationOf,
  energyOf,
  mergeBlocks,
  mergeMoments,
  momentsOf,
  sumOf,
} from "./sums.js";

const f32 = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });

describe("CompensatedSum", () => {
  it("keeps what plain and Kahan's sums lose", () => {
    assert.equal(sumOf([1, 1e100, 1, -1e100]), 2);
    assert.equal(sumOf([1e16, 1, -1e16]), 1);
    assert.equal(sumOf(Array.from({ length: 1_000_000 }, () => 0.1)), 100_000);
  });

  it("is exact for integers whatever their order", () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeInteger(), { maxLength: 50 }), (values) => {
        const exact = values.reduce((sum, value) => sum + BigInt(value), 0n);
        assert.equal(sumOf(values), Number(exact));
      }),
    );
  });

  it("gives what addition gives for infinities and NaN", () => {
    assert.equal(sumOf([1, Infinity, 2]), Infinity);
    assert.equal(sumOf([1, -Infinity, 2]), -Infinity);
    assert.ok(Number.isNaN(sumOf([Infinity, -Infinity])));
    assert.ok(Number.isNaN(sumOf([NaN, 1])));
    assert.equal(sumOf([Number.MAX_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE]), Infinity);
  });

  it("of nothing is 0", () => {
    assert.equal(new CompensatedSum().value, 0);
  });
});

describe("moments", () => {
  it("of a block", () => {
    assert.deepEqual(momentsOf(Float32Array.of(2, 4, 4, 4, 5, 5, 7, 9)), { entries: 8, mean: 5, squares: 32 });
    assert.deepEqual(momentsOf(new Float32Array(0)), NO_MOMENTS);
    assert.equal(deviationOf(momentsOf(Float32Array.of(3))), 0);
    assert.equal(deviationOf(momentsOf(Float32Array.of(1, 2, 3))), 1);
    assert.equal(deviationOf(NO_MOMENTS), 0);
    assert.equal(energyOf(momentsOf(Float32Array.of(1, 2, 3))), 14);
  });

  it("of blocks together are those of the whole", () => {
    fc.assert(
      fc.property(fc.array(fc.array(f32, { maxLength: 40 }), { maxLength: 8 }), (blocks) => {
        const merged = mergeBlocks(blocks.map((block) => momentsOf(Float32Array.from(block))));
        const whole = momentsOf(Float32Array.from(blocks.flat()));
        const largest = Math.max(1, ...blocks.flat().map(Math.abs));
        assert.equal(merged.entries, whole.entries);
        assert.ok(Math.abs(merged.mean - whole.mean) <= 1e-12 * largest);
        assert.ok(Math.abs(merged.squares - whole.squares) <= 1e-10 * largest ** 2 * whole.entries);
      }),
    );
  });

  it("do not cancel far from zero", () => {
    const far = Float32Array.from({ length: 1000 }, (_, i) => 2 ** 23 + (i % 2));
    const halves = [far.subarray(0, 500), far.subarray(500)].map(momentsOf);
    assert.equal(mergeBlocks(halves).squares, 250);
  });

  it("ignore empty blocks to the last bit", () => {
    const some: Moments = momentsOf(Float32Array.of(0.1, 0.2, 0.7));
    assert.deepEqual(mergeMoments(NO_MOMENTS, some), some);
    assert.deepEqual(mergeMoments(some, NO_MOMENTS), some);
  });

  it("carry NaN", () => {
    const { mean, squares } = mergeBlocks([momentsOf(Float32Array.of(1, 2)), momentsOf(Float32Array.of(NaN))]);
    assert.ok(Number.isNaN(mean) && Number.isNaN(squares));
  });
});
