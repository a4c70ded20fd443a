/**
 * The leading singular triples of a large matrix from products with few vectors (N. Halko, P.-G. Martinsson, J. Tropp,
 * "Finding Structure with Randomness", 2011, algorithms 4.4 and 5.1): a random sketch of the columns' span, orthogonalised
 * again after every product of the power iterations, then the exact SVD of the small projection.
 *
 * Products of the sketch are in f32; the projection, the small SVD and the error are in f64.
 */
import { randomWords, streamKey } from "../numbers/random.js";
import { checkFinite, shapeError, shapeOf } from "./matrix.js";
import type { Matrix, Matrix64 } from "./matrix.js";
import { multiply, multiply64 } from "./multiply.js";
import { qr } from "./qr.js";
import type { Space } from "./space.js";
import { svd } from "./svd.js";

export interface TruncatedHow {
  readonly seed?: number;
  readonly oversampling?: number;
  readonly powerIterations?: number;
}

export interface TruncatedSvd {
  u: Matrix;
  s: Float64Array;
  vt: Matrix;
  error: number;
}

const DEFAULT_OVERSAMPLING = 16;
const DEFAULT_POWER_ITERATIONS = 2;
/** Smaller sides are factored exactly: nothing is saved by a sketch. */
const SMALL = 96;
/** Rows of A that are widened to f64 at once. */
const STRIP = 256;

/** See `Algebra.truncatedSvd`. */
export function truncatedSvd(space: Space, a: Matrix, rank: number, how: TruncatedHow = {}): TruncatedSvd {
  checkFinite("truncatedSvd", a);
  const small = Math.min(a.rows, a.columns);
  if (!Number.isSafeInteger(rank) || rank < 1 || rank > small)
    throw shapeError("truncatedSvd", `a rank from 1 to ${small} for a matrix of ${shapeOf(a)}`, `rank ${rank}`);
  const { seed = 0, oversampling = DEFAULT_OVERSAMPLING, powerIterations = DEFAULT_POWER_ITERATIONS } = how;
  const width = rank + oversampling;
  const exact = small <= SMALL || 2 * width > small;
  const { u, s, vt } = exact ? svd(space, a) : projected(space, a, rangeOf(space, a, width, powerIterations, seed));
  const leading = {
    u: { rows: a.rows, columns: rank, data: firstColumns(u, rank) },
    s: s.slice(0, rank),
    vt: { rows: rank, columns: a.columns, data: new Float32Array(vt.data.subarray(0, rank * a.columns)) },
  };
  return { ...leading, error: relativeError(space, a, leading) };
}

function firstColumns({ rows, columns, data }: Matrix64, count: number): Float32Array {
  const taken = new Float32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < count; column++) taken[row * count + column] = data[row * columns + column]!;
  }
  return taken;
}

/** An orthonormal basis, in columns, of nearly the span of A's leading left singular vectors. */
function rangeOf(space: Space, a: Matrix, width: number, powerIterations: number, seed: number): Matrix64 {
  let basis = orthonormal(space, multiply(space, a, sketch(a.columns, width, seed)));
  for (let round = 0; round < powerIterations; round++) {
    const right = orthonormal(space, multiply(space, a, narrow(basis), { transposeA: true }));
    basis = orthonormal(space, multiply(space, a, narrow(right)));
  }
  return basis;
}

/** Entries uniform in [−1, 1). */
function sketch(rows: number, columns: number, seed: number): Matrix {
  const words = new Uint32Array(rows * columns);
  randomWords(streamKey(seed, "truncatedSvd", `${rows} x ${columns}`), 0, words);
  return { rows, columns, data: Float32Array.from(words, (word) => (word >>> 8) * 2 ** -23 - 1) };
}

const narrow = ({ rows, columns, data }: Matrix64): Matrix => ({ rows, columns, data: new Float32Array(data) });

const orthonormal = (space: Space, { rows, columns, data }: Matrix): Matrix64 =>
  qr(space, { rows, columns, data: new Float64Array(data) }).q;

/** The SVD of Q Qᵀ A. */
function projected(space: Space, a: Matrix, q: Matrix64): { u: Matrix64; s: Float64Array; vt: Matrix64 } {
  const { columns: width } = q;
  const projection = { rows: width, columns: a.columns, data: new Float64Array(width * a.columns) };
  space.scope(() => {
    const [pq, pa] = [space.place(q), space.matrix(STRIP, a.columns)];
    const sum = space.matrix(width, a.columns);
    for (let first = 0; first < a.rows; first += STRIP) {
      const rows = Math.min(STRIP, a.rows - first);
      placeRows(space, a, first, rows, pa.at, pa.stride);
      const from = pq.at + 8 * first * pq.stride;
      space.kernels.gemm64(width, a.columns, rows, from, pq.stride, 1, pa.at, pa.stride, 0, sum.at, sum.stride, 1, 1);
    }
    projection.data.set(space.take(sum).data);
  });
  const { u, s, vt } = svd(space, projection);
  return { u: multiply64(space, q, u), s, vt };
}

function placeRows({ f64 }: Space, a: Matrix, first: number, rows: number, at: number, stride: number): void {
  for (let row = 0; row < rows; row++) {
    f64.set(a.data.subarray((first + row) * a.columns, (first + row + 1) * a.columns), at / 8 + row * stride);
  }
}

/** ‖A − U S Vt‖ / ‖A‖ (Frobenius) of the factors as they are, from the differences; 0 for a matrix of zeros. */
function relativeError(space: Space, a: Matrix, { u, s, vt }: Omit<TruncatedSvd, "error">): number {
  const rank = s.length;
  return space.scope(() => {
    const { kernels } = space;
    const [right, left, rest] = [space.place(vt), space.matrix(STRIP, rank), space.matrix(STRIP, a.columns)];
    const f = space.f64;
    const squares = (rows: number) => {
      let sum = 0;
      for (let row = 0; row < rows; row++) {
        const at = rest.at + 8 * row * rest.stride;
        sum += kernels.dot(a.columns, at, at);
      }
      return sum;
    };
    let [whole, apart] = [0, 0];
    for (let first = 0; first < a.rows; first += STRIP) {
      const rows = Math.min(STRIP, a.rows - first);
      placeRows(space, a, first, rows, rest.at, rest.stride);
      whole += squares(rows);
      for (let row = 0; row < rows; row++) {
        for (let k = 0; k < rank; k++) {
          f[left.at / 8 + row * left.stride + k] = u.data[(first + row) * rank + k]! * s[k]!;
        }
      }
      kernels.gemm64(
        rows,
        a.columns,
        rank,
        left.at,
        left.stride,
        0,
        right.at,
        right.stride,
        0,
        rest.at,
        rest.stride,
        -1,
        1,
      );
      apart += squares(rows);
    }
    return whole === 0 ? 0 : Math.sqrt(apart / whole);
  });
}
