import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { normals } from "../../../test/laws/support/random.js";
import {
  anyCase,
  checkTwin,
  drawStreams,
  FORMATS,
  PAIRS,
  settingsOf,
  strength,
} from "../../../test/laws/support/twin.js";
import { ramplusTl } from "../../methods/ramplus_tl.js";
import { change, narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";

describe("the overlap kernel equals its definition", () => {
  for (const [from, to] of PAIRS) {
    it(`${from} to ${to}`, () => {
      const counts = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 9, maxLength: 9 });
      const given = fc.record({ lambda: strength, epsilon: fc.constantFrom(0, 1e-5, 0.004, 0.25, 1), r: strength });
      const property = fc.property(
        anyCase,
        given,
        counts,
        counts,
        ({ kind, models, count, seed, ...rest }, values, shared, unique) => {
          const streams = drawStreams(kind, from, models + 1, count, seed);
          const settings = settingsOf(
            ramplusTl,
            { alpha: 3, ...values },
            streams.slice(1).map(() => ({})),
          );
          const args = ramplusTl.bind(settings, { overlap: { shared, unique } });
          const base = streams.pop()!;
          checkTwin({ method: ramplusTl, args, kernel: "overlap", from, to, base, models: streams, ...rest });
        },
      );
      fc.assert(property, { seed: 8, numRuns: 80 });
    });
  }
});

describe("the counting kernel", () => {
  const COUNT = 1000;
  const CONTEXT = 65_536;
  const STREAMS = CONTEXT + 4096;
  const SCRATCH = STREAMS + 5 * 4 * COUNT;
  const memory = createMemory(SCRATCH + 4 * COUNT, true);
  const kernels = loadKernels(memory);
  const context = new KernelContext(memory, CONTEXT, 4);

  for (const format of FORMATS) {
    for (const models of [1, 2, 4]) {
      it(`counts shared and unique entries of ${models} models in ${format}`, () => {
        const thresholds = [0.01, 0.02, 2 ** -149, 0.5].slice(0, models);
        const changes = Array.from({ length: models + 1 }, (_, stream) => {
          const bytes = new Uint8Array(memory.buffer, STREAMS + stream * 4 * COUNT, COUNT * DTYPE_BYTES[format]);
          const values = normals(COUNT, stream, 0.02).map((x, p) => (p % 7 === stream ? NaN : p % 3 === 0 ? 0 : x));
          narrow(format, values, bytes);
          const back = new Float32Array(COUNT);
          widen(format, bytes, back);
          return back;
        });
        const base = changes.pop()!;
        for (const values of changes) change(values, base, values);
        const shared = thresholds.map(() => 0);
        const unique = thresholds.map(() => 0);
        for (let p = 0; p < COUNT; p++) {
          const active = changes.flatMap((values, i) => (Math.abs(values[p]!) < thresholds[i]! ? [] : [i]));
          for (const i of active) (active.length === 1 ? unique : shared)[i]!++;
        }

        new Uint8Array(memory.buffer, CONTEXT, contextBytes(4)).fill(0);
        context.setRows(models);
        context.setTile(COUNT, 0, STREAMS + models * 4 * COUNT, 0, SCRATCH);
        for (let row = 0; row < models; row++) {
          context.setPointer(row, STREAMS + row * 4 * COUNT);
          context.setColumn(row, 0, thresholds[row]!);
        }
        // Called twice, to see that it adds.
        for (const times of [1, 2]) {
          kernels.get(`overlap_count_${format}`)(context.address);
          const counted = (index: number) => thresholds.map((_, row) => context.rowCounter(row, index));
          assert.deepEqual(
            counted(0),
            shared.map((count) => count * times),
          );
          assert.deepEqual(
            counted(1),
            unique.map((count) => count * times),
          );
        }
        assert.ok(unique[0]! > 0);
      });
    }
  }
});
