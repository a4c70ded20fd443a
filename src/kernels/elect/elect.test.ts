import { describe, it } from "node:test";
import * as fc from "fast-check";
import { anyCase, checkTwin, drawStreams, PAIRS, settingsOf, strength } from "../../../test/laws/support/twin.js";
import { emr } from "../../methods/emr.js";
import { tallMasks } from "../../methods/tall_masks.js";

describe("the kernels of shared vectors equal their definitions", () => {
  for (const [from, to] of PAIRS) {
    it(`elect, ${from} to ${to}`, () => {
      const property = fc.property(anyCase, ({ kind, models, count, seed, ...rest }) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const args = emr.bind(
          settingsOf(
            emr,
            {},
            streams.map(() => ({})),
          ),
          {},
        );
        checkTwin({ method: emr, args, kernel: "elect", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 3, numRuns: 80 });
    });

    it(`total, ${from} to ${to}`, () => {
      const property = fc.property(anyCase, strength, ({ kind, models, count, seed, ...rest }, alpha) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const { scalars } = tallMasks.bind(
          settingsOf(
            tallMasks,
            { alpha },
            streams.map(() => ({})),
          ),
          {},
        );
        const args = { scalars, columns: {} };
        checkTwin({ method: tallMasks, args, kernel: "total", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 4, numRuns: 80 });
    });
  }
});
