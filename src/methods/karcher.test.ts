import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isClose, mix, vectorsFrom } from "../../test/laws/support/mix.js";
import { dice } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { karcher } from "./karcher.js";
import { slerp } from "./slerp.js";

const angleTo = (u: readonly number[], v: readonly number[]) => {
  const dot = u.reduce((sum, x, p) => sum + x * v[p]!, 0);
  return Math.acos(Math.min(1, dot / Math.hypot(...u) / Math.hypot(...v)));
};

describe("karcher", () => {
  it("of two directions is the middle of their arc", () => {
    assert.ok(
      isClose(
        mix(karcher, [
          [3, 0],
          [0, 1],
        ]),
        [2 * Math.SQRT1_2, 2 * Math.SQRT1_2],
      ),
    );
    const own = [{ weight: 2 }, { weight: 1 }];
    const third = mix(
      slerp,
      [
        [1, 0],
        [0, 1],
      ],
      { given: { t: 1 / 3 } },
    );
    assert.ok(
      isClose(
        mix(
          karcher,
          [
            [1, 0],
            [0, 1],
          ],
          { own },
        ),
        third,
      ),
    );
  });

  it("no direction nearby has a smaller sum of squared angles", () => {
    const property = fc.property(fc.integer(), fc.integer({ min: 3, max: 6 }), (seed, count) => {
      const roll = dice(seed);
      const centre = vectorsFrom(roll, 1, 12)[0]!;
      const vectors = vectorsFrom(roll, count, 12).map((values) => values.map((x, p) => centre[p]! + x / 2));
      const weights = vectors.map(() => 0.2 + roll(10) / 5);
      const found = mix(karcher, vectors, { own: weights.map((weight) => ({ weight })) });
      const cost = (point: readonly number[]) =>
        vectors.reduce((sum, values, i) => sum + weights[i]! * angleTo(point, values) ** 2, 0);
      const least = cost(found);
      for (const p of found.keys()) {
        for (const step of [1e-3, -1e-3]) {
          assert.ok(cost(found.with(p, found[p]! + step)) >= least - 1e-9, `entry ${p}`);
        }
      }
      const length = vectors.reduce((sum, values, i) => sum + weights[i]! * Math.hypot(...values), 0);
      const expected = length / weights.reduce((sum, weight) => sum + weight, 0);
      assert.ok(Math.abs(Math.hypot(...found) / expected - 1) < 1e-6);
    });
    fc.assert(property, { seed: 9, numRuns: 60 });
  });

  it("equal inputs give the input; the order changes nothing; scaling scales", () => {
    const [a, b, c] = vectorsFrom(dice(2), 3, 25) as [number[], number[], number[]];
    assert.ok(isClose(mix(karcher, [a, a, a]), a, 1e-12));
    assert.ok(isClose(mix(karcher, [a, b, c]), mix(karcher, [c, a, b]), 1e-7));
    const thrice = [a, b, c].map((values) => values.map((x) => 3 * x));
    assert.ok(
      isClose(
        mix(karcher, thrice),
        mix(karcher, [a, b, c]).map((x) => 3 * x),
      ),
    );
  });

  it("zeros have no direction and shorten the mean", () => {
    assert.ok(
      isClose(
        mix(karcher, [
          [2, 2],
          [0, 0],
        ]),
        [1, 1],
      ),
    );
    assert.deepEqual(
      mix(karcher, [
        [0, 0],
        [0, 0],
      ]),
      [0, 0],
    );
  });

  it("opposite directions keep the first", () => {
    assert.ok(
      isClose(
        mix(karcher, [
          [1, 0],
          [-3, 0],
        ]),
        [2, 0],
      ),
    );
  });

  it("a model of weight 0 takes no part; some weight is needed", () => {
    const own = [{ weight: 1 }, { weight: 0 }];
    assert.deepEqual(
      mix(
        karcher,
        [
          [1, 2],
          [5, -1],
        ],
        { own },
      ),
      [1, 2],
    );
    assert.match(karcher.check!(settingsOf(karcher, {}, [{ weight: 0 }]))!, /weight/);
  });
});
