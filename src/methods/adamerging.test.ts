import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { adamerging } from "./adamerging.js";
import type { Known } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

const base = [10, -4, 0, 0.25];
const changes = [
  [1, -2, 0, 4],
  [3, 2, 8, -4],
];

describe("adamerging", () => {
  it("by hand: each change times its model's coefficient", () => {
    assert.deepEqual(
      combine(adamerging, base, changes, {}, [{ coefficient: 0.5 }, { coefficient: 0.25 }]),
      [11.25, -4.5, 2, 1.25],
    );
    const [first] = combine(adamerging, [0], [[1], [1]], {});
    assert.equal(first, Math.fround(2 * Math.fround(0.3)));
  });

  it("is task arithmetic whose weights are the coefficients, at lambda 1", () => {
    const [a, b] = [0.3, 0.7];
    assert.deepEqual(
      combine(adamerging, base, changes, {}, [{ coefficient: a }, { coefficient: b }]),
      combine(taskArithmetic, base, changes, { lambda: 1 }, [{ weight: a }, { weight: b }]),
    );
  });

  it("++ by hand: trimmed, and only what agrees with the sign of the sum; a zero sum takes the majority", () => {
    const inputs = [Float32Array.of(5, -1, 3, 2, 6), Float32Array.of(-3, -4, 0.5, -2, 1)];
    const settings = settingsOf(adamerging, { density: 0.5 }, [{}, {}]);
    const parts = (votes: Known["votes"]) => {
      const known: Known = { threshold: { thresholds: [2, 1], kept: [4, 4], entries: 5 }, ...(votes && { votes }) };
      const found = inputs.map(() => new Float32Array(5));
      const counters: Record<string, number> = {};
      adamerging.weighing!.parts({ count: 5, inputs, counters }, adamerging.bind(settings, known), found);
      return { found: found.map((part) => [...part]), counters };
    };
    const positive = parts({ positive: 3, negative: 1 });
    assert.deepEqual(positive.found, [
      [5, 0, 3, 2, 6],
      [0, -4, 0, 0, 1],
    ]);
    assert.deepEqual(positive.counters, { conflicts: 2, cancelled: 1, positive: 3, negative: 1 });
    assert.deepEqual(parts(undefined).found, [
      [5, 0, 3, 0, 6],
      [0, -4, 0, -2, 1],
    ]);
  });

  it("asks for TIES' count: trunc(d·density) + 1, over the whole model", () => {
    const settings = settingsOf(adamerging, { density: 0.2 }, [{}, { density: 1 }]);
    const need = adamerging.needs(settings, {});
    assert.ok(need?.statistic === "threshold" && need.scope === "model");
    assert.deepEqual([need.ties, ...need.ranks.map((rank) => rank(1003))], ["keep", 201, null]);
    assert.equal(adamerging.majority?.(settings), "model");
    assert.equal(adamerging.needs(settingsOf(adamerging, {}, [{}]), {}), null);
    assert.equal(adamerging.dialects["plus-plus"]!.values.density, 0.2);
  });
});
