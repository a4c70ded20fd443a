/** exp, tanh and log of four f32: the twin of numbers/functions.ts, where the bounds of their errors stand. */

const ROUND: f32 = 12582912;

// @ts-ignore: decorator
@inline function power(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

// @ts-ignore: decorator
@inline function step(sum: v128, x: v128, coefficient: f32): v128 {
  return f32x4.add(f32x4.mul(sum, x), f32x4.splat(coefficient));
}

// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  const bounded = f32x4.min(f32x4.max(x, f32x4.splat(-105)), f32x4.splat(89));
  const round = f32x4.splat(ROUND);
  const whole = f32x4.sub(f32x4.add(f32x4.mul(bounded, f32x4.splat(1.4426950216293335)), round), round);
  const r = f32x4.sub(
    f32x4.sub(bounded, f32x4.mul(whole, f32x4.splat(0.693359375))),
    f32x4.mul(whole, f32x4.splat(-2.12194440e-4)),
  );
  let p = f32x4.splat(0.000198910798644647);
  p = step(p, r, 0.0013933731243014336);
  p = step(p, r, 0.00833331048488617);
  p = step(p, r, 0.041666463017463684);
  p = step(p, r, 0.1666666716337204);
  p = step(p, r, 0.5);
  const near = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  const n = i32x4.trunc_sat_f32x4_s(whole);
  const half = i32x4.shr_s(n, 1);
  return f32x4.mul(f32x4.mul(near, power(half)), power(i32x4.sub(n, half)));
}

/** tanh where no lane is beyond 1. */
// @ts-ignore: decorator
@inline export function tanhNear4(x: v128): v128 {
  const u = f32x4.mul(x, x);
  let p = f32x4.splat(0.00014279318565968424);
  p = step(p, u, -0.0009235008619725704);
  p = step(p, u, 0.0032068034633994102);
  p = step(p, u, -0.008697847835719585);
  p = step(p, u, 0.021829549223184586);
  p = step(p, u, -0.05396341532468796);
  p = step(p, u, 0.13333310186862946);
  p = step(p, u, -0.3333333432674408);
  return f32x4.add(x, f32x4.mul(f32x4.mul(x, u), p));
}

export function tanh4(x: v128): v128 {
  const size = f32x4.abs(x);
  const beyond = f32x4.gt(size, f32x4.splat(1));
  const near = tanhNear4(x);
  if (!v128.any_true(beyond)) return near;
  const one = f32x4.splat(1);
  const far = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(exp4(f32x4.add(size, size)), one)));
  const signed = v128.or(far, v128.and(x, i32x4.splat(0x80000000)));
  return v128.bitselect(signed, near, beyond);
}

export function expm14(x: v128): v128 {
  const beyond = f32x4.gt(f32x4.abs(x), f32x4.splat(0.5));
  let p = f32x4.splat(0.00019944873929489404);
  p = step(p, x, 0.0013982185628265142);
  p = step(p, x, 0.0083332359790802);
  p = step(p, x, 0.04166579246520996);
  p = step(p, x, 0.1666666716337204);
  p = step(p, x, 0.5);
  const near = f32x4.add(x, f32x4.mul(f32x4.mul(x, x), p));
  if (!v128.any_true(beyond)) return near;
  return v128.bitselect(f32x4.sub(exp4(x), f32x4.splat(1)), near, beyond);
}

export function log1p4(x: v128): v128 {
  const sum = f32x4.add(f32x4.splat(1), x);
  const n = i32x4.shr_s(i32x4.sub(sum, i32x4.splat(0x3f3504f3)), 23);
  const reduced = f32x4.sub(i32x4.sub(sum, i32x4.shl(n, 23)), f32x4.splat(1));
  const f = v128.bitselect(x, reduced, i32x4.eq(n, i32x4.splat(0)));
  const z = f32x4.div(f, f32x4.add(f32x4.splat(2), f));
  const u = f32x4.mul(z, z);
  const twice = f32x4.add(z, z);
  let p = f32x4.splat(0.14791011810302734);
  p = step(p, u, 0.1999436765909195);
  p = step(p, u, 0.33333343267440796);
  const whole = f32x4.convert_i32x4_s(n);
  const low = f32x4.add(f32x4.mul(twice, f32x4.mul(u, p)), f32x4.mul(whole, f32x4.splat(-2.12194440e-4)));
  const high = f32x4.add(f32x4.mul(whole, f32x4.splat(0.693359375)), f32x4.add(twice, low));
  return f32x4.add(high, f32x4.sub(x, x));
}

export function excess4(x: v128): v128 {
  const beyond = f32x4.gt(f32x4.abs(x), f32x4.splat(0.5));
  let p = f32x4.splat(0.00017469932208769023);
  p = step(p, x, 0.0012001555878669024);
  p = step(p, x, 0.006944308523088694);
  p = step(p, x, 0.03333212062716484);
  p = step(p, x, 0.125);
  p = step(p, x, 0.3333333730697632);
  p = step(p, x, 0.5);
  const near = f32x4.mul(f32x4.mul(x, x), p);
  if (!v128.any_true(beyond)) return near;
  const one = f32x4.splat(1);
  const far = f32x4.add(f32x4.mul(exp4(x), f32x4.sub(x, one)), one);
  return v128.bitselect(far, near, beyond);
}
