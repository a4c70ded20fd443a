import { checkShape, shapeError } from "./matrix.js";
import type { Matrix, Matrix64 } from "./matrix.js";
import type { Space } from "./space.js";

/** Which factors are taken transposed. */
export interface Transposition {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

interface Shapes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

function shapesOf(a: Matrix | Matrix64, b: Matrix | Matrix64, { transposeA, transposeB }: Transposition): Shapes {
  checkShape("multiply", a);
  checkShape("multiply", b);
  const [m, k] = transposeA === true ? [a.columns, a.rows] : [a.rows, a.columns];
  const [depth, n] = transposeB === true ? [b.columns, b.rows] : [b.rows, b.columns];
  if (k !== depth) throw shapeError("multiply", "as many columns of A as rows of B", `${m} x ${k} and ${depth} x ${n}`);
  return { m, n, k };
}

/** See `Algebra.multiply`. */
export function multiply(space: Space, a: Matrix, b: Matrix, how: Transposition = {}): Matrix {
  const { m, n, k } = shapesOf(a, b, how);
  const result = { rows: m, columns: n, data: new Float32Array(m * n) };
  if (m * n * k === 0) return result;
  return space.scope(() => {
    const [pa, pb] = [space.allocate(4 * m * k), space.allocate(4 * k * n)];
    const pc = space.allocate(4 * m * n);
    space.f32.set(a.data, pa / 4);
    space.f32.set(b.data, pb / 4);
    const [ta, tb] = [how.transposeA === true ? 1 : 0, how.transposeB === true ? 1 : 0];
    space.kernels.gemm(m, n, k, pa, a.columns, ta, pb, b.columns, tb, pc, n, 1, 0, 0);
    result.data.set(space.f32.subarray(pc / 4, pc / 4 + m * n));
    return result;
  });
}

/** See `Algebra.multiply64`. */
export function multiply64(space: Space, a: Matrix64, b: Matrix64, how: Transposition = {}): Matrix64 {
  const { m, n, k } = shapesOf(a, b, how);
  const result = { rows: m, columns: n, data: new Float64Array(m * n) };
  if (m * n * k === 0) return result;
  return space.scope(() => {
    const [pa, pb] = [space.allocate(8 * m * k), space.allocate(8 * k * n)];
    const pc = space.allocate(8 * m * n);
    space.f64.set(a.data, pa / 8);
    space.f64.set(b.data, pb / 8);
    const [ta, tb] = [how.transposeA === true ? 1 : 0, how.transposeB === true ? 1 : 0];
    space.kernels.gemm64(m, n, k, pa, a.columns, ta, pb, b.columns, tb, pc, n, 1, 0);
    result.data.set(space.f64.subarray(pc / 8, pc / 8 + m * n));
    return result;
  });
}
