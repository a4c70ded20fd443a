import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createMemory, loadKernels } from "../load.js";
import { SELECT_BYTES, selectRanksKernel } from "./binding.js";
import { selectRanks } from "./definition.js";

const STATE = 65_536;
const VALUES = STATE + SELECT_BYTES;

/** All patterns, few values, and values that share their first digit or their first two. */
const sample = fc.oneof(
  fc.array(fc.nat(0xffff_ffff), { minLength: 1, maxLength: 300 }),
  fc.array(fc.constantFrom(0, 1, 0x3f80_0000, 0x7fff_ffff, 0xffff_ffff), { minLength: 1, maxLength: 60 }),
  fc.array(
    fc.nat(0x7_ffff).map((low) => 0x3a00_0000 + low),
    { minLength: 1, maxLength: 300 },
  ),
  fc.array(
    fc.nat(300).map((low) => 0x3a00_0080 + low),
    { minLength: 1, maxLength: 300 },
  ),
);

for (const shared of [true, false]) {
  describe(`select kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(VALUES + 4 * 300, shared);
    const kernels = loadKernels(memory);

    it("finds what its definition finds, whatever it found before", () => {
      const property = fc.property(sample, fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), (values, choices) => {
        const place = new Uint32Array(memory.buffer, VALUES, values.length);
        place.set(values);
        const ranks = choices.map((choice) => 1 + (choice % values.length));
        assert.deepEqual(
          ranks.map(selectRanksKernel(kernels, STATE, place)),
          ranks.map(selectRanks(Uint32Array.from(values))),
        );
        assert.deepEqual([...place], values);
      });
      fc.assert(property, { seed: 7, numRuns: 400 });
    });
  });
}
