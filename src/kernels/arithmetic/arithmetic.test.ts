import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { taskArithmetic } from "../../methods/task_arithmetic.js";

describe("the arithmetic kernel equals its definition", () => {
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
          const args = taskArithmetic.bind(settingsOf(taskArithmetic, { lambda }, weighted), {});
          const base = streams.pop()!;
          checkTwin({ method: taskArithmetic, args, kernel: "arithmetic", from, to, base, models: streams, ...rest });
        },
      );
      fc.assert(property, { seed: 1, numRuns: 80 });
    });
  }
});
