/** Loops over f64 vectors and rows in pairs of entries. vectors.ts defines what they compute. */

// @ts-ignore: decorator
@inline function lanesOf(a: v128, b: v128, c: v128, d: v128): f64 {
  const v = f64x2.add(f64x2.add(a, b), f64x2.add(c, d));
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

export function dot(n: i32, x: usize, y: usize): f64 {
  let a = f64x2.splat(0), b = f64x2.splat(0), c = f64x2.splat(0), d = f64x2.splat(0);
  const whole = x + (<usize>(n & ~7) << 3);
  while (x < whole) {
    a = f64x2.add(a, f64x2.mul(v128.load(x), v128.load(y)));
    b = f64x2.add(b, f64x2.mul(v128.load(x, 16), v128.load(y, 16)));
    c = f64x2.add(c, f64x2.mul(v128.load(x, 32), v128.load(y, 32)));
    d = f64x2.add(d, f64x2.mul(v128.load(x, 48), v128.load(y, 48)));
    x += 64;
    y += 64;
  }
  let sum = lanesOf(a, b, c, d);
  for (const end = whole + (<usize>(n & 7) << 3); x < end; x += 8) {
    sum += load<f64>(x) * load<f64>(y);
    y += 8;
  }
  return sum;
}

export function axpy(n: i32, alpha: f64, x: usize, y: usize): void {
  const factor = f64x2.splat(alpha);
  const whole = x + (<usize>(n & ~3) << 3);
  while (x < whole) {
    v128.store(y, f64x2.add(v128.load(y), f64x2.mul(factor, v128.load(x))));
    v128.store(y, f64x2.add(v128.load(y, 16), f64x2.mul(factor, v128.load(x, 16))), 16);
    x += 32;
    y += 32;
  }
  for (const end = whole + (<usize>(n & 3) << 3); x < end; x += 8) {
    store<f64>(y, load<f64>(y) + alpha * load<f64>(x));
    y += 8;
  }
}

/** Two rows at once, so that x is loaded half as often. */
export function multiply_vector(rows: i32, columns: i32, a: usize, stride: i32, x: usize, y: usize): void {
  const step = <usize>stride << 3;
  const whole = <usize>(columns & ~7) << 3;
  const length = <usize>columns << 3;
  let row = 0;
  for (; row + 1 < rows; row += 2) {
    const other = a + step;
    let a0 = f64x2.splat(0), b0 = f64x2.splat(0), c0 = f64x2.splat(0), d0 = f64x2.splat(0);
    let a1 = f64x2.splat(0), b1 = f64x2.splat(0), c1 = f64x2.splat(0), d1 = f64x2.splat(0);
    let at: usize = 0;
    for (; at < whole; at += 64) {
      const xa = v128.load(x + at), xb = v128.load(x + at, 16);
      a0 = f64x2.add(a0, f64x2.mul(v128.load(a + at), xa));
      a1 = f64x2.add(a1, f64x2.mul(v128.load(other + at), xa));
      b0 = f64x2.add(b0, f64x2.mul(v128.load(a + at, 16), xb));
      b1 = f64x2.add(b1, f64x2.mul(v128.load(other + at, 16), xb));
      const xc = v128.load(x + at, 32), xd = v128.load(x + at, 48);
      c0 = f64x2.add(c0, f64x2.mul(v128.load(a + at, 32), xc));
      c1 = f64x2.add(c1, f64x2.mul(v128.load(other + at, 32), xc));
      d0 = f64x2.add(d0, f64x2.mul(v128.load(a + at, 48), xd));
      d1 = f64x2.add(d1, f64x2.mul(v128.load(other + at, 48), xd));
    }
    let first = lanesOf(a0, b0, c0, d0), second = lanesOf(a1, b1, c1, d1);
    for (; at < length; at += 8) {
      const value = load<f64>(x + at);
      first += load<f64>(a + at) * value;
      second += load<f64>(other + at) * value;
    }
    store<f64>(y, first);
    store<f64>(y, second, 8);
    y += 16;
    a += 2 * step;
  }
  if (row < rows) store<f64>(y, dot(columns, a, x));
}

/** Two rows at once, so that w, v and y are loaded, and y stored, half as often. */
export function update(
  rows: i32, columns: i32, a: usize, stride: i32,
  u: usize, w: usize, z: usize, v: usize, x: usize, y: usize,
): void {
  const step = <usize>stride << 3;
  memory.fill(y, 0, <usize>columns << 3);
  let row = 0;
  for (; row + 1 < rows; row += 2) {
    updateTwo(columns, a, a + step, u, w, z, v, x, y);
    a += 2 * step;
    u += 16;
    z += 16;
    x += 16;
  }
  if (row < rows) updateOne(columns, a, load<f64>(u), w, load<f64>(z), v, load<f64>(x), y);
}

function updateTwo(columns: i32, a: usize, b: usize, u: usize, w: usize, z: usize, v: usize, x: usize, y: usize): void {
  const ua = v128.load64_splat(u), za = v128.load64_splat(z), xa = v128.load64_splat(x);
  const ub = v128.load64_splat(u, 8), zb = v128.load64_splat(z, 8), xb = v128.load64_splat(x, 8);
  const whole = <usize>(columns & ~1) << 3;
  for (let at: usize = 0; at < whole; at += 16) {
    const wj = v128.load(w + at), vj = v128.load(v + at);
    const first = f64x2.sub(f64x2.sub(v128.load(a + at), f64x2.mul(ua, wj)), f64x2.mul(za, vj));
    const second = f64x2.sub(f64x2.sub(v128.load(b + at), f64x2.mul(ub, wj)), f64x2.mul(zb, vj));
    v128.store(a + at, first);
    v128.store(b + at, second);
    v128.store(y + at, f64x2.add(f64x2.add(v128.load(y + at), f64x2.mul(xa, first)), f64x2.mul(xb, second)));
  }
  if ((columns & 1) != 0) {
    updateOne(1, a + whole, load<f64>(u), w + whole, load<f64>(z), v + whole, load<f64>(x), y + whole);
    updateOne(1, b + whole, load<f64>(u, 8), w + whole, load<f64>(z, 8), v + whole, load<f64>(x, 8), y + whole);
  }
}

function updateOne(columns: i32, a: usize, u: f64, w: usize, z: f64, v: usize, x: f64, y: usize): void {
  for (const end = a + (<usize>columns << 3); a < end; a += 8) {
    const entry = load<f64>(a) - u * load<f64>(w) - z * load<f64>(v);
    store<f64>(a, entry);
    store<f64>(y, load<f64>(y) + x * entry);
    w += 8;
    v += 8;
    y += 8;
  }
}

/** Four rotations at once: a row is loaded and stored once for the two that change it. */
export function rotate(count: i32, n: i32, rows: usize, stride: i32, angles: usize): void {
  const step = <usize>(stride << 3);
  let left = count;
  for (; left >= 4; left -= 4) {
    rotateFour(n, rows, step, angles);
    rows += 4 * step;
    angles += 64;
  }
  for (; left > 0; left--) {
    rotateOne(n, rows, rows + step, load<f64>(angles), load<f64>(angles, 8));
    rows += step;
    angles += 16;
  }
}

function rotateFour(n: i32, r0: usize, step: usize, angles: usize): void {
  const c0 = v128.load64_splat(angles), s0 = v128.load64_splat(angles, 8);
  const c1 = v128.load64_splat(angles, 16), s1 = v128.load64_splat(angles, 24);
  const c2 = v128.load64_splat(angles, 32), s2 = v128.load64_splat(angles, 40);
  const c3 = v128.load64_splat(angles, 48), s3 = v128.load64_splat(angles, 56);
  const r1 = r0 + step, r2 = r1 + step, r3 = r2 + step, r4 = r3 + step;
  const whole = <usize>(n & ~1) << 3;
  for (let at: usize = 0; at < whole; at += 16) {
    let x = v128.load(r0 + at), y = v128.load(r1 + at);
    v128.store(r0 + at, f64x2.add(f64x2.mul(c0, x), f64x2.mul(s0, y)));
    x = f64x2.sub(f64x2.mul(c0, y), f64x2.mul(s0, x));
    y = v128.load(r2 + at);
    v128.store(r1 + at, f64x2.add(f64x2.mul(c1, x), f64x2.mul(s1, y)));
    x = f64x2.sub(f64x2.mul(c1, y), f64x2.mul(s1, x));
    y = v128.load(r3 + at);
    v128.store(r2 + at, f64x2.add(f64x2.mul(c2, x), f64x2.mul(s2, y)));
    x = f64x2.sub(f64x2.mul(c2, y), f64x2.mul(s2, x));
    y = v128.load(r4 + at);
    v128.store(r3 + at, f64x2.add(f64x2.mul(c3, x), f64x2.mul(s3, y)));
    v128.store(r4 + at, f64x2.sub(f64x2.mul(c3, y), f64x2.mul(s3, x)));
  }
  if ((n & 1) != 0) {
    let row = r0 + whole;
    for (let index = 0; index < 4; index++) {
      rotateOne(1, row, row + step, load<f64>(angles), load<f64>(angles, 8));
      row += step;
      angles += 16;
    }
  }
}

function rotateOne(n: i32, x: usize, y: usize, c: f64, s: f64): void {
  const cosine = f64x2.splat(c), sine = f64x2.splat(s);
  const whole = x + (<usize>(n & ~1) << 3);
  while (x < whole) {
    const xi = v128.load(x), yi = v128.load(y);
    v128.store(x, f64x2.add(f64x2.mul(cosine, xi), f64x2.mul(sine, yi)));
    v128.store(y, f64x2.sub(f64x2.mul(cosine, yi), f64x2.mul(sine, xi)));
    x += 16;
    y += 16;
  }
  if ((n & 1) != 0) {
    const xi = load<f64>(x), yi = load<f64>(y);
    store<f64>(x, c * xi + s * yi);
    store<f64>(y, c * yi - s * xi);
  }
}

/** In squares of 16 x 16, whose rows and columns stay in cache. */
export function transpose(rows: i32, columns: i32, a: usize, aStride: i32, b: usize, bStride: i32): void {
  const as = <usize>aStride << 3, bs = <usize>bStride << 3;
  for (let row = 0; row < rows; row += 16) {
    const lastRow = min(rows, row + 16);
    for (let column = 0; column < columns; column += 16) {
      const lastColumn = min(columns, column + 16);
      for (let j = column; j < lastColumn; j++) {
        let from = a + <usize>row * as + (<usize>j << 3);
        let to = b + <usize>j * bs + (<usize>row << 3);
        for (let i = row; i < lastRow; i++) {
          store<f64>(to, load<f64>(from));
          from += as;
          to += 8;
        }
      }
    }
  }
}

export function solve_lower(n: i32, columns: i32, l: usize, lStride: i32, b: usize, bStride: i32): void {
  const ls = <usize>lStride << 3, bs = <usize>bStride << 3;
  solve(n, columns, l, ls, 8, b, bs);
}

/** From the last row to the first: the same loop over a matrix read backwards. */
export function solve_lower_transposed(n: i32, columns: i32, l: usize, lStride: i32, b: usize, bStride: i32): void {
  const ls = <usize>lStride << 3, bs = <usize>bStride << 3;
  const last = <usize>(n - 1);
  // Negative steps, as unsigned numbers that wrap around.
  solve(n, columns, l + last * (ls + 8), 0 - 8, 0 - ls, b + last * bs, 0 - bs);
}

/** Entry (i, j) of the triangle lies at l + i rowStep + j columnStep; row i of B at b + i bStep. */
function solve(n: i32, columns: i32, l: usize, rowStep: usize, columnStep: usize, b: usize, bStep: usize): void {
  let column = 0;
  for (; column + 8 <= columns; column += 8) solveEight(n, l, rowStep, columnStep, b + (<usize>column << 3), bStep);
  for (; column < columns; column++) solveColumn(n, l, rowStep, columnStep, b + (<usize>column << 3), bStep);
}

function solveEight(n: i32, l: usize, rowStep: usize, columnStep: usize, b: usize, bStep: usize): void {
  let target = b;
  for (let row = 0; row < n; row++) {
    let v0 = v128.load(target), v1 = v128.load(target, 16), v2 = v128.load(target, 32), v3 = v128.load(target, 48);
    let at = l, from = b;
    for (; from != target; from += bStep) {
      const factor = v128.load64_splat(at);
      v0 = f64x2.sub(v0, f64x2.mul(factor, v128.load(from)));
      v1 = f64x2.sub(v1, f64x2.mul(factor, v128.load(from, 16)));
      v2 = f64x2.sub(v2, f64x2.mul(factor, v128.load(from, 32)));
      v3 = f64x2.sub(v3, f64x2.mul(factor, v128.load(from, 48)));
      at += columnStep;
    }
    const diagonal = v128.load64_splat(at);
    v128.store(target, f64x2.div(v0, diagonal));
    v128.store(target, f64x2.div(v1, diagonal), 16);
    v128.store(target, f64x2.div(v2, diagonal), 32);
    v128.store(target, f64x2.div(v3, diagonal), 48);
    target += bStep;
    l += rowStep;
  }
}

function solveColumn(n: i32, l: usize, rowStep: usize, columnStep: usize, b: usize, bStep: usize): void {
  let target = b;
  for (let row = 0; row < n; row++) {
    let value = load<f64>(target);
    let at = l, from = b;
    for (; from != target; from += bStep) {
      value -= load<f64>(at) * load<f64>(from);
      at += columnStep;
    }
    store<f64>(target, value / load<f64>(at));
    target += bStep;
    l += rowStep;
  }
}
