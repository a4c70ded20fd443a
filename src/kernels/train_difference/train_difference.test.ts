import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { trainDifference } from "../../methods/train_difference.js";

describe("the train_difference kernel equals its definition", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const property = fc.property(anyCase, strength, ({ kind, count, seed, shared, offset }, lambda) => {
        const models = drawStreams(kind, from, 3, count, seed);
        const args = trainDifference.bind(settingsOf(trainDifference, { lambda }, [{}, {}]), {});
        const base = models.pop()!;
        const kernel = "train_difference";
        checkTwin({ method: trainDifference, args, kernel, from, to, base, models, shared, offset });
      });
      fc.assert(property, { seed: 6, numRuns: 80 });
    });
  }
});
