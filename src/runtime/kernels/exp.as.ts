/** exp and the logistic function, four at a time; the twin, with the source of the numbers, is exp.ts. */

// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  // The pseudo forms are one instruction each; a NaN passes both.
  const a = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87.3)), f32x4.splat(88.0));
  const n = f32x4.floor(f32x4.add(f32x4.mul(a, f32x4.splat(1.44269504088896341)), f32x4.splat(0.5)));
  const near = f32x4.sub(a, f32x4.mul(n, f32x4.splat(0.693359375)));
  const r = f32x4.add(near, f32x4.mul(n, f32x4.splat(2.12194440e-4)));
  let y = f32x4.splat(1.9875691500e-4);
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.3981999507e-3));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(8.3334519073e-3));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(4.1665795894e-2));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.6666665459e-1));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(5.0000001201e-1));
  y = f32x4.add(f32x4.mul(y, f32x4.mul(r, r)), r);
  y = f32x4.add(y, f32x4.splat(1));
  // n is whole and small: behind 3 · 2^22 its bits are those of an integer, which is quicker than a conversion.
  const whole = i32x4.sub(f32x4.add(n, f32x4.splat(12582912)), i32x4.splat(0x4b400000 - 127));
  return f32x4.mul(y, i32x4.shl(whole, 23));
}

// @ts-ignore: decorator
@inline export function logistic4(x: v128): v128 {
  return f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), exp4(f32x4.neg(x))));
}
