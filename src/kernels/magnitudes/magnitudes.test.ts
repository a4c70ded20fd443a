import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { patterns } from "../../../test/laws/support/random.js";
import { drawStreams, FORMATS, KINDS, putStreams } from "../../../test/laws/support/twin.js";
import { change } from "../../numbers/convert.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";

const MODELS = 4;
const CONTEXT = 65_536;
const STREAMS = CONTEXT + 4096;
const STREAM_BYTES = 4 * 256 + 64;
const OUT = STREAMS + (MODELS + 1) * STREAM_BYTES;
const UNTOUCHED = 0x5a5a5a5a;

for (const shared of [true, false]) {
  describe(`magnitudes kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(OUT + MODELS * STREAM_BYTES, shared);
    const kernels = loadKernels(memory);
    assert.ok(contextBytes(MODELS) <= STREAMS - CONTEXT);
    const context = new KernelContext(memory, CONTEXT, MODELS);

    for (const format of FORMATS) {
      it(`gives the changes of ${format} without their signs, and writes nothing behind them`, () => {
        const property = fc.property(
          fc.integer({ min: 1, max: MODELS }),
          fc.integer({ min: 1, max: 200 }),
          fc.constantFrom(...KINDS),
          fc.nat(),
          (models, count, kind, seed) => {
            const padded = Math.ceil(count / 8) * 8;
            const streams = drawStreams(kind, format, models + 1, padded, seed);
            const values = putStreams(memory, format, streams, (stream) => STREAMS + stream * STREAM_BYTES);
            const outs = values.slice(1).map((_, row) => new Uint32Array(memory.buffer, OUT + row * STREAM_BYTES, 208));
            context.setRows(models);
            for (const [row, out] of outs.entries()) {
              out.fill(UNTOUCHED);
              context.setPointer(row, STREAMS + row * STREAM_BYTES);
              context.setColumnBits(row, 0, out.byteOffset);
            }
            context.setTile(padded, 0, STREAMS + models * STREAM_BYTES, 0);
            context.setEntries(count);
            kernels.get(`magnitudes_${format}`)(context.address);
            for (const [row, out] of outs.entries()) {
              const changes = values[row]!.slice(0, count);
              change(changes, values[models]!.subarray(0, count), changes);
              const expected = patterns(changes.map(Math.abs));
              assert.deepEqual(patterns(new Float32Array(out.slice(0, count).buffer)), expected);
              assert.ok(
                out.subarray(count).every((word) => word === UNTOUCHED),
                "wrote behind the last entry",
              );
            }
          },
        );
        fc.assert(property, { numRuns: 200 });
      });
    }
  });
}
