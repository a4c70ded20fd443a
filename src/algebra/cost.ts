/**
 * What a singular value decomposition takes, by formula. m is the larger side, n the smaller one. Operations count a
 * multiplication and an addition each; seconds are those of one thread at the rates below.
 */

export interface SvdCost {
  readonly operations: number;
  readonly seconds: number;
  /** Of one thread at its peak, operands and results included. */
  readonly bytes: number;
}

/** Operations per second of one thread, measured on a processor of 2023: `npm run bench:algebra` tells yours. */
const EXACT_RATE = 9e9;
const PRODUCT_RATE = 20e9;
const SKETCH_RATE = 5e9;

/** All singular triples: to bidiagonal form (after a QR where m > 1.5 n), implicit QR steps, vectors back. */
export function exactSvdCost(rows: number, columns: number): SvdCost {
  const [m, n] = [Math.max(rows, columns), Math.min(rows, columns)];
  const operations = m > 1.5 * n ? 6 * m * n ** 2 + 18 * n ** 3 : 8 * m * n ** 2 + 10 * n ** 3;
  // The matrix in f32; matrix, U and V in f64, three times over.
  return { operations, seconds: operations / EXACT_RATE, bytes: 4 * m * n + 24 * (2 * m * n + n ** 2) };
}

/** The leading triples by a sketch of `width` vectors: products in f32; orthogonalisation, small SVD and error in f64. */
export function sketchedSvdCost(
  rows: number,
  columns: number,
  { rank, width, powerIterations }: { readonly rank: number; readonly width: number; readonly powerIterations: number },
): SvdCost {
  const products = 2 * powerIterations + 1;
  const both = rows + columns;
  const thin = products * 2 * rows * columns * width;
  const small = 6 * columns * width ** 2 + 18 * width ** 3 + 2 * rows * width ** 2;
  const exact = 2 * rows * columns * (width + rank) + products * 2 * both * width ** 2 + small;
  return {
    operations: thin + exact,
    seconds: thin / PRODUCT_RATE + exact / SKETCH_RATE,
    // The matrix in f32, twice beside the product's panels; the sketch, its factors and the small SVD in f64.
    bytes: 8 * rows * columns + 24 * width * both + 72 * width * columns,
  };
}
