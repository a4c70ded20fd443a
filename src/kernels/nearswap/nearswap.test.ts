import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf } from "../../../test/laws/support/twin.js";
import { nearswap } from "../../methods/nearswap.js";

describe("the nearswap kernel equals its definition", () => {
  const bound = fc.constantFrom(0, 1e-9, 1e-6, 0.004, 0.02, 0.25, 1, 1e30);
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const property = fc.property(anyCase, bound, bound, ({ kind, count, seed, shared, offset }, t, floor) => {
        const [model, base] = drawStreams(kind, from, 2, count, seed) as [Uint8Array, Uint8Array];
        const args = nearswap.bind(settingsOf(nearswap, { t, floor }, [{}]), {});
        checkTwin({ method: nearswap, args, kernel: "nearswap", from, to, base, models: [model], shared, offset });
      });
      fc.assert(property, { seed: 3, numRuns: 80 });
    });
  }
});
