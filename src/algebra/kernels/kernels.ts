import { gemm } from "./gemm.js";
import * as vectors from "./vectors.js";

/**
 * The inner loops of the room over one memory. Addresses are in bytes, strides in entries; flags are 0 or 1. What each
 * does is said where it is defined, in gemm.ts and vectors.ts.
 */
export interface AlgebraKernels {
  gemm(
    m: number,
    n: number,
    k: number,
    a: number,
    aStride: number,
    aTransposed: number,
    b: number,
    bStride: number,
    bTransposed: number,
    c: number,
    cStride: number,
    alpha: number,
    bias: number,
    accumulate: number,
  ): void;
  /** `gemm` over f64, without bias. */
  gemm64(
    m: number,
    n: number,
    k: number,
    a: number,
    aStride: number,
    aTransposed: number,
    b: number,
    bStride: number,
    bTransposed: number,
    c: number,
    cStride: number,
    alpha: number,
    accumulate: number,
  ): void;
  dot(n: number, x: number, y: number): number;
  axpy(n: number, alpha: number, x: number, y: number): void;
  multiply_vector(rows: number, columns: number, a: number, stride: number, x: number, y: number): void;
  update(
    rows: number,
    columns: number,
    a: number,
    stride: number,
    u: number,
    w: number,
    z: number,
    v: number,
    x: number,
    y: number,
  ): void;
  rotate(count: number, n: number, rows: number, stride: number, angles: number): void;
  transpose(rows: number, columns: number, a: number, aStride: number, b: number, bStride: number): void;
  solve_lower(n: number, columns: number, l: number, lStride: number, b: number, bStride: number): void;
  solve_lower_transposed(n: number, columns: number, l: number, lStride: number, b: number, bStride: number): void;
}

const asIs = (value: number) => value;

/** The definitions as kernels over a memory, which may grow. */
export function definedKernels(memory: WebAssembly.Memory): AlgebraKernels {
  let f64 = new Float64Array(memory.buffer);
  let f32 = new Float32Array(memory.buffer);
  const fresh = () => {
    if (f64.buffer === memory.buffer) return;
    f64 = new Float64Array(memory.buffer);
    f32 = new Float32Array(memory.buffer);
  };
  const f = () => {
    fresh();
    return f64;
  };
  return {
    gemm(m, n, k, a, as, at, b, bs, bt, c, cs, alpha, bias, accumulate) {
      fresh();
      const machine = { f: f32, round: Math.fround };
      gemm(machine, m, n, k, a / 4, as, at, b / 4, bs, bt, c / 4, cs, alpha, bias / 4, accumulate);
    },
    gemm64(m, n, k, a, as, at, b, bs, bt, c, cs, alpha, accumulate) {
      gemm({ f: f(), round: asIs }, m, n, k, a / 8, as, at, b / 8, bs, bt, c / 8, cs, alpha, 0, accumulate);
    },
    dot: (n, x, y) => vectors.dot(f(), n, x / 8, y / 8),
    axpy: (n, alpha, x, y) => vectors.axpy(f(), n, alpha, x / 8, y / 8),
    multiply_vector: (rows, columns, a, stride, x, y) =>
      vectors.multiply_vector(f(), rows, columns, a / 8, stride, x / 8, y / 8),
    update: (rows, columns, a, stride, u, w, z, v, x, y) =>
      vectors.update(f(), rows, columns, a / 8, stride, u / 8, w / 8, z / 8, v / 8, x / 8, y / 8),
    rotate: (count, n, rows, stride, angles) => vectors.rotate(f(), count, n, rows / 8, stride, angles / 8),
    transpose: (rows, columns, a, as, b, bs) => vectors.transpose(f(), rows, columns, a / 8, as, b / 8, bs),
    solve_lower: (n, columns, l, ls, b, bs) => vectors.solve_lower(f(), n, columns, l / 8, ls, b / 8, bs),
    solve_lower_transposed: (n, columns, l, ls, b, bs) =>
      vectors.solve_lower_transposed(f(), n, columns, l / 8, ls, b / 8, bs),
  };
}
