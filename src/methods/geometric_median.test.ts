import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isClose, mix, vectorsFrom } from "../../test/laws/support/mix.js";
import { dice } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { geometricMedian } from "./geometric_median.js";

const distance = (a: readonly number[], b: readonly number[]) => Math.hypot(...a.map((x, p) => x - b[p]!));

describe("geometric median", () => {
  it("of points on a line is the middle one", () => {
    assert.ok(isClose(mix(geometricMedian, [[1], [7], [3], [3.5], [2]]), [3], 1e-6));
  });

  it("by hand: of a triangle the point that sees its sides at 120 degrees", () => {
    const triangle = [
      [0, 0],
      [1, 0],
      [0.5, Math.sqrt(3) / 2],
    ];
    assert.ok(isClose(mix(geometricMedian, triangle), [0.5, Math.sqrt(3) / 6], 1e-7));
    // With an angle of 120 degrees or more its corner is the median.
    assert.ok(
      isClose(
        mix(geometricMedian, [
          [0, 0.1],
          [5, 0],
          [-5, 0],
        ]),
        [0, 0.1],
        1e-4,
      ),
    );
  });

  it("no point nearby has a smaller sum of distances", () => {
    const property = fc.property(fc.integer(), fc.integer({ min: 3, max: 7 }), (seed, count) => {
      const roll = dice(seed);
      const vectors = vectorsFrom(roll, count, 8);
      const weights = vectors.map(() => 0.2 + roll(10) / 5);
      const found = mix(geometricMedian, vectors, { own: weights.map((weight) => ({ weight })) });
      const cost = (point: readonly number[]) =>
        vectors.reduce((sum, values, i) => sum + weights[i]! * distance(point, values), 0);
      const least = cost(found);
      for (const p of found.keys()) {
        for (const step of [1e-2, -1e-2]) {
          assert.ok(cost(found.with(p, found[p]! + step)) >= least - 1e-5, `entry ${p}`);
        }
      }
    });
    fc.assert(property, { seed: 11, numRuns: 80 });
  });

  it("outliers with less than half of the weight cannot carry it away", () => {
    const near = [
      [1, 0],
      [0, 1],
      [-1, -1],
    ];
    const far = (size: number) => mix(geometricMedian, [...near, [size, size], [size, 0]]);
    assert.ok(distance(far(1e3), far(1e6)) < 0.1);
  });

  it("equal models are themselves; the order changes nothing; the base does not move it", () => {
    const [a, b, c] = vectorsFrom(dice(3), 3, 20) as [number[], number[], number[]];
    assert.ok(isClose(mix(geometricMedian, [a, a, a]), a, 1e-14));
    assert.ok(isClose(mix(geometricMedian, [a, b, c]), mix(geometricMedian, [c, a, b]), 1e-7));
    const base = vectorsFrom(dice(4), 1, 20)[0]!.map(Math.fround);
    const changes = [a, b, c].map((values) => values.map((x, p) => x - base[p]!));
    assert.ok(isClose(mix(geometricMedian, changes, { base }), mix(geometricMedian, [a, b, c]), 1e-6));
  });

  it("the majority's model, where more than half of the weight is on one point", () => {
    assert.ok(
      isClose(
        mix(geometricMedian, [
          [1, 1],
          [1, 1],
          [9, 0],
        ]),
        [1, 1],
        1e-7,
      ),
    );
    const own = [{ weight: 3 }, { weight: 1 }, { weight: 1 }];
    assert.ok(
      isClose(
        mix(
          geometricMedian,
          [
            [1, 1],
            [5, 1],
            [9, 0],
          ],
          { own },
        ),
        [1, 1],
        1e-7,
      ),
    );
  });

  it("two models: their mean, or the heavier", () => {
    assert.deepEqual(
      mix(geometricMedian, [
        [0, 2],
        [4, 0],
      ]),
      [2, 1],
    );
    assert.ok(
      isClose(
        mix(
          geometricMedian,
          [
            [0, 2],
            [4, 0],
          ],
          { own: [{ weight: 2 }, { weight: 1 }] },
        ),
        [0, 2],
        1e-7,
      ),
    );
  });

  it("leaves a model where it begins, if the others pull harder", () => {
    // The mean is the first model; four fifths of the weight lie on one side of it.
    const own = [0.1, 4, 1].map((weight) => ({ weight }));
    assert.ok(isClose(mix(geometricMedian, [[0], [-1], [4]], { own }), [-1], 1e-6));
    // Here the pulls cancel, and the mean is the median.
    const cross = [
      [0, 0],
      [-1, 0],
      [1, 0],
      [0, 3],
      [0, -3],
    ];
    assert.deepEqual(mix(geometricMedian, cross), [0, 0]);
  });

  it("needs some weight", () => {
    assert.match(geometricMedian.check!(settingsOf(geometricMedian, {}, [{ weight: 0 }]))!, /weight/);
  });
});
