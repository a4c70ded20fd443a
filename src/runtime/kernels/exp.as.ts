/** exp and the logistic function, four at a time; the twin, with the source of the numbers, is exp.ts. */

/** In memory, from where a constant is one instruction; written out, V8 makes it anew from several at every use. */
const CONSTANTS = memory.data<f32>([
  -87.3, 88, 1.44269504088896341, 0.5, 0.693359375, 2.1219444e-4, 1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3,
  4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 12583039,
]);

// @ts-ignore: decorator
@inline function constant(index: usize): v128 {
  return v128.load32_splat(CONSTANTS + (index << 2));
}

// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  // The pseudo forms are one instruction each; a NaN passes both.
  const a = f32x4.pmin(f32x4.pmax(x, constant(0)), constant(1));
  const n = f32x4.floor(f32x4.add(f32x4.mul(a, constant(2)), constant(3)));
  const near = f32x4.sub(a, f32x4.mul(n, constant(4)));
  const r = f32x4.add(near, f32x4.mul(n, constant(5)));
  let y = constant(6);
  y = f32x4.add(f32x4.mul(y, r), constant(7));
  y = f32x4.add(f32x4.mul(y, r), constant(8));
  y = f32x4.add(f32x4.mul(y, r), constant(9));
  y = f32x4.add(f32x4.mul(y, r), constant(10));
  y = f32x4.add(f32x4.mul(y, r), constant(11));
  y = f32x4.add(f32x4.mul(y, f32x4.mul(r, r)), r);
  y = f32x4.add(y, constant(12));
  // Behind 3 · 2^22 a small whole number is the low bits, which the shift keeps: 127 + n, the exponent of 2^n.
  return f32x4.mul(y, i32x4.shl(f32x4.add(n, constant(13)), 23));
}

// @ts-ignore: decorator
@inline export function logistic4(x: v128): v128 {
  const one = constant(12);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}
