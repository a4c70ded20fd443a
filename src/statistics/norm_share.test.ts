import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { normPrefixes } from "../../test/laws/support/selection.js";
import { crossingBin, crossingValue, type EnergyBinsLike } from "./norm_share.js";

/** Squared mantissas per bin of the upper 16 bits, in the two parts in which threads add them up. */
function binsOf(magnitudes: readonly number[]): EnergyBinsLike {
  const bins = { counts: new Float64Array(32_768), upper: new Float64Array(32_768), lower: new Float64Array(32_768) };
  for (const bits of magnitudes) {
    const mantissa = bits < 0x800000 ? bits : (bits & 0x7fffff) | 0x800000;
    const upper = Math.floor((mantissa * mantissa) / 2 ** 24);
    bins.counts[bits >>> 16]!++;
    bins.upper[bits >>> 16]! += upper;
    bins.lower[bits >>> 16]! += mantissa * mantissa - upper * 2 ** 24;
  }
  return bins;
}

function find(magnitudes: readonly number[], share: number): { bits: number; kept: number } | null {
  const crossing = crossingBin(binsOf(magnitudes), share);
  if (crossing === null) return null;
  const patterns = new Float64Array(65_536);
  for (const bits of magnitudes) if (bits >>> 16 === crossing.bin) patterns[bits & 0xffff]!++;
  return crossingValue(crossing, patterns);
}

const one = 0x3f800000;
const half = 0x3f000000;

describe("the share of a squared norm", () => {
  it("by hand", () => {
    // Squares 1, 1/4, 1/4, 1/4, 1/4: together 2.
    const magnitudes = [half, one, half, half, half];
    assert.equal(find(magnitudes, 0), null);
    assert.deepEqual(find(magnitudes, 0.25), { bits: one, kept: 1 });
    assert.deepEqual(find(magnitudes, 0.5), { bits: one, kept: 1 });
    assert.deepEqual(find(magnitudes, 0.5 + 2 ** -53), { bits: half, kept: 5 });
    assert.deepEqual(find(magnitudes, 1), { bits: half, kept: 5 });
    assert.equal(find([0, 0], 0.5), null);
  });

  it("counts infinities and NaN as kept, without a norm", () => {
    assert.deepEqual(find([one, 0x7f800000, 0x7fc00000, half], 0.5), { bits: one, kept: 3 });
  });

  it("equals brute force, over all exponents and with equal entries", () => {
    const pattern = fc.oneof(
      fc.nat(0x7f7fffff),
      fc.constantFrom(0, 1, 2, 0x7fffff, 0x800000, one, one, half, 0x7f7fffff),
    );
    const list = fc.array(
      fc.oneof(
        pattern,
        fc.nat(400).map((step) => one + step),
      ),
      { minLength: 1, maxLength: 80 },
    );
    const share = fc.integer({ min: 0, max: 2 ** 53 }).map((m) => m / 2 ** 53);
    const property = fc.property(list, fc.oneof(share, fc.constantFrom(0, 0.5, 0.75, 1)), (magnitudes, wanted) => {
      const sorted = Uint32Array.from(magnitudes).sort().reverse();
      const [prefix] = normPrefixes(sorted, [wanted]);
      // Entries equal to the crossing one survive together.
      const expected =
        prefix === null ? null : { bits: prefix!.bits, kept: sorted.filter((bits) => bits >= prefix!.bits).length };
      assert.deepEqual(find(magnitudes, wanted), expected);
    });
    fc.assert(property, { seed: 8, numRuns: 150 });
  });
});
