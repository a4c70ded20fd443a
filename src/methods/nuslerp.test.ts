import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isClose, mix } from "../../test/laws/support/mix.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { nuslerp } from "./nuslerp.js";
import { slerp } from "./slerp.js";

const a = [1, 2, 3];
const b = [3, -1, 2];
const weighted = (first: number, second: number) => [{ weight: first }, { weight: second }];

describe("nuslerp", () => {
  it("is slerp with t = w_2 / (w_1 + w_2)", () => {
    for (const [first, second] of [
      [0.6, 0.4],
      [3, 2],
      [1, 0],
      [0, 1],
      [-1, -3],
    ] as const) {
      const t = second / (first + second);
      const found = mix(nuslerp, [a, b], { own: weighted(first, second) });
      assert.ok(isClose(found, mix(slerp, [a, b], { given: { t } }), 1e-12));
    }
  });

  it("of task vectors where there is a base", () => {
    const base = [10, 20, 30];
    const [on, off] = [mix(nuslerp, [a, b], { base }), mix(nuslerp, [a, b])];
    assert.ok(
      isClose(
        on,
        off.map((x, p) => x + base[p]!),
        1e-14,
      ),
    );
  });

  it("equal inputs give the input", () => {
    assert.ok(isClose(mix(nuslerp, [a, a], { own: weighted(0.3, 0.9) }), a, 1e-14));
  });

  it("weights that sum to zero are an error, or mean a half", () => {
    const settings = (given: Readonly<Record<string, string>>) => settingsOf(nuslerp, given, weighted(1, -1));
    assert.match(nuslerp.check!(settings({}))!, /sum to zero/);
    assert.equal(nuslerp.check!(settings({ zero_weights: "half" })), null);
    assert.equal(nuslerp.check!(settingsOf(nuslerp, {}, weighted(1, 1))), null);
    assert.equal(nuslerp.check!(settingsOf(nuslerp, {}, [{ weight: 0 }])), null);
    const half = { given: { zero_weights: "half" }, own: weighted(1, -1) };
    assert.ok(isClose(mix(nuslerp, [a, b], half), mix(nuslerp, [a, b]), 1e-14));
  });

  it("a row that one model never touched: half of the other's change, or 0.71 of it as in mergekit", () => {
    const zeros = [0, 0, 0];
    assert.deepEqual(
      mix(nuslerp, [zeros, b]),
      b.map((x) => x / 2),
    );
    const { values } = nuslerp.dialects.mergekit!;
    assert.ok(
      isClose(
        mix(nuslerp, [zeros, b], { given: values }),
        b.map((x) => x * Math.SQRT1_2),
      ),
    );
  });

  it("looks at whole tensors, rows or columns", () => {
    const look = (given: Readonly<Record<string, boolean>>) => nuslerp.vectors(settingsOf(nuslerp, given, [{}, {}]));
    assert.equal(look({}), "tensor");
    assert.equal(look({ nuslerp_row_wise: true }), "tensor");
    assert.equal(look({ nuslerp_flatten: false }), "row");
    assert.equal(look({ nuslerp_flatten: false, nuslerp_row_wise: true }), "column");
  });

  it("one that is alone is itself", () => assert.deepEqual(mix(nuslerp, [a]), a));
});
