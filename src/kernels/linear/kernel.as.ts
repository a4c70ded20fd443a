import { COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * out = (w0 x0 + w1 x1 + ...) / divisor, in model order. Scalars: divisor. Columns: weight.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function linear<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const divisor = f32x4.splat(load<f32>(context, SCALARS));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = <usize>load<u32>(context, ROWS) + at;
    let weight = f32x4.splat(load<f32>(context, ROWS + COLUMNS));
    let v = load8<T>(p);
    let a = f32x4.mul(first<T, O>(v), weight);
    let b = f32x4.mul(second<T, O>(v, p), weight);
    for (let row = context + ROWS + ROW_BYTES; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      weight = f32x4.splat(load<f32>(row, COLUMNS));
      v = load8<T>(p);
      a = f32x4.add(a, f32x4.mul(first<T, O>(v), weight));
      b = f32x4.add(b, f32x4.mul(second<T, O>(v, p), weight));
    }
    a = f32x4.div(a, divisor);
    b = f32x4.div(b, divisor);
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function linear_BF16_BF16(context: usize): i32 { return linear<u16, u16>(context); }
export function linear_BF16_F16(context: usize): i32 { return linear<u16, i16>(context); }
export function linear_BF16_F32(context: usize): i32 { return linear<u16, f32>(context); }
export function linear_F16_BF16(context: usize): i32 { return linear<i16, u16>(context); }
export function linear_F16_F16(context: usize): i32 { return linear<i16, i16>(context); }
export function linear_F16_F32(context: usize): i32 { return linear<i16, f32>(context); }
export function linear_F32_BF16(context: usize): i32 { return linear<f32, u16>(context); }
export function linear_F32_F16(context: usize): i32 { return linear<f32, i16>(context); }
export function linear_F32_F32(context: usize): i32 { return linear<f32, f32>(context); }
