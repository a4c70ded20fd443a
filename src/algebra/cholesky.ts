import { checkFinite, checkShape, shapeError, shapeOf } from "./matrix.js";
import type { Matrix64 } from "./matrix.js";
import type { Placed, Space } from "./space.js";

const BLOCK = 64;
/** Columns of what is left that one product changes: only those at or below the diagonal matter. */
const STRIP = 256;

/** See `Algebra.cholesky`. */
export function cholesky(space: Space, a: Matrix64): Matrix64 | null {
  checkFinite("cholesky", a);
  if (a.rows !== a.columns) throw shapeError("cholesky", "a square matrix", shapeOf(a));
  return space.scope(() => {
    const l = space.place(a);
    for (let first = 0; first < l.rows; first += BLOCK) {
      const count = Math.min(BLOCK, l.rows - first);
      if (!factorBlock(space, l, first, count)) return null;
      solvePanel(space, l, first, count);
      changeRest(space, l, first, count);
    }
    for (let row = 0; row < l.rows; row++) {
      const at = l.at / 8 + row * l.stride;
      space.f64.fill(0, at + row + 1, at + l.columns);
    }
    return space.take(l);
  });
}

const entryOf = ({ at, stride }: Placed, row: number, column: number) => at + 8 * (row * stride + column);

function factorBlock({ f64, kernels }: Space, l: Placed, first: number, count: number): boolean {
  for (let i = first; i < first + count; i++) {
    const row = entryOf(l, i, first);
    for (let j = first; j <= i; j++) {
      const before = entryOf(l, j, first);
      const value = f64[row / 8 + j - first]! - kernels.dot(j - first, row, before);
      if (j < i) f64[row / 8 + j - first] = value / f64[before / 8 + j - first]!;
      else if (value > 0) f64[row / 8 + j - first] = Math.sqrt(value);
      else return false;
    }
  }
  return true;
}

/** Below the block: A ← A L⁻ᵀ. */
function solvePanel(space: Space, l: Placed, first: number, count: number): void {
  const end = first + count;
  const rows = l.rows - end;
  if (rows === 0) return;
  space.scope(() => {
    const panel = space.matrix(count, rows);
    const below = entryOf(l, end, first);
    space.kernels.transpose(rows, count, below, l.stride, panel.at, panel.stride);
    space.kernels.solve_lower(count, rows, entryOf(l, first, first), l.stride, panel.at, panel.stride);
    space.kernels.transpose(count, rows, panel.at, panel.stride, below, l.stride);
  });
}

function changeRest({ kernels }: Space, l: Placed, first: number, count: number): void {
  for (let column = first + count; column < l.rows; column += STRIP) {
    const width = Math.min(STRIP, l.rows - column);
    const [rows, from] = [l.rows - column, entryOf(l, column, first)];
    const to = entryOf(l, column, column);
    kernels.gemm64(rows, width, count, from, l.stride, 0, from, l.stride, 1, to, l.stride, -1, 1);
  }
}

/** See `Algebra.solveCholesky`. */
export function solveCholesky(space: Space, lower: Matrix64, b: Matrix64): Matrix64 {
  checkShape("solveCholesky", lower);
  checkShape("solveCholesky", b);
  const n = lower.rows;
  if (n !== lower.columns || n !== b.rows)
    throw shapeError("solveCholesky", "a square L with as many rows as B", `${shapeOf(lower)} and ${shapeOf(b)}`);
  return space.scope(() => {
    const [l, x] = [space.place(lower), space.place(b)];
    const { kernels } = space;
    for (let first = 0; first < n; first += BLOCK) {
      const count = Math.min(BLOCK, n - first);
      const [end, at] = [first + count, entryOf(x, first, 0)];
      kernels.solve_lower(count, x.columns, entryOf(l, first, first), l.stride, at, x.stride);
      const [rows, below, to] = [n - end, entryOf(l, end, first), entryOf(x, end, 0)];
      kernels.gemm64(rows, x.columns, count, below, l.stride, 0, at, x.stride, 0, to, x.stride, -1, 1);
    }
    for (let first = Math.floor((n - 1) / BLOCK) * BLOCK; first >= 0; first -= BLOCK) {
      const count = Math.min(BLOCK, n - first);
      const at = entryOf(x, first, 0);
      kernels.solve_lower_transposed(count, x.columns, entryOf(l, first, first), l.stride, at, x.stride);
      const left = entryOf(l, first, 0);
      kernels.gemm64(first, x.columns, count, left, l.stride, 1, at, x.stride, 0, x.at, x.stride, -1, 1);
    }
    return space.take(x);
  });
}
