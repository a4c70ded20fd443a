import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { drawStreams, FORMATS, KINDS, putStreams } from "../../../test/laws/support/twin.js";
import { change } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { ColumnGramSum, columnGramBytes, gramBytes, GramSum } from "./binding.js";
import { columnGram, gramOf, pairCount } from "./definition.js";

const MOST_VECTORS = 9;
const MOST_ENTRIES = 1200;
const CONTEXT = 65_536;
const RESULTS = CONTEXT + contextBytes(MOST_VECTORS) + 64;
const STREAMS = RESULTS + 524_288;
const STREAM_BYTES = (MOST_ENTRIES + 8) * 4;

const cases = fc.record({
  kind: fc.constantFrom(...KINDS),
  dtype: fc.constantFrom(...FORMATS),
  vectors: fc.integer({ min: 1, max: MOST_VECTORS }),
  count: fc.integer({ min: 1, max: MOST_ENTRIES }),
  tile: fc.integer({ min: 1, max: 150 }).map((fours) => fours * 4),
  seed: fc.integer(),
});

for (const shared of [true, false]) {
  const memory = createMemory(STREAMS + (MOST_VECTORS + 1) * STREAM_BYTES, shared);
  const kernels = loadKernels(memory);
  const context = new KernelContext(memory, CONTEXT, MOST_VECTORS);
  const place = (index: number) => STREAMS + index * STREAM_BYTES;

  describe(`the gram kernels in ${shared ? "shared" : "plain"} memory`, () => {
    it("equal their definition bit for bit, for any vectors, counts, formats and tiles", () => {
      fc.assert(
        fc.property(cases, ({ kind, dtype, vectors, count, tile, seed }) => {
          // Entries behind the last are read; whatever they are must not show.
          const streams = drawStreams(kind, dtype, vectors + 1, count + 8, seed);
          const widened = putStreams(memory, dtype, streams, place).map((values) => values.subarray(0, count));
          const base = widened.pop()!;
          for (const values of widened) change(values, base, values);
          assert.ok(gramBytes(vectors) < STREAMS - RESULTS);
          const sum = new GramSum(kernels, context, RESULTS, vectors);
          for (let start = 0; start < count; start += tile) {
            const at = (index: number) => place(index) + start * DTYPE_BYTES[dtype];
            const inputs = widened.map((_, index) => at(index));
            sum.add({ format: dtype, count: Math.min(tile, count - start), subtract: at(vectors), inputs });
          }
          assert.deepEqual(sum.result(), gramOf(widened));
        }),
        { seed: 21, numRuns: 150 },
      );
    });

    it("by columns", () => {
      fc.assert(
        fc.property(cases, fc.integer({ min: 1, max: 60 }), ({ kind, vectors, count, tile, seed }, width) => {
          const rows = Math.ceil(count / width);
          const streams = drawStreams(kind, "F32", vectors, rows * width, seed);
          const values = streams.map((bytes, index) => {
            const at = new Uint8Array(memory.buffer, place(index), STREAM_BYTES);
            at.fill(0x7f);
            at.set(bytes.subarray(0, STREAM_BYTES));
            return new Float32Array(memory.buffer, place(index), Math.min(rows * width, MOST_ENTRIES)).slice();
          });
          const whole = Math.floor(values[0]!.length / width);
          if (whole === 0) return;
          assert.ok(columnGramBytes(vectors, width) < STREAMS - RESULTS);
          const sum = new ColumnGramSum(kernels, context, RESULTS, vectors, width);
          for (let row = 0; row < whole; row++) {
            for (let column = 0; column < width; column += tile) {
              const inputs = values.map((_, index) => place(index) + (row * width + column) * 4);
              sum.add(column, Math.min(tile, width - column), inputs);
            }
          }
          const expected = columnGram(
            values.map((entries) => entries.subarray(0, whole * width)),
            width,
          );
          assert.deepEqual(
            Array.from({ length: width }, (_, column) => sum.result(column)),
            expected,
          );
        }),
        { seed: 22, numRuns: 100 },
      );
    });

    it("a cleared sum begins anew", () => {
      new Float32Array(memory.buffer, place(0), 3).set([1, 2, 3]);
      new Float32Array(memory.buffer, place(1), 3).fill(0);
      const sum = new GramSum(kernels, context, RESULTS, 1);
      const tile = { format: "F32", count: 3, subtract: place(1), inputs: [place(0)] } as const;
      sum.add(tile);
      sum.clear();
      sum.add(tile);
      assert.deepEqual(sum.result(), [14]);
    });
  });
}

describe("inner products", () => {
  it("by hand, positions left out at which a vector is not finite", () => {
    const a = Float32Array.of(1, 2, NaN, 4, 5);
    const b = Float32Array.of(2, -1, 7, Infinity, 1);
    assert.deepEqual(gramOf([a, b]), [1 + 4 + 25, 2 - 2 + 5, 4 + 1 + 1]);
    assert.equal(pairCount(3), 6);
  });

  it("of columns", () => {
    const a = Float32Array.of(1, 2, 3, 4);
    const b = Float32Array.of(5, 6, NaN, 8);
    assert.deepEqual(columnGram([a, b], 2), [
      [1, 5, 25],
      [20, 44, 100],
    ]);
  });
});
