/** Activations and their derivatives; definition in activation.ts. Counts are multiples of four. */
import { exp4, logistic4 } from "./exp.as";

/** The normal distribution function Φ(x), from e = exp(−x²/2). */
// @ts-ignore: decorator
@inline function phi4(x: v128, e: v128): v128 {
  const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678118654752));
  const t = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), f32x4.mul(z, f32x4.splat(0.3275911))));
  let q = f32x4.splat(0.5307027145);
  q = f32x4.add(f32x4.mul(q, t), f32x4.splat(-0.7265760135));
  q = f32x4.add(f32x4.mul(q, t), f32x4.splat(0.7107068705));
  q = f32x4.add(f32x4.mul(q, t), f32x4.splat(-0.142248368));
  q = f32x4.add(f32x4.mul(q, t), f32x4.splat(0.127414796));
  const tail = f32x4.mul(f32x4.mul(q, t), e);
  return v128.bitselect(tail, f32x4.sub(f32x4.splat(1), tail), f32x4.lt(x, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline function bell4(x: v128): v128 {
  return exp4(f32x4.mul(f32x4.mul(x, x), f32x4.splat(-0.5)));
}

/** What the gate x σ(w(x)) feeds to σ. */
// @ts-ignore: decorator
@inline function gate4(kind: i32, x: v128): v128 {
  if (kind == 2) return f32x4.mul(x, f32x4.splat(1.702));
  if (kind == 3) return x;
  const cube = f32x4.mul(f32x4.mul(x, x), f32x4.splat(0.0713548162726));
  return f32x4.mul(x, f32x4.add(cube, f32x4.splat(1.59576912160573)));
}

// @ts-ignore: decorator
@inline function gateSlope4(kind: i32, x: v128): v128 {
  if (kind == 2) return f32x4.splat(1.702);
  if (kind == 3) return f32x4.splat(1);
  const square = f32x4.mul(f32x4.mul(x, x), f32x4.splat(0.2140644488178));
  return f32x4.add(square, f32x4.splat(1.59576912160573));
}

// @ts-ignore: decorator
@inline function gated(kind: i32, x: usize, y: usize, end: usize): void {
  for (; x < end; x += 16, y += 16) {
    const v = v128.load(x);
    v128.store(y, f32x4.mul(v, logistic4(gate4(kind, v))));
  }
}

// @ts-ignore: decorator
@inline function gatedVjp(kind: i32, x: usize, dy: usize, dx: usize, end: usize): void {
  const one = f32x4.splat(1);
  for (; x < end; x += 16, dy += 16, dx += 16) {
    const v = v128.load(x);
    const s = logistic4(gate4(kind, v));
    const bend = f32x4.mul(f32x4.mul(v, f32x4.mul(s, f32x4.sub(one, s))), gateSlope4(kind, v));
    v128.store(dx, f32x4.mul(v128.load(dy), f32x4.add(s, bend)));
  }
}

// @ts-ignore: decorator
@inline function tanh4(x: v128): v128 {
  return f32x4.sub(f32x4.mul(logistic4(f32x4.mul(x, f32x4.splat(2))), f32x4.splat(2)), f32x4.splat(1));
}

/** `kind` is a place in the list ACTIVATIONS of activation.ts. */
export function activate(kind: i32, x: usize, y: usize, count: i32): void {
  const end = x + (<usize>count << 2);
  if (kind == 0) {
    for (; x < end; x += 16, y += 16) {
      const v = v128.load(x);
      v128.store(y, f32x4.mul(v, phi4(v, bell4(v))));
    }
  } else if (kind == 1) gated(1, x, y, end);
  else if (kind == 2) gated(2, x, y, end);
  else if (kind == 3) gated(3, x, y, end);
  else if (kind == 4) {
    for (; x < end; x += 16, y += 16) v128.store(y, f32x4.max(v128.load(x), f32x4.splat(0)));
  } else {
    for (; x < end; x += 16, y += 16) v128.store(y, tanh4(v128.load(x)));
  }
}

export function activate_vjp(kind: i32, x: usize, dy: usize, dx: usize, count: i32): void {
  const end = x + (<usize>count << 2);
  if (kind == 0) {
    for (; x < end; x += 16, dy += 16, dx += 16) {
      const v = v128.load(x);
      const e = bell4(v);
      const bend = f32x4.mul(f32x4.mul(v, e), f32x4.splat(0.398942280401432678));
      v128.store(dx, f32x4.mul(v128.load(dy), f32x4.add(phi4(v, e), bend)));
    }
  } else if (kind == 1) gatedVjp(1, x, dy, dx, end);
  else if (kind == 2) gatedVjp(2, x, dy, dx, end);
  else if (kind == 3) gatedVjp(3, x, dy, dx, end);
  else if (kind == 4) {
    for (; x < end; x += 16, dy += 16, dx += 16) {
      v128.store(dx, v128.and(v128.load(dy), f32x4.gt(v128.load(x), f32x4.splat(0))));
    }
  } else {
    for (; x < end; x += 16, dy += 16, dx += 16) {
      const t = tanh4(v128.load(x));
      v128.store(dx, f32x4.mul(v128.load(dy), f32x4.sub(f32x4.splat(1), f32x4.mul(t, t))));
    }
  }
}
