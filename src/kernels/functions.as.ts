/** exp, tanh and log of four f32: the twin of numbers/functions.ts, where the bounds of their errors stand. */

// Read from memory where they are used, as in lanes.as.ts. Polynomials from the highest power down.
const EXP: usize = memory.data<f32>([0.000198910798644647, 0.0013933731243014336, 0.00833331048488617, 0.041666463017463684, 0.1666666716337204, 0.5]);
const TANH: usize = memory.data<f32>([0.00014279318565968424, -0.0009235008619725704, 0.0032068034633994102, -0.008697847835719585, 0.021829549223184586, -0.05396341532468796, 0.13333310186862946, -0.3333333432674408]);
const EXPM1: usize = memory.data<f32>([0.00019944873929489404, 0.0013982185628265142, 0.0083332359790802, 0.04166579246520996, 0.1666666716337204, 0.5]);
const LOG1P: usize = memory.data<f32>([0.14791011810302734, 0.1999436765909195, 0.33333343267440796]);
const EXCESS: usize = memory.data<f32>([0.00017469932208769023, 0.0012001555878669024, 0.006944308523088694, 0.03333212062716484, 0.125, 0.3333333730697632, 0.5]);
/** f32 numbers from here to twice it are whole: adding it rounds, and leaves a small whole number in the lowest bits. */
const ROUND: f32 = 12582912;
const REDUCTION: usize = memory.data<f32>([ROUND, -105.0, 89.0, 1.4426950216293335, 0.693359375, -2.12194440e-4, 1.0, 2.0]);
const LEAST: usize = REDUCTION + 4;
const MOST: usize = REDUCTION + 8;
const LOG2_E: usize = REDUCTION + 12;
const LN_2_HIGH: usize = REDUCTION + 16;
const LN_2_LOW: usize = REDUCTION + 20;
const ONE: usize = REDUCTION + 24;
const TWO: usize = REDUCTION + 28;
/** The exponent of 1 in bits, in its place and at the lowest. */
const EXPONENT: usize = memory.data<i32>([127 << 23, 127]);

// @ts-ignore: decorator
@inline function power(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, v128.load32_splat(EXPONENT, 4)), 23);
}

// @ts-ignore: decorator
@inline function step(sum: v128, x: v128, coefficient: usize): v128 {
  return f32x4.add(f32x4.mul(sum, x), v128.load32_splat(coefficient));
}

/** exp of what is left of x without `whole` times ln 2: between 1/√2 and √2. */
// @ts-ignore: decorator
@inline function expNear(x: v128, whole: v128): v128 {
  const r = f32x4.sub(
    f32x4.sub(x, f32x4.mul(whole, v128.load32_splat(LN_2_HIGH))),
    f32x4.mul(whole, v128.load32_splat(LN_2_LOW)),
  );
  let p = v128.load32_splat(EXP);
  p = step(p, r, EXP + 4);
  p = step(p, r, EXP + 8);
  p = step(p, r, EXP + 12);
  p = step(p, r, EXP + 16);
  p = step(p, r, EXP + 20);
  return f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), v128.load32_splat(ONE));
}

// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, v128.load32_splat(LEAST)), v128.load32_splat(MOST));
  const round = v128.load32_splat(REDUCTION);
  const rounded = f32x4.add(f32x4.mul(bounded, v128.load32_splat(LOG2_E)), round);
  const near = expNear(bounded, f32x4.sub(rounded, round));
  const n = i32x4.sub(rounded, round);
  const half = i32x4.shr_s(n, 1);
  return f32x4.mul(f32x4.mul(near, power(half)), power(i32x4.sub(n, half)));
}

/** exp where every lane is from 0 to 80, or NaN. */
// @ts-ignore: decorator
@inline export function expNear4(x: v128): v128 {
  const round = v128.load32_splat(REDUCTION);
  const rounded = f32x4.add(f32x4.mul(x, v128.load32_splat(LOG2_E)), round);
  const near = expNear(x, f32x4.sub(rounded, round));
  // Only the lowest bits of the rounded number reach the exponent.
  return f32x4.mul(near, i32x4.add(i32x4.shl(rounded, 23), v128.load32_splat(EXPONENT)));
}

/** tanh where no lane is beyond 1. */
// @ts-ignore: decorator
@inline export function tanhNear4(x: v128): v128 {
  const u = f32x4.mul(x, x);
  let p = v128.load32_splat(TANH);
  p = step(p, u, TANH + 4);
  p = step(p, u, TANH + 8);
  p = step(p, u, TANH + 12);
  p = step(p, u, TANH + 16);
  p = step(p, u, TANH + 20);
  p = step(p, u, TANH + 24);
  p = step(p, u, TANH + 28);
  return f32x4.add(x, f32x4.mul(f32x4.mul(x, u), p));
}

export function tanh4(x: v128): v128 {
  const size = f32x4.abs(x);
  const beyond = f32x4.gt(size, v128.load32_splat(ONE));
  const near = tanhNear4(x);
  if (!v128.any_true(beyond)) return near;
  const one = v128.load32_splat(ONE);
  const far = f32x4.sub(one, f32x4.div(v128.load32_splat(TWO), f32x4.add(exp4(f32x4.add(size, size)), one)));
  const signed = v128.or(far, v128.and(x, i32x4.splat(0x80000000)));
  return v128.bitselect(signed, near, beyond);
}

export function expm14(x: v128): v128 {
  const beyond = f32x4.gt(f32x4.abs(x), f32x4.splat(0.5));
  let p = v128.load32_splat(EXPM1);
  p = step(p, x, EXPM1 + 4);
  p = step(p, x, EXPM1 + 8);
  p = step(p, x, EXPM1 + 12);
  p = step(p, x, EXPM1 + 16);
  p = step(p, x, EXPM1 + 20);
  const near = f32x4.add(x, f32x4.mul(f32x4.mul(x, x), p));
  if (!v128.any_true(beyond)) return near;
  return v128.bitselect(f32x4.sub(exp4(x), v128.load32_splat(ONE)), near, beyond);
}

export function log1p4(x: v128): v128 {
  const sum = f32x4.add(v128.load32_splat(ONE), x);
  const n = i32x4.shr_s(i32x4.sub(sum, i32x4.splat(0x3f3504f3)), 23);
  const reduced = f32x4.sub(i32x4.sub(sum, i32x4.shl(n, 23)), v128.load32_splat(ONE));
  const f = v128.bitselect(x, reduced, i32x4.eq(n, i32x4.splat(0)));
  const z = f32x4.div(f, f32x4.add(v128.load32_splat(TWO), f));
  const u = f32x4.mul(z, z);
  const twice = f32x4.add(z, z);
  let p = v128.load32_splat(LOG1P);
  p = step(p, u, LOG1P + 4);
  p = step(p, u, LOG1P + 8);
  const whole = f32x4.convert_i32x4_s(n);
  const low = f32x4.add(f32x4.mul(twice, f32x4.mul(u, p)), f32x4.mul(whole, v128.load32_splat(LN_2_LOW)));
  const high = f32x4.add(f32x4.mul(whole, v128.load32_splat(LN_2_HIGH)), f32x4.add(twice, low));
  return f32x4.add(high, f32x4.sub(x, x));
}

export function excess4(x: v128): v128 {
  const beyond = f32x4.gt(f32x4.abs(x), f32x4.splat(0.5));
  let p = v128.load32_splat(EXCESS);
  p = step(p, x, EXCESS + 4);
  p = step(p, x, EXCESS + 8);
  p = step(p, x, EXCESS + 12);
  p = step(p, x, EXCESS + 16);
  p = step(p, x, EXCESS + 20);
  p = step(p, x, EXCESS + 24);
  const near = f32x4.mul(f32x4.mul(x, x), p);
  if (!v128.any_true(beyond)) return near;
  const one = v128.load32_splat(ONE);
  const far = f32x4.add(f32x4.mul(exp4(x), f32x4.sub(x, one)), one);
  return v128.bitselect(far, near, beyond);
}
