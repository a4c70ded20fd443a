import { checkFinite, shapeError, shapeOf } from "./matrix.js";
import type { Matrix64 } from "./matrix.js";
import { applyReflectors, reduceToTriangle } from "./reflectors.js";
import type { Space } from "./space.js";

/** See `Algebra.qr`. */
export function qr(space: Space, a: Matrix64): { q: Matrix64; r: Matrix64 } {
  const scale = checkFinite("qr", a);
  if (a.rows < a.columns) throw shapeError("qr", "at least as many rows as columns", shapeOf(a));
  return space.scope(() => {
    const { reflectors, r } = reduceToTriangle(space, space.transposed(space.place(a, 1 / scale)));
    const rows = space.matrix(a.columns, a.rows);
    for (let k = 0; k < a.columns; k++) space.f64[rows.at / 8 + k * rows.stride + k] = 1;
    applyReflectors(space, reflectors, rows, true);
    return signed(space.take(space.transposed(rows)), space.take(r), scale);
  });
}

/** The diagonal of R is made non-negative, which makes the factors unique where A has full rank. */
function signed(q: Matrix64, r: Matrix64, scale: number): { q: Matrix64; r: Matrix64 } {
  const n = r.columns;
  const signs = Float64Array.from({ length: n }, (_, k) => (r.data[k * n + k]! < 0 ? -1 : 1));
  for (let row = 0; row < n; row++) {
    // Zeros below the diagonal stay +0.
    for (let column = row; column < n; column++)
      r.data[row * n + column] = r.data[row * n + column]! * signs[row]! * scale;
  }
  for (let row = 0; row < q.rows; row++) {
    for (let column = 0; column < n; column++) q.data[row * n + column] = q.data[row * n + column]! * signs[column]!;
  }
  return { q, r };
}
