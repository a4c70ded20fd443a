import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { patterns } from "../../../test/laws/support/random.js";
import { createMemory, loadKernels } from "../load.js";
import { keepFirstKernel } from "./binding.js";
import { keepFirst } from "./definition.js";

const START = 65_536;
const MOST = 100;

for (const shared of [true, false]) {
  describe(`quota kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(START + 4 * (MOST + 8), shared);
    const keep = keepFirstKernel(loadKernels(memory));

    it("keeps the entries that its definition keeps, and touches none behind them", () => {
      const property = fc.property(
        fc.array(fc.constantFrom(0, -0, 1.5, -1.5, 1, Infinity, -Infinity, Number.NaN), { maxLength: MOST }),
        fc.constantFrom(0, 1.5, Infinity),
        fc.nat(MOST),
        (entries, threshold, left) => {
          const place = new Float32Array(memory.buffer, START, entries.length + 8);
          place.set([...entries, ...Array.from({ length: 8 }, () => threshold)]);
          const expected = Float32Array.from(entries);
          const after = keepFirst(expected, threshold, left);
          assert.equal(keep(START, entries.length, threshold, left), after);
          assert.deepEqual(patterns(place.slice(0, entries.length)), patterns(expected));
          assert.deepEqual(
            [...place.subarray(entries.length)],
            Array.from({ length: 8 }, () => threshold),
          );
        },
      );
      fc.assert(property, { seed: 8, numRuns: 300 });
    });
  });
}
