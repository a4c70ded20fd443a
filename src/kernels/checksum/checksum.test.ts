import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { xxh64 } from "../../numbers/checksum.js";
import { createMemory, loadKernels } from "../load.js";
import { checksumKernel } from "./binding.js";

for (const shared of [false, true]) {
  describe(`checksum kernel, ${shared ? "shared" : "unshared"} memory`, () => {
    const memory = createMemory(4 << 20, shared);
    const checksum = checksumKernel(loadKernels(memory));
    const START = 65_536;
    const bytes = new Uint8Array(memory.buffer, START, 3 << 20);
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(i, 0x9e3779b1) >>> 24;

    it("agrees with its definition at every length up to 200, at any alignment", () => {
      for (let length = 0; length <= 200; length++) {
        for (const offset of [0, 1, 2, 4, 7]) {
          assert.equal(checksum(START + offset, length), xxh64(bytes.subarray(offset, offset + length)));
        }
      }
    });

    it("agrees on blocks", () => {
      for (const length of [262_144, 2 * 262_144, 2 * 262_144 + 6, bytes.length]) {
        assert.equal(checksum(START, length), xxh64(bytes.subarray(0, length)));
      }
    });

    it("gives published values", () => {
      assert.equal(checksum(START, 0), "ef46db3751d8e999");
      bytes.set([0x61, 0x62, 0x63]);
      assert.equal(checksum(START, 3), "44bc2cf5ad770999");
    });
  });
}
