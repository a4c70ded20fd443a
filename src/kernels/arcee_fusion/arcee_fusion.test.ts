import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice } from "../../../test/laws/support/random.js";
import { checkScoreTwin } from "../../../test/laws/support/score_twin.js";
import { anyCase, checkTwin, drawStreams, FORMATS, PAIRS, settingsOf } from "../../../test/laws/support/twin.js";
import { arceeFusion } from "../../methods/arcee_fusion.js";
import { createMemory, loadKernels } from "../load.js";

const settings = (epsilon: number) => settingsOf(arceeFusion, { epsilon }, [{}]);

function knownOf(threshold: number) {
  const row = { scores: 9, positive: 9, least: 0, most: 1, ranked: [0, threshold, 0], sum: 0 };
  return { scores: { importance: { per: "column" as const, rows: [row] } } };
}

/** Divergences of rows of eight entries. */
function rowsOf(count: number, seed: number): Float32Array {
  const roll = dice(seed);
  const rows = Float32Array.from({ length: count / 8 }, () => [0, 1e-9, 1, 3e38, 1e-42, 0.01 * roll(100)][roll(6)]!);
  return Float32Array.from({ length: count }, (_, p) => rows[p >> 3]!);
}

describe("the arcee_fusion kernels equal their definitions", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const thresholds = fc.constantFrom(0, 1e-9, 0.01, Infinity);
      const property = fc.property(anyCase, thresholds, ({ kind, count, seed, ...rest }, threshold) => {
        const [model, base] = drawStreams(kind, from, 2, count, seed);
        const args = arceeFusion.bind(settings(0), knownOf(threshold));
        const rows = rowsOf(count, seed);
        const place = { shared: rest.shared, offset: rest.offset, rows };
        checkTwin({
          method: arceeFusion,
          args,
          kernel: "arcee_fusion",
          from,
          to,
          base: base!,
          models: [model!],
          ...place,
        });
      });
      fc.assert(property, { seed: 8, numRuns: 60 });
    });
  }

  for (const from of FORMATS) {
    it(`importance of ${from}`, () => {
      const property = fc.property(anyCase, ({ kind, count, seed }) => {
        const [model, base] = drawStreams(kind, from, 2, count, seed);
        const args = arceeFusion.scores!.importance!.bind(settings(0), {});
        const rows = rowsOf(count, seed);
        const names = { method: arceeFusion, score: "importance", kernel: "arcee_importance" };
        checkScoreTwin({ ...names, args, from, base: base!, models: [model!], rows });
      });
      fc.assert(property, { seed: 9, numRuns: 60 });
    });
  }

  it("the divergence of a row, in runs of any length", () => {
    const memory = createMemory(262_144, false);
    const kernels = loadKernels(memory);
    const [BASE, MODEL, STATE] = [65_536, 131_072, 196_608];
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 });
    const property = fc.property(cuts, fc.integer(), fc.constantFrom(0, 1e-8, 1), (runs, seed, epsilon) => {
      const roll = dice(seed);
      const length = runs.reduce((sum, run) => sum + run, 0);
      const scale = [1e-4, 0.1, 30, 900][roll(4)]!;
      const special = [Number.NaN, Infinity, -Infinity, 0, -0];
      const entry = () => (roll(12) === 0 ? special[roll(5)]! : (roll(2 ** 24) / 2 ** 23 - 1) * scale);
      const base = Float32Array.from({ length }, entry);
      const model = base.map((x) => (roll(3) === 0 ? entry() : x + (roll(2 ** 24) / 2 ** 23 - 1) * 1e-4));
      const measure = arceeFusion.rows!({ scalars: { epsilon, threshold: 0 }, columns: {} });
      new Float32Array(memory.buffer, BASE, length).set(base);
      new Float32Array(memory.buffer, MODEL, length).set(model);
      const found = new Float64Array(memory.buffer, STATE, 16).fill(0);
      const expected = new Float64Array(16);
      for (const state of [found, expected]) state.set(measure.state);
      for (const [index, step] of measure.steps.entries()) {
        const kernel = kernels.get(`${measure.kernel}_${index}`) as unknown as (...args: number[]) => void;
        let at = 0;
        for (const run of runs) {
          kernel(BASE + 4 * at, MODEL + 4 * at, at, run, STATE);
          step(base.subarray(at, at + run), model.subarray(at, at + run), expected, at);
          at += run;
        }
        assert.deepEqual([...found], [...expected], `step ${index}`);
      }
      assert.ok(!(measure.result(found, length) < 0));
    });
    fc.assert(property, { seed: 10, numRuns: 300 });
  });
});
