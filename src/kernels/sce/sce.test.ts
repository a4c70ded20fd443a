import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { checkScoreTwin } from "../../../test/laws/support/score_twin.js";
import { anyCase, checkTwin, drawStreams, FORMATS, PAIRS, settingsOf } from "../../../test/laws/support/twin.js";
import type { Known } from "../../methods/method.js";
import { sce } from "../../methods/sce.js";

const settings = (models: number, given: Readonly<Record<string, number | string>>) =>
  settingsOf(
    sce,
    given,
    Array.from({ length: models }, () => ({})),
  );

/** What is known of a tensor: a threshold for the variance, and sums of squares. */
function knownOf(threshold: number, sums: readonly number[]): Known {
  const row = { scores: 100, positive: 100, least: 0, most: 1, ranked: [threshold], sum: 0 };
  return {
    scores: {
      variance: { per: "column", rows: [row] },
      energy: { per: "model", rows: sums.map((sum) => ({ ...row, sum })) },
    },
  };
}

const drawn = {
  share: fc.constantFrom(0.5, 1),
  small: fc.constantFrom("weighted", "uniform"),
  threshold: fc.constantFrom(0, 1e-12, 1e-6, 1e-3, 1, Number.POSITIVE_INFINITY),
  sums: fc.array(fc.constantFrom(0, 1e-30, 1e-9, 0.01, 1, 300), { minLength: 9, maxLength: 9 }),
};

describe("the sce kernels equal their definitions", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const property = fc.property(anyCase, fc.record(drawn), ({ kind, models, count, seed, ...rest }, draws) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const known = knownOf(Math.fround(draws.threshold), draws.sums.slice(0, models));
        const args = sce.bind(settings(models, { select_topk: draws.share, small: draws.small }), known);
        checkTwin({ method: sce, args, kernel: "sce", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 3, numRuns: 60 });
    });
  }

  for (const from of FORMATS) {
    for (const [score, kernel] of [
      ["variance", "sce_variance"],
      ["selected", "sce_selected"],
    ] as const) {
      it(`${score} of ${from}`, () => {
        const property = fc.property(anyCase, fc.record(drawn), ({ kind, models, count, seed }, draws) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const base = streams.pop()!;
          const known = knownOf(Math.fround(draws.threshold), []);
          const args = sce.scores![score]!.bind(settings(models, { select_topk: draws.share }), known);
          checkScoreTwin({ method: sce, score, args, kernel, from, base, models: streams });
        });
        fc.assert(property, { seed: 4, numRuns: 60 });
      });
    }
  }

  it("equal changes have no variance", () => {
    const models = [1, 2, 3].map(() => new Uint8Array(Float32Array.of(0.1, 0.3, -7, 1e-30, 5, 0, 1e30, -0.7).buffer));
    const args = { scalars: {}, columns: {} };
    const [variance] = checkScoreTwin({
      ...{ method: sce, score: "variance", args, kernel: "sce_variance", from: "F32", models },
      base: new Uint8Array(32),
    });
    assert.deepEqual([...variance!], [0, 0, 0, 0, 0, 0, 0, 0]);
  });
});
