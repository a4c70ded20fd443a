import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { change, narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { relationsBytes, RelationsSum } from "./binding.js";
import { relate } from "./definition.js";
import type { Relations } from "./definition.js";

const DTYPES = ["BF16", "F16", "F32"] as const;
const MOST_MODELS = 9;
const MOST_ENTRIES = 1200;
const CONTEXT = 65_536;
const RESULTS = CONTEXT + 4096;
const STREAMS = RESULTS + 262_144;
const STREAM_BYTES = (MOST_ENTRIES + 8) * 4;

/** Ordinary values, equal magnitudes of both signs, and everything that is special. */
const value = fc.oneof(
  { weight: 6, arbitrary: fc.double({ min: -2, max: 2, noNaN: true }) },
  { weight: 3, arbitrary: fc.constantFrom(0, -0, 0.25, -0.25, 0.5, -0.5) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity, 1e-44, 3e38, -3e38) },
);

const cases = fc
  .record({ models: fc.integer({ min: 1, max: MOST_MODELS }), count: fc.integer({ min: 1, max: MOST_ENTRIES }) })
  .chain(({ models, count }) =>
    fc.record({
      dtype: fc.constantFrom(...DTYPES),
      // Drawn short and repeated with a shift, so that a case is made quickly.
      seeds: fc.array(fc.array(value, { minLength: 3, maxLength: 40 }), {
        minLength: models + 1,
        maxLength: models + 1,
      }),
      thresholds: fc.array(fc.constantFrom(0, 0.1, 0.25, 0.5, 1, Infinity), { minLength: models, maxLength: models }),
      count: fc.constant(count),
      tile: fc.integer({ min: 1, max: 60 }).map((eights) => eights * 8),
    }),
  );

for (const shared of [false, true]) {
  describe(`relations kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(STREAMS + (MOST_MODELS + 1) * STREAM_BYTES, shared);
    const kernels = loadKernels(memory);
    const context = new KernelContext(memory, CONTEXT, MOST_MODELS);
    assert.ok(CONTEXT + contextBytes(MOST_MODELS) <= RESULTS && RESULTS + relationsBytes(MOST_MODELS) <= STREAMS);

    /** Base first. @returns the streams as f32, rounded to the format. */
    function store(dtype: (typeof DTYPES)[number], streams: readonly Float32Array[]): Float32Array[] {
      return streams.map((values, index) => {
        const bytes = new Uint8Array(memory.buffer, STREAMS + index * STREAM_BYTES, STREAM_BYTES).fill(0);
        const own = bytes.subarray(0, values.length * DTYPE_BYTES[dtype]);
        narrow(dtype, values, own);
        const stored = new Float32Array(values.length);
        widen(dtype, own, stored);
        return stored;
      });
    }

    function run(
      dtype: (typeof DTYPES)[number],
      thresholds: readonly number[],
      count: number,
      tile: number,
    ): Relations {
      const sum = new RelationsSum(kernels, context, RESULTS, thresholds);
      for (let start = 0; start < count; start += tile) {
        const entries = Math.min(tile, count - start);
        const at = (stream: number) => STREAMS + stream * STREAM_BYTES + start * DTYPE_BYTES[dtype];
        const inputs = thresholds.map((_, model) => at(model + 1));
        sum.add({ format: dtype, count: entries, padded: Math.ceil(entries / 8) * 8, subtract: at(0), inputs });
      }
      return sum.result();
    }

    it("equals its definition bit for bit, for any models, counts, thresholds, formats and tiles", () => {
      fc.assert(
        fc.property(cases, ({ dtype, seeds, thresholds, count, tile }) => {
          const streams = seeds.map((seed, index) =>
            Float32Array.from({ length: count }, (_, p) => seed[(p * (index + 1) + (p >> 5)) % seed.length]!),
          );
          const [base, ...models] = store(dtype, streams);
          const changes = models.map((model) => {
            const changed = new Float32Array(count);
            change(model, base!, changed);
            return changed;
          });
          assert.deepEqual(run(dtype, thresholds, count, tile), relate(changes, thresholds));
        }),
        { seed: 20, numRuns: 150 },
      );
    });

    it("counts a full block of conflicts without overflow", () => {
      const count = MOST_ENTRIES - (MOST_ENTRIES % 8);
      store("F32", [new Float32Array(count), new Float32Array(count).fill(1), new Float32Array(count).fill(-1)]);
      const sum = new RelationsSum(kernels, context, RESULTS, [1, 1]);
      const inputs = [STREAMS + STREAM_BYTES, STREAMS + 2 * STREAM_BYTES];
      const times = Math.ceil(262_144 / count);
      for (let i = 0; i < times; i++) sum.add({ format: "F32", count, padded: count, subtract: STREAMS, inputs });
      const { models, dots } = sum.result();
      assert.deepEqual(models[1]!.signs, { conflicts: times * count, shared: times * count });
      assert.deepEqual(models[1]!.keptSigns, models[1]!.signs);
      assert.deepEqual(dots, [times * count, -times * count, times * count]);
    });
  });
}

describe("relate", () => {
  it("gives what the words mean", () => {
    const changes = [Float32Array.of(1, -2, 0, 3), Float32Array.of(-1, -1, 0, NaN), Float32Array.of(0.5, 4, 0, -3)];
    const { models, dots } = relate(changes, [2, 1, 3]);
    assert.deepEqual(
      models.map(({ signs }) => signs),
      [
        { conflicts: 0, shared: 0 },
        { conflicts: 1, shared: 2 },
        { conflicts: 3, shared: 3 },
      ],
    );
    assert.deepEqual(
      models.map(({ keptSigns }) => keptSigns),
      [
        { conflicts: 0, shared: 0 },
        { conflicts: 0, shared: 1 },
        { conflicts: 2, shared: 2 },
      ],
    );
    assert.deepEqual(
      models.map(({ zeros, nonFinite, largest, keptEnergy }) => [zeros, nonFinite, largest, keptEnergy]),
      [
        [1, 0, 3, 13],
        [1, 1, NaN, 2],
        [1, 0, 4, 25],
      ],
    );
    assert.deepEqual(dots, [14, NaN, -16.5, NaN, NaN, 25.25]);
  });
});
