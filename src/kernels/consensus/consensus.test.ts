import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { consensus } from "../../methods/consensus.js";

describe("the consensus kernel equals its definition", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const own = fc.record({ weight: strength, lambda_t: fc.constantFrom(0, 0.2, 0.4, 1, 3) });
      const property = fc.property(
        anyCase,
        fc.record({ lambda: strength, k: fc.integer({ min: 0, max: 4 }) }),
        fc.array(own, { minLength: 9, maxLength: 9 }),
        ({ kind, models, count, seed, ...rest }, given, all) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const args = consensus.bind(settingsOf(consensus, given, all.slice(0, models)), {});
          const base = streams.pop()!;
          checkTwin({ method: consensus, args, kernel: "consensus", from, to, base, models: streams, ...rest });
        },
      );
      fc.assert(property, { seed: 5, numRuns: 80 });
    });
  }
});
