import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMemory, loadKernels } from "../load.js";
import { lowRankKernel } from "./binding.js";
import { addProduct } from "./plain.js";

/** Ordinary numbers, zeros of both signs, subnormals and numbers that overflow. */
function fill(values: Float32Array, seed: number): void {
  let state = seed;
  for (let at = 0; at < values.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const kind = state % 23;
    const value = (state / 2 ** 31 - 1) * 2 ** ((state >>> 9) % 12);
    values[at] = kind === 0 ? 0 : kind === 1 ? -0 : kind === 2 ? 1e-42 : kind === 3 ? 1e37 : value;
  }
}

describe("adding a product of low rank", () => {
  const memory = createMemory(1 << 22, false);
  const kernel = lowRankKernel(loadKernels(memory));
  const floats = (address: number, count: number) => new Float32Array(memory.buffer, address, count);

  for (const rows of [1, 3, 4, 9]) {
    for (const columns of [1, 7, 8, 13, 300]) {
      for (const rank of [1, 2, 5, 16]) {
        it(`${rows} x ${columns} of rank ${rank} has the definition's bits`, () => {
          const [stride, rightStride] = [columns + 3, columns + 5];
          const [target, left, right] = [4096, 4096 + 65536, 4096 + 2 * 65536];
          const [targets, lefts, rights] = [
            floats(target, rows * stride),
            floats(left, rows * rank),
            floats(right, rank * rightStride),
          ];
          fill(targets, rows * 31 + columns);
          fill(lefts, rank);
          fill(rights, columns * 7 + rank);
          const expected = targets.slice();
          addProduct({ data: expected, stride, rows, columns }, lefts.slice(), rights.slice(), rightStride, rank);
          kernel(target, stride, rows, columns, left, right, rightStride, rank);
          const bits = (values: Float32Array) =>
            [...values].map((value, at) => (Number.isNaN(value) ? "NaN" : new Uint32Array(values.slice(at).buffer)[0]));
          assert.deepEqual(bits(targets), bits(expected));
        });
      }
    }
  }

  it("does not depend on how the columns are cut", () => {
    const [rows, columns, rank] = [6, 61, 7];
    const [target, left, right] = [4096, 4096 + 65536, 4096 + 2 * 65536];
    fill(floats(left, rows * rank), 5);
    fill(floats(right, rank * columns), 6);
    fill(floats(target, rows * columns), 7);
    const start = floats(target, rows * columns).slice();
    kernel(target, columns, rows, columns, left, right, columns, rank);
    const whole = floats(target, rows * columns).slice();
    floats(target, rows * columns).set(start);
    for (let row = 0; row < rows; row++) {
      for (const [from, to] of [
        [0, 11],
        [11, 12],
        [12, 61],
      ] as const) {
        const at = 4 * (row * columns + from);
        kernel(target + at, columns, 1, to - from, left + 4 * row * rank, right + 4 * from, columns, rank);
      }
    }
    assert.deepEqual(floats(target, rows * columns), whole);
  });
});
