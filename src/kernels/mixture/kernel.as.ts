import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SCRATCH, SUBTRACT } from "../context.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * out = (w0 x0 + w1 x1 + ...) + base * wb, x = model - subtract, in model order. Scalars: wb. Columns: weight.
 * `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function mixture<T, O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const add = <usize>load<u32>(context, ADD);
  const share = f32x4.splat(load<f32>(context, SCALARS));
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  const bytes = <usize>count * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    let p = subtract + at;
    let v = load8<T>(p);
    const s0 = first<T, O>(v);
    const s1 = second<T, O>(v, p);
    p = <usize>load<u32>(context, ROWS) + at;
    let weight = f32x4.splat(load<f32>(context, ROWS + COLUMNS));
    v = load8<T>(p);
    let a = f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight);
    let b = f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight);
    for (let row = context + ROWS + ROW_BYTES; row < rowsEnd; row += ROW_BYTES) {
      p = <usize>load<u32>(row) + at;
      weight = f32x4.splat(load<f32>(row, COLUMNS));
      v = load8<T>(p);
      a = f32x4.add(a, f32x4.mul(f32x4.sub(first<T, O>(v), s0), weight));
      b = f32x4.add(b, f32x4.mul(f32x4.sub(second<T, O>(v, p), s1), weight));
    }
    p = add + at;
    v = load8<T>(p);
    a = f32x4.add(a, f32x4.mul(first<T, O>(v), share));
    b = f32x4.add(b, f32x4.mul(second<T, O>(v, p), share));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<T, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function mixture_BF16_BF16(context: usize): i32 { return mixture<u16, u16>(context); }
export function mixture_BF16_F16(context: usize): i32 { return mixture<u16, i16>(context); }
export function mixture_BF16_F32(context: usize): i32 { return mixture<u16, f32>(context); }
export function mixture_F16_BF16(context: usize): i32 { return mixture<i16, u16>(context); }
export function mixture_F16_F16(context: usize): i32 { return mixture<i16, i16>(context); }
export function mixture_F16_F32(context: usize): i32 { return mixture<i16, f32>(context); }
export function mixture_F32_BF16(context: usize): i32 { return mixture<f32, u16>(context); }
export function mixture_F32_F16(context: usize): i32 { return mixture<f32, i16>(context); }
export function mixture_F32_F32(context: usize): i32 { return mixture<f32, f32>(context); }

/**
 * The same with weights of their own for every entry: columns hold the address of a model's f32 weights, the scratch those
 * of the base. Nothing is subtracted, entries are f32. `count` may be any number; up to three entries behind it are read
 * and written.
 */
export function mixture_columns_F32_F32(context: usize): void {
  const models = load<i32>(context);
  const out = <usize>load<u32>(context, OUT);
  const add = <usize>load<u32>(context, ADD);
  const shares = <usize>load<u32>(context, SCRATCH);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const end = <usize>load<i32>(context, COUNT) * 4;
  for (let at: usize = 0; at < end; at += 16) {
    const weights = <usize>load<u32>(context, ROWS + COLUMNS);
    let a = f32x4.mul(v128.load(<usize>load<u32>(context, ROWS) + at), v128.load(weights + at));
    for (let row = context + ROWS + ROW_BYTES; row < rowsEnd; row += ROW_BYTES) {
      const x = v128.load(<usize>load<u32>(row) + at);
      a = f32x4.add(a, f32x4.mul(x, v128.load(<usize>load<u32>(row, COLUMNS) + at)));
    }
    v128.store(out + at, f32x4.add(a, f32x4.mul(v128.load(add + at), v128.load(shares + at))));
  }
}
