import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import type { Known } from "./method.js";
import { ram } from "./ram.js";
import { ramplusTl } from "./ramplus_tl.js";

const changes = [
  [1, 1, 0, 0.5],
  [0, 3, 0, -0.25],
];
const base = [1, 1, 1, 1];
const merge = (given: Readonly<Record<string, number>>, known: Known) =>
  combine(ramplusTl, base, changes, given, [{}, {}], { known });

describe("ramplus_tl", () => {
  it("by hand: what a model has alone is scaled by its share ratio, up to alpha", () => {
    const known = { overlap: { shared: [2, 2], unique: [16, 1] } };
    assert.deepEqual(merge({ r: 2, alpha: 10 }, known), [2 + 2 * 0.125, 3, 1, 1.125]);
    assert.deepEqual(merge({ r: 2, alpha: 0.0625 }, known), [2 + 2 * 0.0625, 3, 1, 1.125]);
  });

  it("nothing alone counts as epsilon entries, nothing at all as a ratio of 0", () => {
    const args = (shared: number[], unique: number[]) =>
      ramplusTl.bind(settingsOf(ramplusTl, { alpha: 0.25, r: 1 }, [{}, {}]), { overlap: { shared, unique } });
    assert.deepEqual(args([5, 0], [0, 0]).columns.unique, [1.25, 1]);
    assert.deepEqual(
      ramplusTl.bind(settingsOf(ramplusTl, { epsilon: 0 }, [{}]), { overlap: { shared: [0], unique: [0] } }).columns
        .unique,
      [1],
    );
  });

  it("r 0 is ram", () => {
    const known = { overlap: { shared: [2, 2], unique: [1, 0] } };
    assert.deepEqual(merge({ r: 0 }, known), combine(ram, base, changes, {}));
  });

  it("asks for counts of the model, or of the tensor", () => {
    const scope = (counts: string) => ramplusTl.needs(settingsOf(ramplusTl, { counts }, [{}]), {})?.scope;
    assert.equal(scope("model"), "model");
    assert.equal(scope("tensor"), "tensor");
  });
});
