import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import type { FloatDtype } from "../../numbers/dtypes.js";
import { createMemory, loadKernels } from "../load.js";
import { finiteKernel } from "./binding.js";
import { countNonFinite } from "./definition.js";

const START = 65_536;
const FORMATS: readonly FloatDtype[] = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"];

for (const shared of [false, true]) {
  describe(`finite kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(1 << 20, shared);
    const count = finiteKernel(loadKernels(memory));

    it("agrees with its definition on every pattern of 16 bits", () => {
      const bits = new Uint16Array(memory.buffer, START, 65_536);
      for (let i = 0; i < bits.length; i++) bits[i] = i;
      assert.equal(count("BF16", START, 65_536), 256);
      assert.equal(count("F16", START, 65_536), 2048);
      for (const dtype of FORMATS) {
        const bytes = new Uint8Array(memory.buffer, START, 131_072);
        assert.equal(count(dtype, START, 131_072 / DTYPE_BYTES[dtype]), countNonFinite(dtype, bytes));
      }
    });

    it("counts any number of entries, none beyond them", () => {
      for (const dtype of FORMATS) {
        for (let entries = 0; entries < 40; entries++) {
          const bytes = new Uint8Array(memory.buffer, START, 41 * 8).fill(0xff);
          assert.equal(count(dtype, START, entries), entries);
          bytes.fill(0);
          assert.equal(count(dtype, START, entries), 0);
        }
      }
    });

    it("counts more than 2^15 in one lane", () => {
      new Uint8Array(memory.buffer, START, 600_000).fill(0xff);
      assert.equal(count("BF16", START, 300_000), 300_000);
    });

    it("takes a large F64 for finite", () => {
      new Float64Array(memory.buffer, START, 3).set([1e300, -Infinity, NaN]);
      assert.equal(count("F64", START, 3), 2);
    });
  });
}
