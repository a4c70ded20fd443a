import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { average } from "./average.js";

const models = [
  [1, -2, 0, 4],
  [3, 2, 0, 0.5],
];
const zeros = [0, 0, 0, 0];

describe("average", () => {
  it("by hand", () => {
    assert.deepEqual(combine(average, zeros, models, {}), [2, 0, 0, 2.25]);
    assert.deepEqual(combine(average, zeros, models, {}, [{ weight: 1 }, { weight: 3 }]), [2.5, 1, 0, 1.375]);
    assert.deepEqual(combine(average, zeros, models, {}, [{ weight: 2 }, { weight: -1 }]), [-1, -6, 0, 7.5]);
  });

  it("without normalize the weighted sum is not divided", () => {
    const own = [{ weight: 0.5 }, { weight: 0.25 }];
    assert.deepEqual(combine(average, zeros, models, { normalize: false }, own), [1.25, -0.5, 0, 2.125]);
    assert.deepEqual(
      combine(average, zeros, models, { normalize: false }, [{ weight: 1 }, { weight: -1 }]),
      [-2, -4, 0, 3.5],
    );
  });

  it("the base takes no part", () => {
    assert.deepEqual(combine(average, [9, 9, NaN, 9], models, {}), [2, 0, 0, 2.25]);
  });

  it("equal models average to themselves: to the bit for entries of 16 bits, else up to the roundings of the sum", () => {
    const halves = [0.10009765625, -0.333251953125, 65504, 2 ** -24, -0];
    const floats = [...Float32Array.of(0.1, -1 / 3, 3e37, 2 ** -126, -0)];
    const equal = (values: readonly number[], count: number) =>
      combine(
        average,
        [0, 0, 0, 0, 0],
        Array.from({ length: count }, () => values),
        {},
      );
    for (let count = 1; count <= 9; count++) {
      assert.deepEqual(equal(halves, count), halves);
      for (const [p, value] of equal(floats, count).entries()) {
        assert.ok(Math.abs(value - floats[p]!) <= count * 2 ** -24 * Math.abs(floats[p]!), `${count} models: ${value}`);
      }
    }
  });

  it("a sum beyond the largest number is infinite", () => {
    assert.deepEqual(combine(average, [0], [[3e38], [3e38]], {}), [Infinity]);
  });

  it("weights that sum to zero have no average", () => {
    const weighted = (normalize: boolean) => settingsOf(average, { normalize }, [{ weight: 1 }, { weight: -1 }]);
    assert.match(average.check!(weighted(true))!, /sum to zero/);
    assert.equal(average.check!(weighted(false)), null);
    assert.equal(average.check!(settingsOf(average, {}, [{}])), null);
  });
});
