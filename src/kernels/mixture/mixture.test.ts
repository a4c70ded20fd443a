import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { dice, patterns } from "../../../test/laws/support/random.js";
import { anyCase, checkTwin, drawStreams, PAIRS, strength } from "../../../test/laws/support/twin.js";
import { argumentsOf, weightedSum } from "../../methods/mixture.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";

describe("the mixture kernel equals the weighted sum", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const weights = fc.array(strength, { minLength: 10, maxLength: 10 });
      const property = fc.property(anyCase, weights, ({ kind, models, count, seed, ...rest }, [share, ...all]) => {
        const streams = drawStreams(kind, from, models + 1, count, seed);
        const base = streams.pop()!;
        const args = argumentsOf({ base: share!, models: all.slice(0, models) }, { base: "origin" });
        const method = { ...weightedSum, inputs: "changes", counters: {} } as const;
        checkTwin({ method, args, kernel: "mixture", from, to, base, models: streams, ...rest });
      });
      fc.assert(property, { seed: 3, numRuns: 80 });
    });
  }
});

describe("the mixture kernel by columns", () => {
  const ENTRIES = 400;
  const MODELS = 5;
  const CONTEXT = 65_536;
  const STREAM_BYTES = (ENTRIES + 8) * 4;
  const STREAMS = CONTEXT + Math.ceil(contextBytes(MODELS) / 64) * 64;

  it("equals the weighted sum with each entry's own weights", () => {
    const memory = createMemory(STREAMS + (2 * MODELS + 3) * STREAM_BYTES, false);
    const kernels = loadKernels(memory);
    const context = new KernelContext(memory, CONTEXT, MODELS);
    const place = (index: number) => STREAMS + index * STREAM_BYTES;
    const at = (index: number) => new Float32Array(memory.buffer, place(index), ENTRIES + 8);
    const property = fc.property(
      fc.integer({ min: 1, max: MODELS }),
      fc.integer({ min: 1, max: ENTRIES }),
      fc.integer(),
      (models, count, seed) => {
        const roll = dice(seed);
        const draw = () => (roll(20) === 0 ? [NaN, Infinity, -0, 1e38][roll(4)]! : (roll(2 ** 20) - 2 ** 19) / 2 ** 18);
        // Models, base, then the weights of both; the result last.
        for (let index = 0; index < 2 * models + 2; index++) at(index).set(Array.from({ length: ENTRIES }, draw));
        context.setRows(models);
        for (let row = 0; row < models; row++) {
          context.setPointer(row, place(row));
          context.setColumnBits(row, 0, place(models + 1 + row));
        }
        const out = 2 * models + 2;
        context.setTile(count, place(out), 0, place(models), place(2 * models + 1));
        kernels.get("mixture_columns_F32_F32")(context.address);
        const expected = Float32Array.from({ length: count }, (_, p) => {
          const one = new Float32Array(1);
          const entry = (index: number) => at(index).slice(p, p + 1);
          const args = argumentsOf(
            {
              base: at(2 * models + 1)[p]!,
              models: Array.from({ length: models }, (_model, row) => at(models + 1 + row)[p]!),
            },
            { base: "origin" },
          );
          const inputs = Array.from({ length: models }, (_model, row) => entry(row));
          weightedSum.combine({ count: 1, base: entry(models), inputs, extra: {}, out: one, counters: {} }, args);
          return one[0]!;
        });
        assert.deepEqual(patterns(at(out).slice(0, count)), patterns(expected));
      },
    );
    fc.assert(property, { seed: 4, numRuns: 60 });
  });
});

describe("the weighted sum", () => {
  const sum = (base: number[], inputs: number[][], share: number, weights: number[], kind: "none" | "origin") => {
    const out = new Float32Array(base.length);
    const floats = (values: number[]) => Float32Array.from(values);
    const tile = { count: base.length, base: floats(base), inputs: inputs.map(floats), extra: {}, out, counters: {} };
    weightedSum.combine(tile, argumentsOf({ base: share, models: weights }, { base: kind }));
    return [...out];
  };

  it("by hand", () => {
    assert.deepEqual(
      sum(
        [1, 2],
        [
          [4, 0.5],
          [-8, 2],
        ],
        3,
        [0.5, 0.25],
        "origin",
      ),
      [3, 6.75],
    );
  });

  it("without a base minus zero stays minus zero", () => {
    assert.deepEqual(sum([0, 0], [[-0, 1]], 1, [1], "none"), [-0, 1]);
    assert.deepEqual(sum([0, 0], [[-0, 1]], 1, [1], "origin"), [0, 1]);
  });
});
