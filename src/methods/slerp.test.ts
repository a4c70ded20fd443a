import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isClose, mix, vectorsFrom } from "../../test/laws/support/mix.js";
import { dice } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { slerp } from "./slerp.js";

const drawn = fc.record({ seed: fc.integer(), t: fc.double({ min: 0, max: 1, noNaN: true }) });

describe("slerp", () => {
  it("by hand: between right angles, lengths as they are", () => {
    assert.ok(
      isClose(
        mix(slerp, [
          [2, 0],
          [0, 1],
        ]),
        [2 * Math.SQRT1_2, Math.SQRT1_2],
      ),
    );
    const third = mix(
      slerp,
      [
        [1, 0],
        [0, 1],
      ],
      { given: { t: 1 / 3 } },
    );
    assert.ok(isClose(third, [Math.sqrt(3) / 2, 0.5]));
  });

  it("a base is the first end", () => {
    const [a, b] = [
      [1, 2, 3],
      [3, -1, 2],
    ];
    for (const t of [0, 0.3, 1]) {
      assert.deepEqual(mix(slerp, [b], { base: a, given: { t } }), mix(slerp, [a, b], { given: { t } }));
    }
  });

  it("t = 0 and t = 1 give the ends exactly; equal inputs the input", () => {
    const property = fc.property(drawn, ({ seed, t }) => {
      const [a, b] = vectorsFrom(dice(seed), 2, 20) as [number[], number[]];
      assert.deepEqual(mix(slerp, [a, b], { given: { t: 0 } }), a);
      assert.deepEqual(mix(slerp, [a, b], { given: { t: 1 } }), b);
      assert.ok(isClose(mix(slerp, [a, a], { given: { t } }), a, 1e-14));
    });
    fc.assert(property, { seed: 5, numRuns: 100 });
  });

  it("turned around: t from one end is 1 − t from the other; scaling both scales the result", () => {
    const property = fc.property(drawn, ({ seed, t }) => {
      const [a, b] = vectorsFrom(dice(seed), 2, 20) as [number[], number[]];
      const result = mix(slerp, [a, b], { given: { t } });
      assert.ok(isClose(mix(slerp, [b, a], { given: { t: 1 - t } }), result, 1e-12));
      const twice = [a, b].map((values) => values.map((x) => 2 * x));
      assert.ok(
        isClose(
          mix(slerp, twice, { given: { t } }),
          result.map((x) => 2 * x),
          1e-12,
        ),
      );
    });
    fc.assert(property, { seed: 6, numRuns: 100 });
  });

  it("unit vectors stay unit vectors", () => {
    const property = fc.property(drawn, ({ seed, t }) => {
      const units = vectorsFrom(dice(seed), 2, 20).map((values) => values.map((x) => x / Math.hypot(...values)));
      assert.ok(Math.abs(Math.hypot(...mix(slerp, units, { given: { t } })) - 1) < 1e-6);
    });
    fc.assert(property, { seed: 7, numRuns: 100 });
  });

  it("mergekit's dialect: a straight line beyond a cosine of 0.9995, a quarter turn from zeros", () => {
    const { values } = slerp.dialects.mergekit!;
    const near = [
      [1, 0],
      [1, 0.03],
    ];
    assert.deepEqual(mix(slerp, near, { given: { ...values, t: 0.25 } }), [1, 0.25 * 0.03]);
    assert.notDeepEqual(mix(slerp, near, { given: { t: 0.25 } }), [1, 0.25 * 0.03]);
    assert.ok(
      isClose(
        mix(
          slerp,
          [
            [0, 0],
            [1, 1],
          ],
          { given: values },
        ),
        [Math.SQRT1_2, Math.SQRT1_2],
      ),
    );
    assert.deepEqual(
      mix(slerp, [
        [0, 0],
        [1, 1],
      ]),
      [0.5, 0.5],
    );
    const tensor = { name: "w", shape: [2] };
    assert.equal(slerp.quirk!(settingsOf(slerp, values, [{}]), tensor), null);
    assert.match(slerp.quirk!(settingsOf(slerp, {}, [{}]), tensor)!, /0\.9995/);
  });

  it("one that is alone is itself", () => {
    assert.deepEqual(mix(slerp, [[1, 2]]), [1, 2]);
  });
});
