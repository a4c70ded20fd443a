import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { magmax } from "../../methods/magmax.js";

describe("the magmax kernel equals its definition", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const weights = fc.array(strength, { minLength: 9, maxLength: 9 });
      const property = fc.property(
        anyCase,
        strength,
        weights,
        ({ kind, models, count, seed, ...rest }, lambda, all) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const weighted = all.slice(0, models).map((weight) => ({ weight }));
          const args = magmax.bind(settingsOf(magmax, { lambda }, weighted), {});
          const base = streams.pop()!;
          checkTwin({ method: magmax, args, kernel: "magmax", from, to, base, models: streams, ...rest });
        },
      );
      fc.assert(property, { seed: 4, numRuns: 80 });
    });
  }
});
