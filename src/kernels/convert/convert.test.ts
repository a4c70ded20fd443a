import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { change, narrow, widen } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { createMemory, loadKernels } from "../load.js";
import type { KernelDtype } from "./binding.js";
import { convertKernels } from "./binding.js";

const DTYPES: readonly KernelDtype[] = ["BF16", "F16", "F32"];
const NAN = 0x7fc00000;
const COUNTS = [0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 1000, 1001];

/** Bit patterns, with every NaN as one: between widening and narrowing a payload means nothing. */
function patterns(values: Float32Array): number[] {
  return Array.from(new Uint32Array(values.slice().buffer), (bits) => ((bits & 0x7fffffff) > 0x7f800000 ? NAN : bits));
}

/** Values next to every value and midpoint of F16 and BF16 and to the ends of the ranges, then a spread of all f32. */
const interesting = ((): Float32Array => {
  const bits: number[] = [];
  const around = (center: number): void => {
    for (const offset of [-1, 0, 1]) bits.push((center + offset) >>> 0, (center + offset + 0x80000000) >>> 0);
  };
  const f16 = new Float32Array(0x7c01);
  widen("F16", new Uint8Array(Uint16Array.from(f16, (_, i) => i).buffer), f16);
  for (let i = 0; i < 0x7c00; i++) {
    const middle = i === 0x7bff ? 65520 : (f16[i]! + f16[i + 1]!) / 2;
    for (const value of [f16[i]!, middle]) around(new Uint32Array(Float32Array.of(value).buffer)[0]!);
  }
  for (let upper = 0; upper <= 0x7fff; upper++) {
    around(upper * 65536);
    around(upper * 65536 + 0x8000);
  }
  for (let i = 0; i < 100_000; i++) bits.push(Math.imul(i, 0x9e3779b1) >>> 0);
  return new Float32Array(Uint32Array.from(bits).buffer);
})();

const floats = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

for (const shared of [false, true]) {
  const memory = createMemory(32 << 20, shared);
  const kernels = convertKernels(loadKernels(memory));
  const SOURCE = 65_536;
  const TARGET = 16 << 20;
  const bytesAt = (address: number, length: number): Uint8Array => new Uint8Array(memory.buffer, address, length);

  /** What `narrow` and its kernel do with these values, which the kernel finds and leaves at any address. */
  const checkNarrow = (dtype: KernelDtype, values: Float32Array, source: number, target: number): void => {
    const expected = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
    const nonFinite = narrow(dtype, values, expected);
    bytesAt(source, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    bytesAt(target, expected.length + 16).fill(0x5a);
    assert.equal(kernels.narrow(dtype)(source, target, values.length), nonFinite);
    assert.ok(Buffer.from(bytesAt(target, expected.length)).equals(expected), `${dtype}, ${values.length} entries`);
    assert.ok(
      bytesAt(target + expected.length, 16).every((byte) => byte === 0x5a),
      "wrote beyond the end",
    );
  };

  const checkWiden = (dtype: KernelDtype, stored: Uint8Array, source: number, target: number): void => {
    const expected = new Float32Array(stored.length / DTYPE_BYTES[dtype]);
    widen(dtype, stored, expected);
    bytesAt(source, stored.length).set(stored);
    bytesAt(target, expected.byteLength + 16).fill(0x5a);
    kernels.widen(dtype)(source, target, expected.length);
    assert.deepEqual(patterns(floats(bytesAt(target, expected.byteLength))), patterns(expected));
    assert.ok(
      bytesAt(target + expected.byteLength, 16).every((byte) => byte === 0x5a),
      "wrote beyond the end",
    );
  };

  describe(`conversion kernels, ${shared ? "shared" : "unshared"} memory`, () => {
    const every16 = new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer);

    for (const dtype of DTYPES) {
      const stored = dtype === "F32" ? new Uint8Array(interesting.buffer) : every16;

      it(`widen every ${dtype} pattern`, () => checkWiden(dtype, stored, SOURCE, TARGET));

      it(`widen any number of ${dtype} entries at any address`, () => {
        for (const count of COUNTS) {
          // the NaNs and infinities are at the end of the list of patterns
          const part = stored.subarray(stored.length - count * DTYPE_BYTES[dtype]);
          for (const [source, target] of [
            [0, 0],
            [2, 4],
            [1, 3],
          ] as const) {
            checkWiden(dtype, part, SOURCE + source, TARGET + target);
          }
        }
      });

      it(`narrow to ${dtype} at every rounding boundary`, () => checkNarrow(dtype, interesting, SOURCE, TARGET));

      it(`narrow any number of entries to ${dtype} at any address`, () => {
        for (const count of COUNTS) {
          for (const start of [0, 5000, interesting.length - 100_000]) {
            const part = interesting.subarray(start, start + count);
            for (const [source, target] of [
              [0, 0],
              [4, 2],
              [3, 1],
            ] as const) {
              checkNarrow(dtype, part, SOURCE + source, TARGET + target);
            }
          }
        }
      });

      it(`narrow to ${dtype} what is not finite, wherever it stands`, () => {
        const strange = new Float32Array(
          Uint32Array.of(0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff, 0x7f7fffff, 0xff7fffff)
            .buffer,
        );
        for (let at = 0; at < 19; at++) {
          for (let which = 0; which < strange.length; which++) {
            const values = new Float32Array(19).fill(-1.5);
            // through the bytes: as a number a NaN may lose its payload
            new Uint32Array(values.buffer)[at] = new Uint32Array(strange.buffer)[which]!;
            checkNarrow(dtype, values, SOURCE, TARGET);
          }
        }
      });
    }

    it("a change of entries as they are stored is that of the widened ones", () => {
      for (const dtype of DTYPES) {
        const stored = dtype === "F32" ? new Uint8Array(interesting.slice(0, 4099).buffer) : every16;
        const widened = new Float32Array(stored.length / DTYPE_BYTES[dtype]);
        widen(dtype, stored, widened);
        const base = interesting.slice(1000, 1000 + widened.length);
        const expected = new Float32Array(widened.length);
        change(widened, base, expected);
        const subtract = SOURCE + (4 << 20);
        for (const count of [...COUNTS, widened.length]) {
          bytesAt(SOURCE, stored.length).set(stored);
          bytesAt(subtract, base.byteLength).set(new Uint8Array(base.buffer));
          bytesAt(TARGET, 4 * count + 16).fill(0x5a);
          kernels.changeOf(dtype)(SOURCE, subtract, TARGET, count);
          assert.deepEqual(patterns(floats(bytesAt(TARGET, 4 * count))), patterns(expected.subarray(0, count)));
          assert.ok(
            bytesAt(TARGET + 4 * count, 16).every((byte) => byte === 0x5a),
            "wrote beyond the end",
          );
        }
      }
    });

    it("change subtracts like its definition", () => {
      const count = 4099;
      const model = interesting.slice(-count);
      const base = interesting.slice(1000, 1000 + count);
      base.set([Infinity, -Infinity, NaN, -0, 0], 5);
      model.set([Infinity, Infinity, 1, -0, -0], 5);
      const expected = new Float32Array(count);
      change(model, base, expected);
      for (const [offset, inPlace] of [
        [0, false],
        [2, false],
        [0, true],
      ] as const) {
        for (const part of [...COUNTS, count]) {
          const [from, subtract] = [SOURCE + offset, SOURCE + 65_536 + offset];
          const target = inPlace ? from : TARGET + offset;
          bytesAt(from, model.byteLength).set(new Uint8Array(model.buffer));
          bytesAt(subtract, base.byteLength).set(new Uint8Array(base.buffer));
          kernels.change(from, subtract, target, part);
          assert.deepEqual(patterns(floats(bytesAt(target, 4 * part))), patterns(expected.subarray(0, part)));
        }
      }
    });
  });
}
