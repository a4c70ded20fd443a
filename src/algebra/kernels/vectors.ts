/**
 * Definitions of the f64 kernels that are not products of matrices. Addresses and strides count entries of `f`; every
 * operation is rounded to f64, in the order written here.
 */

/**
 * Σ x_i y_i: entry i is added to lane i mod 8 as far as whole groups of eight go, lanes are joined as
 * ((0+2)+(4+6)) + ((1+3)+(5+7)), and the entries left follow one by one.
 */
export function dot(f: Float64Array, n: number, x: number, y: number): number {
  const whole = n - (n % 8);
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let s4 = 0;
  let s5 = 0;
  let s6 = 0;
  let s7 = 0;
  for (let i = 0; i < whole; i += 8) {
    s0 += f[x + i]! * f[y + i]!;
    s1 += f[x + i + 1]! * f[y + i + 1]!;
    s2 += f[x + i + 2]! * f[y + i + 2]!;
    s3 += f[x + i + 3]! * f[y + i + 3]!;
    s4 += f[x + i + 4]! * f[y + i + 4]!;
    s5 += f[x + i + 5]! * f[y + i + 5]!;
    s6 += f[x + i + 6]! * f[y + i + 6]!;
    s7 += f[x + i + 7]! * f[y + i + 7]!;
  }
  let sum = s0 + s2 + (s4 + s6) + (s1 + s3 + (s5 + s7));
  for (let i = whole; i < n; i++) sum += f[x + i]! * f[y + i]!;
  return sum;
}

/** y += alpha x. */
export function axpy(f: Float64Array, n: number, alpha: number, x: number, y: number): void {
  for (let i = 0; i < n; i++) f[y + i] = f[y + i]! + alpha * f[x + i]!;
}

/** y_i = dot(row i of A, x). */
export function multiply_vector(
  f: Float64Array,
  rows: number,
  columns: number,
  a: number,
  stride: number,
  x: number,
  y: number,
): void {
  for (let row = 0; row < rows; row++) f[y + row] = dot(f, columns, a + row * stride, x);
}

/**
 * A −= u wᵀ + z vᵀ and y = Aᵀ x in one pass over A: entry (i, j) becomes (a − u_i w_j) − z_i v_j, and y_j is the sum of
 * x_i a_ij in the order of rows, from zero. u, z and x have as many entries as A has rows; w, v and y as it has columns.
 */
export function update(
  f: Float64Array,
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
): void {
  f.fill(0, y, y + columns);
  for (let row = 0; row < rows; row++) {
    const at = a + row * stride;
    const [ui, zi, xi] = [f[u + row]!, f[z + row]!, f[x + row]!];
    for (let j = 0; j < columns; j++) {
      const entry = f[at + j]! - ui * f[w + j]! - zi * f[v + j]!;
      f[at + j] = entry;
      f[y + j] = f[y + j]! + xi * entry;
    }
  }
}

/**
 * A run of plane rotations on rows of `n` entries, `stride` entries (of any sign) apart: rotation j, with cosine c and sine
 * s at `angles` + 2 j, makes x' = c x + s y and y' = c y − s x of rows x = j and y = j + 1.
 */
export function rotate(f: Float64Array, count: number, n: number, rows: number, stride: number, angles: number): void {
  for (let rotation = 0; rotation < count; rotation++) {
    const [c, s] = [f[angles + 2 * rotation]!, f[angles + 2 * rotation + 1]!];
    const x = rows + rotation * stride;
    const y = x + stride;
    for (let i = 0; i < n; i++) {
      const [xi, yi] = [f[x + i]!, f[y + i]!];
      f[x + i] = c * xi + s * yi;
      f[y + i] = c * yi - s * xi;
    }
  }
}

/** B = Aᵀ; A has `rows` rows. */
export function transpose(
  f: Float64Array,
  rows: number,
  columns: number,
  a: number,
  aStride: number,
  b: number,
  bStride: number,
): void {
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) f[b + column * bStride + row] = f[a + row * aStride + column]!;
  }
}

/** B = L⁻¹ B in place: L lower triangular of order n, B of n rows. Terms are taken away in the order of L's columns. */
export function solve_lower(
  f: Float64Array,
  n: number,
  columns: number,
  l: number,
  lStride: number,
  b: number,
  bStride: number,
): void {
  for (let row = 0; row < n; row++) {
    const target = b + row * bStride;
    const diagonal = f[l + row * lStride + row]!;
    for (let j = 0; j < columns; j++) {
      let value = f[target + j]!;
      for (let before = 0; before < row; before++) {
        value -= f[l + row * lStride + before]! * f[b + before * bStride + j]!;
      }
      f[target + j] = value / diagonal;
    }
  }
}

/** B = L⁻ᵀ B in place; terms are taken away from the last row of L to the first. */
export function solve_lower_transposed(
  f: Float64Array,
  n: number,
  columns: number,
  l: number,
  lStride: number,
  b: number,
  bStride: number,
): void {
  for (let row = n - 1; row >= 0; row--) {
    const target = b + row * bStride;
    const diagonal = f[l + row * lStride + row]!;
    for (let j = 0; j < columns; j++) {
      let value = f[target + j]!;
      for (let after = n - 1; after > row; after--) {
        value -= f[l + after * lStride + row]! * f[b + after * bStride + j]!;
      }
      f[target + j] = value / diagonal;
    }
  }
}
