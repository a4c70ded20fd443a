import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { normals } from "../../test/laws/support/random.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { consensus } from "./consensus.js";
import { taskArithmetic } from "./task_arithmetic.js";

describe("consensus", () => {
  it("by hand: needed by two, by one, by none", () => {
    // Sums 2, 1.25, 1.5: in the second the small change needs nothing; in the third neither outweighs the other twice.
    const changes = [
      [1, 1, 1],
      [1, 0.25, 0.5],
    ];
    const given = { lambda: 1, lambda_t: 0.45 };
    assert.deepEqual(combine(consensus, [0, 0, 0], changes, given), [2, 0, 1.5]);
    assert.deepEqual(combine(consensus, [0, 0, 0], changes, { ...given, lambda_t: 0.6 }), [2, 0, 0]);
    assert.deepEqual(combine(consensus, [0, 0, 0], changes, { ...given, k: 1 }), [2, 1.25, 1.5]);
    assert.deepEqual(combine(consensus, [8, 8, 8], changes, { ...given, lambda_t: 5 }), [8, 8, 8]);
  });

  it("lambda_t may differ between models", () => {
    const own = [{ lambda_t: 0.2 }, { lambda_t: 0.2 }];
    assert.deepEqual(combine(consensus, [0], [[1], [0.25]], { lambda: 1 }, own), [1.25]);
    assert.deepEqual(combine(consensus, [0], [[1], [0.25]], { lambda: 1 }, [own[0]!, { lambda_t: 0.3 }]), [0]);
  });

  it("k 0 is Task Arithmetic to the bit", () => {
    const [base, ...changes] = [1, 2, 3, 4].map((seed) => [...normals(500, seed, 0.1)]);
    const own = [{ weight: 1 }, { weight: -0.7 }, { weight: 0.3 }];
    const given = { lambda: 0.3 };
    assert.deepEqual(
      combine(consensus, base!, changes, { ...given, k: 0 }, own),
      combine(taskArithmetic, base!, changes, given, own),
    );
  });

  it("keeps fewer entries the larger lambda_t and k", () => {
    const changes = [1, 2, 3, 4].map((seed) => [...normals(4000, seed, 1)]);
    const kept = (given: Readonly<Record<string, number>>) =>
      combine(
        consensus,
        changes[0]!.map(() => 0),
        changes,
        given,
      ).filter((x) => x !== 0).length;
    const byRatio = [0, 0.2, 0.4, 0.6, 1, 9].map((ratio) => kept({ lambda_t: ratio }));
    const byCount = [0, 1, 2, 3, 4].map((k) => kept({ k }));
    for (const counts of [byRatio, byCount]) {
      assert.deepEqual(
        counts,
        [...counts].sort((a, b) => b - a),
      );
      assert.ok(counts.at(-1)! < counts[0]!);
    }
  });

  it("counts what it keeps and drops, and nothing where nothing changed", () => {
    const counters: Record<string, number> = {};
    const args = consensus.bind(settingsOf(consensus, { lambda_t: 0.5 }, [{}, {}]), {});
    const inputs = [Float32Array.of(1, 1, 0, 1), Float32Array.of(1, 0.25, 0, -1)];
    const out = new Float32Array(4);
    consensus.combine({ count: 4, base: new Float32Array(4), inputs, extra: {}, out, counters }, args);
    assert.deepEqual(counters, { kept: 1, dropped: 1 });
  });

  it("what is not finite reaches the result", () => {
    assert.deepEqual(combine(consensus, [1], [[NaN], [0], [0]], {}), [NaN]);
    assert.deepEqual(combine(consensus, [1], [[Infinity], [0], [0]], { k: 3 }), [Infinity]);
  });

  it("refuses a k that no entry can reach", () => {
    assert.match(consensus.check!(settingsOf(consensus, { k: 3 }, [{}, {}]))!, /only 2 models/);
    assert.equal(consensus.check!(settingsOf(consensus, { k: 2 }, [{}, {}])), null);
  });
});
