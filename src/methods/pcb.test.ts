import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { pcb } from "./pcb.js";
import type { Known } from "./method.js";

const row = { scores: 4, positive: 4, least: -1, most: 0, ranked: [] as number[], sum: 0 };

/** Bounds of the magnitudes per model, and cut and largest of its scores. */
function known(bounds: readonly (readonly [number, number])[], scores: readonly (readonly [number, number])[]): Known {
  return {
    scores: {
      magnitude: { per: "model", rows: bounds.map((ranked) => ({ ...row, ranked })) },
      score: { per: "model", rows: scores.map(([cut, most]) => ({ ...row, ranked: [cut], most })) },
    },
  };
}

describe("pcb", () => {
  const one = settingsOf(pcb, {}, [{}]);

  it("ranks as released: ascending places trunc(d clip), trunc(d (1 - clip) - 1), trunc(d (1 - ratio))", () => {
    const first = pcb.needs(settingsOf(pcb, { clip: 0.1, ratio: 0.3 }, [{}]), {});
    assert.ok(first?.statistic === "scores");
    // Of 25: ascending places 2 and 21, from the largest 23 and 4.
    assert.deepEqual(
      first.ranks.map((rank) => rank(25, 0)),
      [23, 4],
    );
    const { scores } = known([[0, 1]], []);
    const second = pcb.needs(settingsOf(pcb, { ratio: 0.3 }, [{}]), { scores: { magnitude: scores!.magnitude! } });
    assert.ok(second?.statistic === "scores");
    assert.deepEqual(
      second.ranks.map((rank) => [rank(25, 0), rank(1, 0)]),
      [[8, 1]],
    );
  });

  it("clips at both ends, keeps zeros and signs", () => {
    // One model: every entry whose score is above the cut takes its clipped change.
    const changes = [[0.01, -0.3, 7, 0]];
    const out = combine(pcb, [1, 1, 1, 1], changes, {}, undefined, { known: known([[0.1, 2]], [[-1, 1]]) });
    assert.deepEqual(out, [1.1, 0.7, 3, 1].map(Math.fround));
  });

  it("weighs by what the scores are above the cut", () => {
    // Both at their upper bound: e^2 · 2 tanh 1 and the same; the first is cut at half of that.
    const score = Math.exp(2) * 2 * Math.tanh(1);
    const state = known(
      [
        [0, 1],
        [0, 3],
      ],
      [
        [score / 2, score],
        [0, 4 * score],
      ],
    );
    const [out] = combine(pcb, [0], [[1], [3]], {}, undefined, { known: state });
    assert.ok(Math.abs(out! - (1 * 1 + 3 * 0.25) / 1.25) < 1e-5);
  });

  it("what all models drop stays the base's", () => {
    assert.deepEqual(combine(pcb, [5], [[0.5]], {}, undefined, { known: known([[0, 1]], [[100, 200]]) }), [5]);
  });

  it("no width is no say: equal magnitudes, equal scores", () => {
    assert.deepEqual(combine(pcb, [5], [[0.5]], {}, undefined, { known: known([[0.5, 0.5]], [[0, 0]]) }), [5]);
  });

  it("a NaN reaches its own entry", () => {
    const out = combine(pcb, [5, 5], [[Number.NaN, 0]], {}, undefined, { known: known([[0, 1]], [[0, 1]]) });
    assert.deepEqual(out, [Number.NaN, 5]);
  });

  it("refuses a ratio that drops everything", () => {
    assert.match(pcb.check!(settingsOf(pcb, { ratio: 0 }, [{}]))!, /ratio 0/);
    assert.equal(pcb.check!(one), null);
  });
});
