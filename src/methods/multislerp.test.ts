import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isClose, mix, vectorsFrom } from "../../test/laws/support/mix.js";
import { dice } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { multislerp } from "./multislerp.js";

/** mergekit's formula as it is described, with its walk along the mean tangent. */
function byTangents(vectors: readonly (readonly number[])[], weights: readonly number[], eps = 1e-8): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight) => weight / total);
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, p) => sum + value * y[p]!, 0);
  const sumOf = (all: readonly (readonly number[])[]) =>
    all[0]!.map((_, p) => all.reduce((sum, values, i) => sum + shares[i]! * values[p]!, 0));
  const units = vectors.map((values) => values.map((x) => x / (Math.hypot(...values) + eps)));
  const mean = sumOf(units);
  const point = mean.map((x) => x / Math.hypot(...mean));
  const tangent = sumOf(units.map((unit) => unit.map((x, p) => x - dot(unit, point) * point[p]!)));
  const way = Math.hypot(...tangent) + eps;
  const length = vectors.reduce((sum, values, i) => sum + shares[i]! * Math.hypot(...values), 0);
  return point.map((x, p) => (x * Math.cos(way) + (tangent[p]! * Math.sin(way)) / way) * length);
}

describe("multislerp", () => {
  it("by hand: directions and lengths have a mean each", () => {
    assert.ok(
      isClose(
        mix(multislerp, [
          [3, 0],
          [0, 1],
        ]),
        [2 * Math.SQRT1_2, 2 * Math.SQRT1_2],
      ),
    );
  });

  it("is mergekit's formula, whose walk along the mean tangent leads nowhere", () => {
    const property = fc.property(fc.integer(), fc.integer({ min: 2, max: 6 }), (seed, count) => {
      const roll = dice(seed);
      const vectors = vectorsFrom(roll, count, 30);
      const weights = vectors.map(() => 0.1 + roll(100) / 50);
      const found = mix(multislerp, vectors, { own: weights.map((weight) => ({ weight })) });
      assert.ok(isClose(found, byTangents(vectors, weights), 1e-6));
    });
    fc.assert(property, { seed: 8, numRuns: 100 });
  });

  it("equal inputs give the input; the order changes nothing; scaling scales", () => {
    const [a, b, c] = vectorsFrom(dice(1), 3, 25) as [number[], number[], number[]];
    assert.ok(isClose(mix(multislerp, [a, a, a]), a, 1e-7));
    assert.ok(isClose(mix(multislerp, [a, b, c]), mix(multislerp, [c, a, b]), 1e-12));
    const thrice = [a, b, c].map((values) => values.map((x) => 3 * x));
    assert.ok(
      isClose(
        mix(multislerp, thrice),
        mix(multislerp, [a, b, c]).map((x) => 3 * x),
      ),
    );
  });

  it("directions that cancel: two models are summed, of three there is no mean", () => {
    assert.deepEqual(
      mix(multislerp, [
        [2, 0],
        [-1, 0],
      ]),
      [0.5, 0],
    );
    const star = [
      [1, 0],
      [-0.5, 0.75],
      [-0.5, -0.75],
    ].map(([x, y]) => [x!, y!]);
    const thirds = [{ weight: 1 }, { weight: Math.hypot(0.5, 0.75) }, { weight: Math.hypot(0.5, 0.75) }];
    assert.throws(() => mix(multislerp, star, { own: thirds }), /cancel/);
    assert.deepEqual(
      mix(multislerp, [
        [0, 0],
        [0, 0],
        [0, 0],
      ]),
      [0, 0],
    );
  });

  it("weights may stay as they are; where they are divided their sum must not be zero", () => {
    const own = [{ weight: 2 }, { weight: 2 }];
    const once = mix(
      multislerp,
      [
        [1, 0],
        [0, 1],
      ],
      { own },
    );
    const given = { normalize_weights: false };
    assert.ok(
      isClose(
        mix(
          multislerp,
          [
            [1, 0],
            [0, 1],
          ],
          { own, given },
        ),
        once.map((x) => 4 * x),
      ),
    );
    const opposed = [{ weight: 1 }, { weight: -1 }];
    assert.match(multislerp.check!(settingsOf(multislerp, {}, opposed))!, /sum to zero/);
    assert.equal(multislerp.check!(settingsOf(multislerp, given, opposed)), null);
  });
});
