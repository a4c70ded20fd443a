import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, define, drawStreams, FORMATS, settingsOf } from "../../../test/laws/support/twin.js";
import { dice } from "../../../test/laws/support/random.js";
import { fisher } from "../../methods/fisher.js";

const values = fc.record({
  floor: fc.constantFrom(0, 1e-6, 0.5),
  floor_rule: fc.constantFrom("maximum", "add"),
  floor_scope: fc.constantFrom("all", "target"),
  floor_order: fc.constantFrom("before", "after"),
  normalize: fc.constantFrom("none", "model", "tensor"),
});
/** The last is above zero: a recipe whose weights are all zero is refused. */
const weights = fc.array(fc.constantFrom(0, 0.3, 1, 2), { minLength: 8, maxLength: 8 }).map((some) => [1, ...some]);

describe("the fisher kernel equals its definition", () => {
  for (const to of FORMATS) {
    it(`F32 to ${to}, padding left out of the count`, () => {
      let unseen = 0;
      const property = fc.property(
        anyCase,
        values,
        weights,
        fc.integer({ min: 0, max: 7 }),
        (one, given, all, padding) => {
          const { kind, models, count, seed, ...rest } = one;
          const streams = drawStreams(kind, "F32", models + 1, count, seed);
          const base = streams.pop()!;
          const roll = dice(seed + 1);
          const draws = [() => 0, () => 1e-42, () => roll(1000) / 8, () => roll(1000) * 1e-9, () => Math.fround(1e38)];
          const sums = streams.map(() => Float32Array.from({ length: count }, () => draws[roll(8)]?.() ?? 0));
          const norms = streams.map((_, index) => index * 0.7);
          const collected = { counts: streams.map(() => 16), norms, tensorNorms: norms.toReversed() };
          const own = all.slice(0, models).map((weight) => ({ weight }));
          const args = fisher.bind(settingsOf(fisher, given, own), { collected });
          const twin = {
            method: fisher,
            args,
            kernel: "fisher",
            from: "F32",
            to,
            base,
            models: streams,
            ...rest,
          } as const;
          checkTwin({ ...twin, sums, padding });
          unseen += define({ ...twin, sums }).counters.unseen!;
        },
      );
      fc.assert(property, { seed: 4, numRuns: 120 });
      assert.ok(unseen > 0);
    });
  }

  it("is not asked for a tensor that no statistics know", () => {
    assert.equal(fisher.kernel(fisher.bind(settingsOf(fisher, {}, [{}]), {})), null);
  });
});
