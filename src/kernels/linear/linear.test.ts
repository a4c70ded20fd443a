import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { bitsOf, bytesOf } from "../../../test/laws/support/random.js";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { average } from "../../methods/average.js";

describe("the linear kernel equals its definition", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const weights = fc.array(strength, { minLength: 9, maxLength: 9 });
      const property = fc.property(
        anyCase,
        fc.boolean(),
        weights,
        ({ kind, models, count, seed, ...rest }, normalize, all) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const weighted = all.slice(0, models).map((weight) => ({ weight }));
          // Weights that sum to zero are refused by the planner; here they must still agree: everything is infinite or NaN.
          const args = average.bind(settingsOf(average, { normalize }, weighted), {});
          const base = streams.pop()!;
          checkTwin({ method: average, args, kernel: "linear", from, to, base, models: streams, ...rest });
        },
      );
      fc.assert(property, { seed: 2, numRuns: 80 });
    });
  }
});

describe("a kernel says that a result is too large exactly where rounding makes it infinite", () => {
  const largest = { BF16: 0x7f7f7fff, F16: bitsOf(65_520) - 1, F32: 0x7f7fffff } as const;
  for (const to of ["BF16", "F16", "F32"] as const) {
    it(to, () => {
      for (let lane = 0; lane < 8; lane++) {
        for (const sign of [0, 0x80000000]) {
          for (const over of [0, 1]) {
            const entries = new Uint32Array(8);
            entries[lane] = sign + largest[to] + over;
            const args = average.bind(settingsOf(average, {}, [{}]), {});
            const models = [bytesOf(entries)];
            const base = new Uint8Array(32);
            const rest = { shared: true, offset: 0 };
            const finite = checkTwin({
              method: average,
              args,
              kernel: "linear",
              from: "F32",
              to,
              base,
              models,
              ...rest,
            });
            assert.equal(finite, over === 0);
          }
        }
      }
    });
  }
});
