import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { taskArithmetic } from "./task_arithmetic.js";

const base = [10, -4, 0, 0.25];
const changes = [
  [1, -2, 0, 4],
  [3, 2, 8, -4],
];
const one = { lambda: 1 };

describe("task arithmetic", () => {
  it("by hand: a sum, not a mean", () => {
    assert.deepEqual(combine(taskArithmetic, base, changes, one), [14, -4, 8, 0.25]);
    assert.deepEqual(combine(taskArithmetic, base, changes, { lambda: 0.5 }), [12, -4, 4, 0.25]);
    assert.deepEqual(combine(taskArithmetic, base, changes, one, [{ weight: 2 }, { weight: -1 }]), [9, -10, -8, 12.25]);
  });

  it("the defaults of its dialects", () => {
    const { dialects, parameters } = taskArithmetic;
    assert.equal(parameters.lambda!.default, 0.3);
    assert.deepEqual(
      Object.entries(dialects).map(([name, { values }]) => [name, values.lambda]),
      [
        ["paper", 0.3],
        ["no-validation", 0.4],
        ["mergekit", 1],
        ["mergekit-strict", 1],
      ],
    );
    const [first] = combine(taskArithmetic, [0], [[1], [1]], {});
    assert.equal(first, Math.fround(2 * Math.fround(0.3)));
  });

  it("negation, and the analogy A is to B as C is to D", () => {
    assert.deepEqual(combine(taskArithmetic, base, [changes[0]!], one, [{ weight: -1 }]), [9, -2, 0, -3.75]);
    const [a, b, c] = [[1], [4], [2]];
    const own = [{ weight: 1 }, { weight: -1 }, { weight: 1 }];
    assert.deepEqual(combine(taskArithmetic, [0], [b, a, c], one, own), [5]);
  });

  it("normalize divides by the sum of the weights", () => {
    const own = [{ weight: 3 }, { weight: 1 }];
    assert.deepEqual(combine(taskArithmetic, base, changes, { lambda: 1, normalize: true }, own), [11.5, -5, 2, 2.25]);
    const settings = (given: Readonly<Record<string, string | boolean>>) =>
      settingsOf(taskArithmetic, { lambda: 1, normalize: true, ...given }, [{ weight: 1 }, { weight: -1 }]);
    assert.match(taskArithmetic.check!(settings({}))!, /sum to zero/);
    assert.equal(taskArithmetic.check!(settings({ normalize: false })), null);
    assert.match(taskArithmetic.quirk!(settings({}), { name: "w", shape: [4] })!, /does not normalize/);
    assert.equal(taskArithmetic.check!(settings({ zero_sum: "undivided" })), null);
    const undivided = { lambda: 1, normalize: true, zero_sum: "undivided" };
    const opposite = [{ weight: 1 }, { weight: -1 }];
    assert.deepEqual(combine(taskArithmetic, base, changes, undivided, opposite), [8, -8, -8, 8.25]);
  });

  it("lambda 0 leaves the base; a base of minus zero becomes zero", () => {
    assert.deepEqual(combine(taskArithmetic, base, changes, { lambda: 0 }), base);
    assert.deepEqual(combine(taskArithmetic, [-0], [[0]], one), [0]);
  });

  it("what is not finite is carried", () => {
    assert.deepEqual(
      combine(
        taskArithmetic,
        [1, 1, 1],
        [
          [NaN, Infinity, -Infinity],
          [1, 1, Infinity],
        ],
        one,
      ),
      [NaN, Infinity, NaN],
    );
  });
});
