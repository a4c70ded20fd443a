import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { localizeAndStitch } from "./localize_and_stitch.js";

const changes = [
  [4, -3, 2, 1, 0],
  [1, 5, -6, 0.5, 0],
];
const stitch = (thresholds: readonly number[], given = {}) =>
  combine(localizeAndStitch, [0, 0, 0, 0, 1], changes, given, [{}, {}], {
    known: { threshold: { thresholds, kept: [], entries: 5 } },
  });

describe("localize_and_stitch", () => {
  it("by hand: alone whole, overlaps averaged, the rest of the base", () => {
    assert.deepEqual(stitch([3, 5]), [4, 1, -6, 0, 1]);
    assert.deepEqual(stitch([2, 1], { lambda: 0.5 }), [1.25, 0.5, -1, 0, 1]);
  });

  it("what did not change belongs to no region, even if everything is kept", () => {
    assert.deepEqual(
      combine(
        localizeAndStitch,
        [0, 0],
        [
          [2, 0],
          [0, 4],
        ],
        { density: 1 },
      ),
      [2, 4],
    );
  });

  it("asks for the rank trunc(d·density) of each model", () => {
    const own = [{ density: 0.05 }, { density: 0.999 }, { density: 1 }, { density: 0 }];
    const need = localizeAndStitch.needs(settingsOf(localizeAndStitch, {}, own), {});
    assert.ok(need?.statistic === "threshold");
    assert.deepEqual(
      need.ranks.map((rank) => rank(110)),
      [5, 109, null, 0],
    );
    assert.equal(need.ties, "keep");
  });
});
