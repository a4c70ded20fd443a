import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isClose, mix, vectorsFrom } from "../../test/laws/support/mix.js";
import { dice } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { modelStock } from "./model_stock.js";

const base = [10, 20];
const strict = modelStock.dialects["mergekit-strict"]!.values;

describe("model stock", () => {
  it("by hand: two task vectors at 60 degrees give t = 2/3", () => {
    const changes = [
      [2, 0],
      [1, Math.sqrt(3)],
    ];
    assert.ok(isClose(mix(modelStock, changes, { base }), [10 + (2 / 3) * 1.5, 20 + (2 / 3) * (Math.sqrt(3) / 2)]));
  });

  it("equal fine-tunes are taken whole, orthogonal ones not at all", () => {
    assert.ok(
      isClose(
        mix(
          modelStock,
          [
            [1, 2],
            [1, 2],
            [1, 2],
          ],
          { base },
        ),
        [11, 22],
        1e-12,
      ),
    );
    assert.deepEqual(
      mix(
        modelStock,
        [
          [1, 0],
          [0, 5],
        ],
        { base },
      ),
      base,
    );
  });

  it("the order changes nothing; scaling one task vector changes no angle", () => {
    const property = fc.property(fc.integer(), (seed) => {
      const [a, b, c] = vectorsFrom(dice(seed), 3, 10) as [number[], number[], number[]];
      const zeros = a.map(() => 0);
      const given = { range: "any" };
      const found = mix(modelStock, [a, b, c], { base: zeros, given });
      assert.ok(isClose(mix(modelStock, [c, b, a], { base: zeros, given }), found, 1e-9));
      const twice = [a, b, c].map((values) => values.map((x) => 2 * x));
      assert.ok(
        isClose(
          mix(modelStock, twice, { base: zeros, given }),
          found.map((x) => 2 * x),
          1e-6,
        ),
      );
    });
    fc.assert(property, { seed: 10, numRuns: 60 });
  });

  it("task vectors that point apart leave the base, unless any t is allowed", () => {
    const apart = [
      [1, 0],
      [-0.6, 0.8],
    ];
    assert.deepEqual(mix(modelStock, apart, { base }), base);
    const t = (2 * -0.6) / (1 - 0.6);
    assert.ok(isClose(mix(modelStock, apart, { base, given: { range: "any" } }), [10 + t * 0.2, 20 + t * 0.4]));
    assert.deepEqual(
      mix(
        modelStock,
        [
          [1, 0],
          [-1, 0],
        ],
        { base, given: { range: "any" } },
      ),
      base,
    );
  });

  it("small changes count as orthogonal in mergekit-strict alone", () => {
    const small = [
      [1e-4, 0],
      [1e-4, 0],
    ];
    assert.ok(isClose(mix(modelStock, small, { base: [0, 0] }), [1e-4, 0]));
    // A cosine of 1e-8 / 1e-6.
    const t = (2 * 0.01) / 1.01;
    assert.ok(isClose(mix(modelStock, small, { base: [0, 0], given: strict }), [t * 1e-4, 0]));
  });

  it("unchanged tensors stay; a single model shows no angle", () => {
    assert.deepEqual(
      mix(
        modelStock,
        [
          [0, 0],
          [0, 0],
        ],
        { base },
      ),
      base,
    );
    assert.deepEqual(mix(modelStock, [[1, 1]], { base }), base);
  });

  it("says where mergekit differs", () => {
    const quirk = (values: Readonly<Record<string, number | string | boolean | null>>) =>
      modelStock.quirk!(settingsOf(modelStock, values, [{}, {}]), { name: "w", shape: [2] });
    assert.equal(quirk(strict), null);
    assert.match(quirk({})!, /below 0.*orthogonal/);
    assert.doesNotMatch(quirk(modelStock.dialects.mergekit!.values)!, /below 0/);
  });
});
