import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { nearswap } from "./nearswap.js";

describe("nearswap", () => {
  it("by hand: near entries are taken, others move by t", () => {
    const changes = [0.25, -0.25, 0.5, -3, 0, 1];
    const base = [1, 1, 1, 1, -0, -2];
    assert.deepEqual(combine(nearswap, base, [changes], { t: 0.5 }), [1.25, 0.75, 1.5, 0.5, 0, -1.5]);
  });

  it("t 0 leaves the base, a large t gives the model", () => {
    const base = [1, 2, -0];
    assert.deepEqual(combine(nearswap, base, [[3, -1, 0]], { t: 0 }), [1, 2, 0]);
    assert.deepEqual(combine(nearswap, base, [[3, -1, 5]], { t: 9 }), [4, 1, 5]);
  });

  it("is the authors' quotient form, in f64, whatever the floor", () => {
    const number = fc.double({ min: -1, max: 1, noNaN: true }).map((x) => Math.fround(x ** 5));
    const bound = fc.constantFrom(0, 1e-7, 1e-6, 1e-3, 0.1);
    fc.assert(
      fc.property(number, number, bound, fc.constantFrom(0, 1e-6, 0.01), (base, model, t, floor) => {
        const difference = Math.abs(model - base);
        const share = difference === 0 ? 0 : Math.min(1, t / Math.max(difference, floor));
        const expected = share * model + (1 - share) * base;
        const [found] = combine(nearswap, [base], [[model - base]], { t, floor });
        assert.ok(Math.abs(found! - expected) <= 3e-7, `${found}, not ${expected}`);
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  it("NaN reaches the result", () => {
    assert.deepEqual(combine(nearswap, [1, 1], [[NaN, Infinity]], { t: 0.5 }), [NaN, 1.5]);
  });

  it("says where mergekit's floor matters", () => {
    const quirk = (t: number, floor: number) =>
      nearswap.quirk!(settingsOf(nearswap, { t, floor }, [{}]), { name: "w", shape: [2] });
    assert.match(quirk(1e-7, 0)!, /floor: 1e-6/);
    assert.equal(quirk(1e-7, 1e-6), null);
    assert.equal(quirk(1e-6, 0), null);
  });
});
