/**
 * exp, tanh and log in f32 from multiplications, additions and divisions alone. Math.exp and its like may differ in the last
 * bit between engines and versions, and what is merged must not. kernels/functions.as.ts is the twin, to the bit.
 */

const { abs, fround } = Math;

/** Adding and subtracting it rounds an f32 below 2^22 to the nearest whole number. */
const ROUND = 12_582_912;
const LOG2_E = fround(Math.LOG2E);
/** ln 2 in two parts; a multiple up to 2^14 of the first is exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = fround(-2.1219444e-4);
/** (e^r − 1 − r) / r² on |r| <= ln 2 / 2, by interpolation at the Chebyshev nodes; highest power first. */
const EXP = [
  0.000198910798644647, 0.0013933731243014336, 0.00833331048488617, 0.041666463017463684, 0.1666666716337204, 0.5,
].map(fround);
/** (tanh(√u) / √u − 1) / u on [0, 1], likewise. */
const TANH = [
  0.00014279318565968424, -0.0009235008619725704, 0.0032068034633994102, -0.008697847835719585, 0.021829549223184586,
  -0.05396341532468796, 0.13333310186862946, -0.3333333432674408,
].map(fround);

/** (e^x − 1 − x) / x² on |x| <= 1/2; these and the following by Chebyshev approximation. */
const EXPM1 = [
  0.00019944873929489404, 0.0013982185628265142, 0.0083332359790802, 0.04166579246520996, 0.1666666716337204, 0.5,
].map(fround);
/** (e^x (x − 1) + 1) / x² on |x| <= 1/2. */
const EXCESS = [
  0.00017469932208769023, 0.0012001555878669024, 0.006944308523088694, 0.03333212062716484, 0.125, 0.3333333730697632,
  0.5,
].map(fround);
/** (atanh(√u) / √u − 1) / u up to (√2 − 1)² / (√2 + 1)². */
const ATANH = [0.14791011810302734, 0.1999436765909195, 0.33333343267440796].map(fround);
/** Bits of the f32 next to √½. */
const ROOT_HALF = 0x3f3504f3;

const bits = new Int32Array(1);
const value = new Float32Array(bits.buffer);

/** 2^n for a whole n from −126 to 127. */
function power(n: number): number {
  bits[0] = (n + 127) << 23;
  return value[0]!;
}

function polynomial(coefficients: readonly number[], x: number): number {
  let sum = coefficients[0]!;
  for (let k = 1; k < coefficients.length; k++) sum = fround(fround(sum * x) + coefficients[k]!);
  return sum;
}

/** e^x, at most 1.01 units in the last place off. @param x an f32. */
export function exp(x: number): number {
  // Beyond, the result is 0 or infinity as it is at the bounds.
  const bounded = Math.min(Math.max(x, -105), 89);
  const whole = fround(fround(fround(bounded * LOG2_E) + ROUND) - ROUND);
  const r = fround(fround(bounded - fround(whole * LN2_HIGH)) - fround(whole * LN2_LOW));
  const square = fround(r * r);
  const near = fround(fround(fround(polynomial(EXP, r) * square) + r) + 1);
  const n = whole | 0;
  const half = n >> 1;
  return fround(fround(near * power(half)) * power(n - half));
}

/** tanh(x), at most 2 units in the last place off. @param x an f32. */
export function tanh(x: number): number {
  const size = abs(x);
  if (size > 1) {
    const far = fround(1 - fround(2 / fround(exp(fround(size + size)) + 1)));
    return x < 0 ? -far : far;
  }
  const square = fround(x * x);
  return fround(x + fround(fround(x * square) * polynomial(TANH, square)));
}

/** e^x − 1, at most 3 units in the last place off. @param x an f32. */
export function expm1(x: number): number {
  if (abs(x) > 0.5) return fround(exp(x) - 1);
  return fround(x + fround(fround(x * x) * polynomial(EXPM1, x)));
}

/** ln(1 + x) for a finite x above −1, at most 4 units in the last place off; NaN for what is not finite. @param x an f32. */
export function log1p(x: number): number {
  value[0] = 1 + x;
  const n = (bits[0]! - ROOT_HALF) >> 23;
  bits[0] = bits[0]! - (n << 23);
  const f = n === 0 ? x : fround(value[0] - 1);
  const z = fround(f / fround(2 + f));
  const square = fround(z * z);
  const twice = fround(z + z);
  const low = fround(fround(twice * fround(square * polynomial(ATANH, square))) + fround(n * LN2_LOW));
  return fround(fround(fround(n * LN2_HIGH) + fround(twice + low)) + fround(x - x));
}

/**
 * e^x (x − 1) + 1, which is never negative and near x² / 2 for small x, where its terms cancel: at most 12
 * units in the last place off. @param x an f32.
 */
export function excess(x: number): number {
  if (abs(x) > 0.5) return fround(fround(exp(x) * fround(x - 1)) + 1);
  return fround(fround(x * x) * polynomial(EXCESS, x));
}
