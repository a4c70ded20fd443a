import { first, isBf16, isF16, load8, overflow, second, store8, widen1 } from "../lanes.as";

/** Twin of `widen` in numbers/convert.ts. Any count, any alignment. */
// @ts-ignore: decorator
@inline function widen<T>(source: usize, target: usize, count: i32): void {
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const v = load8<T>(source);
    v128.store(target, first<T, f32>(v));
    v128.store(target, second<T, f32>(v, source), 16);
    source += 8 * sizeof<T>();
    target += 32;
  }
  for (; i < count; i++) {
    store<f32>(target, widen1<T>(source));
    source += sizeof<T>();
    target += 4;
  }
}

/** Twin of `narrow`: returns how many entries were written as NaN or infinite. Any count, any alignment. */
// @ts-ignore: decorator
@inline function narrow<O>(source: usize, target: usize, count: i32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const limit = i32x4.sub(overflow<O>(), i32x4.splat(1));
  let nonFinite = 0;
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const a = v128.load(source);
    const b = v128.load(source, 16);
    // as integers magnitudes keep their order, and NaN is the largest
    const largest = i32x4.max_s(v128.and(a, magnitude), v128.and(b, magnitude));
    if (!v128.any_true(i32x4.gt_s(largest, limit))) {
      store8<f32, O>(target, a, b);
    } else {
      for (let k = 0; k < 8; k++) nonFinite += narrow1<O>(source + 4 * k, target + sizeof<O>() * k);
    }
    source += 32;
    target += 8 * sizeof<O>();
  }
  for (; i < count; i++) {
    nonFinite += narrow1<O>(source, target);
    source += 4;
    target += sizeof<O>();
  }
  return nonFinite;
}

/** One entry, finite or not; returns 1 where it is not finite in format O. */
function narrow1<O>(source: usize, target: usize): i32 {
  const bits = load<u32>(source);
  const magnitude = bits & 0x7fffffff;
  const sign = (bits ^ magnitude) >>> 16;
  const isNaN = magnitude > 0x7f800000;
  if (isBf16<O>()) {
    const rounded = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16;
    store<u16>(target, isNaN ? 0x7fc0 : sign | rounded);
    return isNaN || rounded >= 0x7f80 ? 1 : 0;
  }
  if (isF16<O>()) {
    if (magnitude >= 0x477ff000) {
      // 65520 and more
      store<u16>(target, isNaN ? 0x7e00 : sign | 0x7c00);
      return 1;
    }
    // Below 2^-14 adding 0.5 lets the f32 adder round at F16's last subnormal bit.
    const rounded = magnitude < 0x38800000
      ? reinterpret<u32>(reinterpret<f32>(magnitude) + 0.5) - 0x3f000000
      : (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    store<u16>(target, sign | rounded);
    return 0;
  }
  store<u32>(target, isNaN ? 0x7fc00000 : bits);
  return magnitude >= 0x7f800000 ? 1 : 0;
}

export function widen_BF16(source: usize, target: usize, count: i32): void { widen<u16>(source, target, count); }
export function widen_F16(source: usize, target: usize, count: i32): void { widen<i16>(source, target, count); }
export function widen_F32(source: usize, target: usize, count: i32): void { widen<f32>(source, target, count); }
export function narrow_BF16(source: usize, target: usize, count: i32): i32 { return narrow<u16>(source, target, count); }
export function narrow_F16(source: usize, target: usize, count: i32): i32 { return narrow<i16>(source, target, count); }
export function narrow_F32(source: usize, target: usize, count: i32): i32 { return narrow<f32>(source, target, count); }

/** Twin of `change`. `target` may be either input. */
export function change(model: usize, base: usize, target: usize, count: i32): void {
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const a = f32x4.sub(v128.load(model), v128.load(base));
    const b = f32x4.sub(v128.load(model, 16), v128.load(base, 16));
    v128.store(target, a);
    v128.store(target, b, 16);
    model += 32;
    base += 32;
    target += 32;
  }
  for (; i < count; i++) {
    store<f32>(target, load<f32>(model) - load<f32>(base));
    model += 4;
    base += 4;
    target += 4;
  }
}

/** Twin of `widen` and then `change`: `model` as it is stored, `base` and `target` f32. Any count, any alignment. */
// @ts-ignore: decorator
@inline function changeOf<T>(model: usize, base: usize, target: usize, count: i32): void {
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const v = load8<T>(model);
    v128.store(target, f32x4.sub(first<T, f32>(v), v128.load(base)));
    v128.store(target, f32x4.sub(second<T, f32>(v, model), v128.load(base, 16)), 16);
    model += 8 * sizeof<T>();
    base += 32;
    target += 32;
  }
  for (; i < count; i++) {
    store<f32>(target, widen1<T>(model) - load<f32>(base));
    model += sizeof<T>();
    base += 4;
    target += 4;
  }
}

export function change_BF16(model: usize, base: usize, target: usize, count: i32): void {
  changeOf<u16>(model, base, target, count);
}
export function change_F16(model: usize, base: usize, target: usize, count: i32): void {
  changeOf<i16>(model, base, target, count);
}
export function change_F32(model: usize, base: usize, target: usize, count: i32): void {
  changeOf<f32>(model, base, target, count);
}
