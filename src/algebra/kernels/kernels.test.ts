/** Every kernel against its definition, bit for bit, and whole operations on both. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMemory } from "../../kernels/load.js";
import { openAlgebra, openPlainAlgebra } from "../algebra.js";
import { narrow, product, random32, random64, transpose, withSingularValues } from "../fixtures.test.js";
import { definedKernels } from "./kernels.js";
import type { AlgebraKernels } from "./kernels.js";
import { loadAlgebra, SCRATCH_BYTES } from "./load.js";

/** Addresses in bytes; entries of f64. */
const SCRATCH = 65_536;
const FIRST = SCRATCH + SCRATCH_BYTES;
const ENTRIES = 60_000;
const place = (index: number) => FIRST + 8 * index * ENTRIES;
const [A, B, C, D, E, F] = [0, 1, 2, 3, 4, 5].map(place) as [number, number, number, number, number, number];
const END = place(6);

const memory = createMemory(END, false);
const other = createMemory(END, false);
const kernels = loadAlgebra(memory, SCRATCH);
const definitions = definedKernels(other);

/** What arithmetic treats specially: zeros of both signs, subnormals, huge numbers. */
const SPECIAL = [0, -0, 5e-324, -1e-310, 1e300, -1e-200];

function fill(seed: number, f32: boolean): void {
  let state = seed | 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state;
  };
  const numbers = f32 ? new Float32Array(memory.buffer, FIRST) : new Float64Array(memory.buffer, FIRST, 6 * ENTRIES);
  for (let index = 0; index < numbers.length; index++) {
    const word = next();
    numbers[index] = (word >>> 20) % 97 === 0 ? SPECIAL[(word >>> 9) % 6]! : (next() >>> 8) / 2 ** 23 - 1;
  }
  new Uint8Array(other.buffer).set(new Uint8Array(memory.buffer));
}

/** Runs a kernel and its definition on the same memory and compares all of it, and what they return. */
function same(name: keyof AlgebraKernels, args: readonly number[]): void {
  fill(args.length + name.length + args[0]!, name === "gemm");
  const call = (of: AlgebraKernels) => {
    const kernel: (...numbers: number[]) => unknown = of[name];
    return String(kernel(...args));
  };
  const [found, expected] = [call(kernels), call(definitions)];
  assert.equal(found, expected, `what ${name} returns`);
  const bits = new Int32Array(memory.buffer, FIRST, 12 * ENTRIES);
  const wanted = new Int32Array(other.buffer, FIRST, 12 * ENTRIES);
  for (let index = 0; index < bits.length; index++) {
    if (bits[index] !== wanted[index]) assert.fail(`${name}(${args.join(", ")}) differs in word ${index}`);
  }
}

const LENGTHS = [0, 1, 2, 3, 7, 8, 9, 16, 31, 130];

describe("gemm and gemm64", () => {
  for (const [m, n, k] of [
    [4, 8, 4],
    [1, 1, 1],
    [5, 9, 3],
    [67, 33, 70],
    [3, 517, 5],
    [130, 12, 300],
    [7, 20, 513],
    [64, 4, 256],
    [9, 300, 33],
  ] as const) {
    for (const transposed of [0, 1, 2, 3]) {
      it(`${m} x ${n} x ${k}, transposed ${transposed}`, () => {
        const [ta, tb] = [transposed & 1, transposed >> 1];
        const a = [A, (ta === 1 ? m : k) + 1, ta];
        const b = [B, (tb === 1 ? k : n) + 2, tb];
        for (const [alpha, accumulate] of [
          [1, 0],
          [-1.5, 1],
        ] as const) {
          same("gemm64", [m, n, k, ...a, ...b, C, n + 3, alpha, accumulate]);
          same("gemm", [m, n, k, ...a, ...b, C, n + 3, alpha, 0, accumulate]);
        }
      });
    }
  }
});

describe("loops over vectors", () => {
  it("dot and axpy", () => {
    for (const n of LENGTHS) {
      same("dot", [n, A, B]);
      same("axpy", [n, -0.3, A + 8, B]);
    }
  });

  it("multiply_vector and update", () => {
    for (const rows of [0, 1, 2, 5]) {
      for (const columns of LENGTHS) {
        same("multiply_vector", [rows, columns, A, columns + 1, B, C]);
        same("update", [rows, columns, A, columns + 3, B, C, D, E, F, F + 8 * 1000]);
      }
    }
  });

  it("rotate, to either side", () => {
    for (const count of [0, 1, 3, 4, 9]) {
      for (const n of LENGTHS) {
        same("rotate", [count, n, A, n + 1, B]);
        same("rotate", [count, n, A + 8 * count * (n + 2), -(n + 2), B]);
      }
    }
  });

  it("transpose", () => {
    for (const rows of [0, 1, 16, 37]) {
      for (const columns of LENGTHS) same("transpose", [rows, columns, A, columns + 1, B, rows + 2]);
    }
  });

  it("solve_lower and solve_lower_transposed", () => {
    for (const n of [0, 1, 2, 17, 64]) {
      for (const columns of LENGTHS) {
        same("solve_lower", [n, columns, A, n + 1, B, columns + 1]);
        same("solve_lower_transposed", [n, columns, A, n + 1, B, columns + 1]);
      }
    }
  });
});

describe("operations", () => {
  it("give the same bits as with the definitions", () => {
    const [fast, plain] = [openAlgebra(), openPlainAlgebra()];
    const square = random64(83, 83, 1);
    const definite = product(square, transpose(square));
    const long = withSingularValues(210, 105, [7, 5, 3, 1, 0.1, 0.01]);
    for (const run of [
      (of: typeof fast) => of.multiply(random32(70, 41, 2), random32(70, 33, 3), { transposeA: true }),
      (of: typeof fast) => of.multiply64(square, definite, { transposeB: true }),
      (of: typeof fast) => of.qr(random64(90, 70, 4)),
      (of: typeof fast) => of.eigenSymmetric(definite),
      (of: typeof fast) => of.svd(random64(60, 83, 5)),
      (of: typeof fast) => of.svd(long),
      (of: typeof fast) => of.truncatedSvd(narrow(long), 6),
      (of: typeof fast) => of.solveCholesky(of.cholesky(definite)!, random64(83, 9, 6)),
      (of: typeof fast) => of.polar(random32(40, 21, 7)),
    ]) {
      assert.deepEqual(run(fast), run(plain));
    }
  });
});
