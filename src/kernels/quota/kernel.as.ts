/** Twin of `keepFirst` in definition.ts over f32 entries in memory, any count. */
export function keep_first(p: usize, count: i32, threshold: f32, left: i32): i32 {
  const wanted = f32x4.splat(threshold);
  const end = p + (<usize>count << 2);
  for (const whole = p + (<usize>(count & ~3) << 2); p < whole; p += 16) {
    let met = i32x4.bitmask(f32x4.eq(f32x4.abs(v128.load(p)), wanted));
    while (met != 0) {
      if (left > 0) left--;
      else store<f32>(p + (<usize>ctz<i32>(met) << 2), 0);
      met &= met - 1;
    }
  }
  for (; p < end; p += 4) {
    if (abs<f32>(load<f32>(p)) != threshold) continue;
    if (left > 0) left--;
    else store<f32>(p, 0);
  }
  return left;
}
