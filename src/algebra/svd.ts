/**
 * Singular values and vectors: Householder reflectors to bidiagonal form (after a QR where a matrix is tall), then implicit
 * QR steps (G. Golub, C. Reinsch, "Singular Value Decomposition and Least Squares Solutions", 1970). Exact up to rounding of
 * the largest singular value; singular values far below it have that absolute error, not a relative one.
 */
import { bidiagonalise } from "./bidiagonal.js";
import { checkFinite, lengthOf, noConvergence } from "./matrix.js";
import type { Matrix, Matrix64 } from "./matrix.js";
import { multiply64 } from "./multiply.js";
import { qr } from "./qr.js";
import { applyReflectors } from "./reflectors.js";
import { descending, signOf } from "./signs.js";
import type { Placed, Space } from "./space.js";

const EPSILON = 2 ** -52;
const TINY = 2 ** -960;
const MOST_ITERATIONS = 120;
/** Rows per column from which a QR first saves time. */
const TALL = 1.5;

export interface Svd {
  u: Matrix64;
  s: Float64Array;
  vt: Matrix64;
}

/** See `Algebra.svd`. */
export function svd(space: Space, a: Matrix | Matrix64): Svd {
  const scale = checkFinite("svd", a);
  if (a.rows === 0 || a.columns === 0) return emptySvd(a);
  const wide = a.rows < a.columns;
  const tall = space.scope(() => {
    const placed = space.place(a, 1 / scale);
    return space.take(wide ? space.transposed(placed) : placed);
  });
  const { u, s, vt } = tall.rows > TALL * tall.columns ? svdByQr(space, tall) : svdTall(space, tall);
  for (let index = 0; index < s.length; index++) s[index] = s[index]! * scale;
  const found = wide ? { u: transposed(space, vt), s, vt: transposed(space, u) } : { u, s, vt };
  fixSigns(found);
  return found;
}

function emptySvd({ rows, columns }: Matrix | Matrix64): Svd {
  const none = new Float64Array(0);
  return { u: { rows, columns: 0, data: none }, s: none, vt: { rows: 0, columns, data: none } };
}

function transposed(space: Space, matrix: Matrix64): Matrix64 {
  return space.scope(() => space.take(space.transposed(space.place(matrix))));
}

function svdByQr(space: Space, tall: Matrix64): Svd {
  const { q, r } = qr(space, tall);
  const { u, s, vt } = svdTall(space, r);
  return { u: multiply64(space, q, u), s, vt };
}

/** Columns of U and rows of Vt are turned together so that the largest entry of each column of U is positive. */
function fixSigns({ u, s, vt }: Svd): void {
  for (let k = 0; k < s.length; k++) {
    if (signOf(u.data, k, u.columns, u.rows) > 0) continue;
    for (let row = 0; row < u.rows; row++) u.data[row * u.columns + k] = -u.data[row * u.columns + k]!;
    for (let column = 0; column < vt.columns; column++) {
      vt.data[k * vt.columns + column] = -vt.data[k * vt.columns + column]!;
    }
  }
}

function svdTall(space: Space, a: Matrix64): Svd {
  const n = a.columns;
  return space.scope(() => {
    const { diagonal, beside, left, right } = bidiagonalise(space, space.place(a));
    const ut = space.matrix(n, a.rows);
    const vt = space.matrix(n, n);
    for (const { at, stride } of [ut, vt]) for (let k = 0; k < n; k++) space.f64[at / 8 + k * stride + k] = 1;
    new Iteration(space, diagonal, beside, ut, vt).run();
    applyReflectors(space, left, ut, false);
    applyReflectors(space, right, vt, false);
    const order = descending(diagonal);
    const rows = pick(space.take(vt), order);
    return {
      u: transposed(space, pick(space.take(ut), order)),
      s: Float64Array.from(order, (from) => diagonal[from]!),
      vt: rows,
    };
  });
}

function pick({ columns, data }: Matrix64, order: readonly number[]): Matrix64 {
  const picked = new Float64Array(data.length);
  for (const [to, from] of order.entries()) {
    picked.set(data.subarray(from * columns, (from + 1) * columns), to * columns);
  }
  return { rows: order.length, columns, data: picked };
}

/** The rotation that makes (f, g) (length, 0). */
function rotationOf(f: number, g: number): { readonly c: number; readonly sine: number; readonly length: number } {
  const length = lengthOf(f, g);
  return length === 0 ? { c: 1, sine: 0, length } : { c: f / length, sine: g / length, length };
}

/** The QR iteration on an upper bidiagonal matrix: `s` on the diagonal, `e` above it. Vectors are rows. */
class Iteration {
  readonly #space: Space;
  readonly #s: Float64Array;
  readonly #e: Float64Array;
  readonly #ut: Placed;
  readonly #vt: Placed;
  readonly #anglesLeft: number;
  readonly #anglesRight: number;

  constructor(space: Space, s: Float64Array, e: Float64Array, ut: Placed, vt: Placed) {
    this.#space = space;
    this.#s = s;
    this.#e = e;
    this.#ut = ut;
    this.#vt = vt;
    this.#anglesLeft = space.vector(2 * s.length);
    this.#anglesRight = space.vector(2 * s.length);
  }

  run(): void {
    const [s, e] = [this.#s, this.#e];
    let round = 0;
    for (let end = s.length; end > 0; ) {
      const first = this.#blockBefore(end);
      if (first === end - 1) {
        this.#makePositive(end - 1);
        end--;
        round = 0;
        continue;
      }
      if (round++ === MOST_ITERATIONS) throw noConvergence("svd");
      const zero = this.#zeroIn(first, end);
      if (zero === -1) this.#step(first, end);
      else if (zero === end - 1) this.#clearLast(first, end, e[end - 2]!);
      else this.#clearRow(zero, end, e[zero]!);
    }
  }

  /** The first entry of the last block, before `end`, that no zero above the diagonal splits. */
  #blockBefore(end: number): number {
    const [s, e] = [this.#s, this.#e];
    for (let k = end - 2; k >= 0; k--) {
      if (Math.abs(e[k]!) > TINY + EPSILON * (Math.abs(s[k]!) + Math.abs(s[k + 1]!))) continue;
      e[k] = 0;
      return k + 1;
    }
    return 0;
  }

  /** The last diagonal entry of a block that is nothing beside its neighbours, made 0; −1 for none. */
  #zeroIn(first: number, end: number): number {
    const [s, e] = [this.#s, this.#e];
    for (let k = end - 1; k >= first; k--) {
      const beside = (k < end - 1 ? Math.abs(e[k]!) : 0) + (k > first ? Math.abs(e[k - 1]!) : 0);
      if (Math.abs(s[k]!) > TINY + EPSILON * beside) continue;
      s[k] = 0;
      return k;
    }
    return -1;
  }

  #rotateRows({ at, stride }: Placed, x: number, y: number, c: number, s: number, columns: number): void {
    const { f64, kernels } = this.#space;
    f64[this.#anglesLeft / 8] = c;
    f64[this.#anglesLeft / 8 + 1] = s;
    kernels.rotate(1, columns, at + 8 * x * stride, (y - x) * stride, this.#anglesLeft);
  }

  /** The last diagonal entry is 0: what stands above it is rotated away to the left. */
  #clearLast(first: number, end: number, above: number): void {
    const [s, e] = [this.#s, this.#e];
    e[end - 2] = 0;
    let f = above;
    for (let j = end - 2; j >= first; j--) {
      const { c, sine, length } = rotationOf(s[j]!, f);
      s[j] = length;
      if (j > first) {
        f = -sine * e[j - 1]!;
        e[j - 1] = c * e[j - 1]!;
      }
      this.#rotateRows(this.#vt, j, end - 1, c, sine, this.#vt.columns);
    }
  }

  /** Diagonal entry `zero` is 0: what stands beside it is rotated away downwards. */
  #clearRow(zero: number, end: number, beside: number): void {
    const [s, e] = [this.#s, this.#e];
    e[zero] = 0;
    let f = beside;
    for (let j = zero + 1; j < end; j++) {
      const { c, sine, length } = rotationOf(s[j]!, f);
      s[j] = length;
      f = -sine * e[j]!;
      e[j] = c * e[j]!;
      this.#rotateRows(this.#ut, j, zero, c, sine, s.length);
    }
  }

  /** One QR step with the shift of the last 2 x 2 of the block's product with itself. */
  #step(first: number, end: number): void {
    const [s, e] = [this.#s, this.#e];
    const f64 = this.#space.f64;
    const [left, right] = [this.#anglesLeft / 8, this.#anglesRight / 8];
    let { f, g } = this.#start(first, end);
    for (let j = first; j < end - 1; j++) {
      const at = 2 * (j - first);
      const onRight = rotationOf(f, g);
      if (j > first) e[j - 1] = onRight.length;
      let { c, sine } = onRight;
      f = c * s[j]! + sine * e[j]!;
      e[j] = c * e[j]! - sine * s[j]!;
      g = sine * s[j + 1]!;
      s[j + 1] = c * s[j + 1]!;
      f64[right + at] = c;
      f64[right + at + 1] = sine;
      const onLeft = rotationOf(f, g);
      s[j] = onLeft.length;
      ({ c, sine } = onLeft);
      f = c * e[j]! + sine * s[j + 1]!;
      s[j + 1] = c * s[j + 1]! - sine * e[j]!;
      g = sine * e[j + 1]!;
      e[j + 1] = c * e[j + 1]!;
      f64[left + at] = c;
      f64[left + at + 1] = sine;
    }
    e[end - 2] = f;
    const { kernels } = this.#space;
    const count = end - 1 - first;
    const [ut, vt] = [this.#ut, this.#vt];
    kernels.rotate(count, vt.columns, vt.at + 8 * first * vt.stride, vt.stride, this.#anglesRight);
    kernels.rotate(count, s.length, ut.at + 8 * first * ut.stride, ut.stride, this.#anglesLeft);
  }

  #start(first: number, end: number): { f: number; g: number } {
    const [s, e] = [this.#s, this.#e];
    let scale = 0;
    for (const value of [s[end - 1]!, s[end - 2]!, e[end - 2]!, s[first]!, e[first]!]) {
      scale = Math.max(scale, Math.abs(value));
    }
    const [last, before, above] = [s[end - 1]! / scale, s[end - 2]! / scale, e[end - 2]! / scale];
    const [sk, ek] = [s[first]! / scale, e[first]! / scale];
    const b = ((before + last) * (before - last) + above * above) / 2;
    const c = last * above * (last * above);
    let shift = 0;
    if (b !== 0 || c !== 0) {
      const root = Math.sqrt(b * b + c);
      shift = c / (b + (b < 0 ? -root : root));
    }
    return { f: (sk + last) * (sk - last) + shift, g: sk * ek };
  }

  #makePositive(k: number): void {
    if (this.#s[k]! >= 0) return;
    this.#s[k] = -this.#s[k]!;
    const { at, stride, columns } = this.#vt;
    const f = this.#space.f64;
    const row = at / 8 + k * stride;
    for (let index = row; index < row + columns; index++) f[index] = -f[index]!;
  }
}
