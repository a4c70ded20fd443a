import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import type { Known } from "./method.js";
import { sce } from "./sce.js";

const row = { scores: 4, positive: 4, least: 0, most: 1, ranked: [] as number[], sum: 0 };
const energy = (...sums: number[]): Known => ({
  scores: { energy: { per: "model", rows: sums.map((sum) => ({ ...row, sum })) } },
});

const base = [1, 1, 1, 1];
const changes = [
  [1, 1, -1, 0],
  [2, -2, -2, 0],
  [4, 0, 1, 0],
];

describe("sce", () => {
  it("by hand: coefficients 1/4, 1/4, 1/2; the minority sign is erased", () => {
    // (1 + 2 + 4·2)/4; the sum −1 elects −2 alone; −1 and −2 against 1
    assert.deepEqual(combine(sce, base, changes, {}, undefined, { known: energy(1, 1, 2) }), [3.75, -1, -0.5, 1]);
  });

  it("a zero sum elects the positive sign", () => {
    assert.deepEqual(combine(sce, [0], [[3], [-3]], {}, undefined, { known: energy(1, 3) }), [3]);
  });

  it("select drops the columns below the threshold", () => {
    const variance = { per: "column" as const, rows: [{ ...row, ranked: [30] }] };
    const known = { scores: { ...energy(1, 1, 2).scores, variance } };
    // n^3 times the variances: 42, 42, 42 and 0.
    const out = combine(sce, base, changes, { select_topk: 0.5 }, undefined, { known });
    assert.deepEqual(out, [3.75, -1, -0.5, 1]);
    const higher = { scores: { ...known.scores, variance: { ...variance, rows: [{ ...row, ranked: [Infinity] }] } } };
    assert.deepEqual(combine(sce, base, changes, { select_topk: 0.5 }, undefined, { known: higher }), base);
  });

  it("small changes: equal coefficients in mergekit's dialect only", () => {
    const small = [[1e-4], [3e-4]];
    const known = energy(4e-8, 36e-8);
    const [plain] = combine(sce, [0], small, {}, undefined, { known });
    const [uniform] = combine(sce, [0], small, { small: "uniform" }, undefined, { known });
    assert.ok(Math.abs(plain! - 2.8e-4) < 1e-10);
    assert.ok(Math.abs(uniform! - 2e-4) < 1e-10);
  });

  it("a NaN reaches its own entry and no other", () => {
    const out = combine(
      sce,
      [0, 0],
      [
        [Number.NaN, 1],
        [2, 3],
      ],
      {},
      undefined,
      { known: energy(1, 1) },
    );
    assert.deepEqual(out, [Number.NaN, 2]);
  });

  it("asks for the variance only where something is left out", () => {
    const settings = (share: number) => settingsOf(sce, { select_topk: share }, [{}, {}]);
    const keys = (share: number) => {
      const first = sce.needs(settings(share), {});
      return first?.statistic === "scores" ? [first.key, first.ranks.map((rank) => rank(100, 7))] : [];
    };
    assert.deepEqual(keys(1), ["energy", []]);
    assert.deepEqual(keys(0.5), ["variance", [3]]);
    assert.deepEqual(keys(0.1), ["variance", [0]]);
  });

  it("says what mergekit does with small changes", () => {
    const tensor = { name: "w", shape: [2] };
    assert.match(sce.quirk!(settingsOf(sce, {}, [{}]), tensor)!, /1e-6/);
    assert.equal(sce.quirk!(settingsOf(sce, { small: "uniform" }, [{}]), tensor), null);
  });
});
