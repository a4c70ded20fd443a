import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { settingsOf } from "../../test/laws/support/twin.js";
import { arceeFusion } from "./arcee_fusion.js";
import type { Known } from "./method.js";

const settings = settingsOf(arceeFusion, {}, [{}]);

/** Quartiles of the importance. */
function known(first: number, median: number, third: number): Known {
  const row = { scores: 9, positive: 9, least: 0, most: 1, ranked: [first, median, third], sum: 0 };
  return { scores: { importance: { per: "column", rows: [row] } } };
}

function measure(base: readonly number[], model: readonly number[], epsilon = 0): number {
  const { state: initial, steps, result } = arceeFusion.rows!({ scalars: { epsilon }, columns: {} });
  const state = new Float64Array(16);
  state.set(initial);
  for (const step of steps) step(Float32Array.from(base), Float32Array.from(model), state, 0);
  return result(state, base.length);
}

const near = (found: number, expected: number) =>
  assert.ok(Math.abs(found / expected - 1) < 2e-6, `${found}, not ${expected}`);

describe("arcee_fusion", () => {
  it("takes from the model what is at least median + 1.5 times the quartiles' distance", () => {
    const args = arceeFusion.bind(settings, known(1, 2, 3));
    assert.equal(args.scalars.threshold, 5);
    const out = new Float32Array(4);
    const counters: Record<string, number> = {};
    const base = Float32Array.of(0, 0, 0, 0);
    const model = Float32Array.of(4, 5, -6, Number.NaN);
    const rows = Float32Array.of(1, 1, 1, 1);
    arceeFusion.combine({ count: 4, base, inputs: [model], extra: {}, rows, out, counters }, args);
    assert.deepEqual([...out], [0, 5, -6, Number.NaN]);
    assert.deepEqual(counters, { taken: 3 });
  });

  it("ranks at floor(q (entries - 1)), ascending from 0", () => {
    const need = arceeFusion.needs(settings, {});
    assert.ok(need?.statistic === "scores");
    // Of 11 the ascending places 2, 5 and 7: from the largest, 1 being the first, 9, 6 and 4.
    assert.deepEqual(
      need.ranks.map((rank) => rank(11, 0)),
      [9, 6, 4],
    );
    assert.deepEqual(
      need.ranks.map((rank) => rank(1, 0)),
      [1, 1, 1],
    );
  });

  it("the divergence by hand", () => {
    // p = 2/3, 1/3 and q = 1/2, 1/2
    near(measure([0, 0], [Math.LN2, 0]), (2 / 3) * Math.log(4 / 3) + (1 / 3) * Math.log(2 / 3));
    near(measure([0, 0], [Math.LN2, 0], 0.5), (7 / 6) * Math.log(7 / 6) + (5 / 6) * Math.log(5 / 6));
    // Half the variance, where changes are small.
    near(measure([1, 1, 1, 1], [1 + 2 ** -13, 1 - 2 ** -13, 1, 1]), 2 ** -28);
  });

  it("no divergence: equal rows, rows moved as a whole, rows of one entry, rows without a number", () => {
    assert.equal(measure([3, -1, 2], [3, -1, 2]), 0);
    assert.ok(measure([3, -1, 2], [3.5, -0.5, 2.5]) < 1e-14);
    assert.equal(measure([3], [9]), 0);
    assert.equal(measure([Number.NaN, Infinity], [1, 2]), 0);
  });

  it("what is not finite takes no part in the divergence of its row", () => {
    const plain = measure([0, 0, 5, 7], [1, 0, 5, 7]);
    near(measure([0, 0, 5, 7, 9, 1], [1, 0, 5, 7, Number.NaN, Infinity]), plain);
  });

  it("large entries and changes stay finite", () => {
    near(measure([1000, 990, -2000], [1000, 1010, 0]), 10 * (1 - 2 / (1 + Math.exp(10))));
    near(measure([0, 0], [80, 0]), Math.LN2);
    assert.equal(measure([0, 0], [200, 0]), Infinity);
  });

  it("says where mergekit rounds, and where it draws a sample", () => {
    assert.match(arceeFusion.quirk!(settings, { name: "w", shape: [10, 10] })!, /rounding/);
    assert.match(arceeFusion.quirk!(settings, { name: "w", shape: [2000, 2000] })!, /sample/);
  });
});
