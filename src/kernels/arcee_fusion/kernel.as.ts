import { ADD, addCounter, COUNT, OUT, ROWS, SCALARS, STREAM } from "../context.as";
import { excess4, exp4, expm14, log1p4 } from "../functions.as";
import { first, load8, overflow, second, store8 } from "../lanes.as";

/**
 * arcee_fusion: see methods/arcee_fusion.ts. Scalars: epsilon, threshold. One model, its entries as they are; STREAM has the
 * divergence of each entry's row as f32. `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function importance(base: v128, entry: v128, divergence: usize): v128 {
  return f32x4.mul(f32x4.abs(f32x4.sub(entry, base)), v128.load(divergence));
}

// @ts-ignore: decorator
@inline function fusion<T, O>(context: usize): i32 {
  let out = <usize>load<u32>(context, OUT);
  const base = <usize>load<u32>(context, ADD);
  const model = <usize>load<u32>(context, ROWS);
  let divergence = <usize>load<u32>(context, STREAM);
  const threshold = v128.load32_splat(context, SCALARS + 4);
  let finite = i32x4.splat(-1);
  let taken = i32x4.splat(0);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const p = base + at;
    const v = load8<T>(p);
    const a0 = first<T, f32>(v);
    const a1 = second<T, f32>(v, p);
    const q = model + at;
    const w = load8<T>(q);
    const b0 = first<T, f32>(w);
    const b1 = second<T, f32>(w, q);
    // What is not a number is taken from the model, so that it reaches the result.
    const less0 = f32x4.lt(importance(a0, b0, divergence), threshold);
    const less1 = f32x4.lt(importance(a1, b1, divergence + 16), threshold);
    const r0 = v128.bitselect(a0, b0, less0);
    const r1 = v128.bitselect(a1, b1, less1);
    taken = i32x4.sub(taken, v128.andnot(f32x4.ne(a0, b0), less0));
    taken = i32x4.sub(taken, v128.andnot(f32x4.ne(a1, b1), less1));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(r0), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(r1), overflow<O>()));
    store8<f32, O>(out, r0, r1);
    out += 8 * sizeof<O>();
    divergence += 32;
  }
  addCounter(context, 0, taken);
  return i32x4.all_true(finite) ? 1 : 0;
}

// @ts-ignore: decorator
@inline function importances<T>(context: usize): void {
  let out = <usize>load<u32>(context, OUT);
  const base = <usize>load<u32>(context, ADD);
  const model = <usize>load<u32>(context, ROWS);
  let divergence = <usize>load<u32>(context, STREAM);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    const p = base + at;
    const v = load8<T>(p);
    const q = model + at;
    const w = load8<T>(q);
    v128.store(out, importance(first<T, f32>(v), first<T, f32>(w), divergence));
    v128.store(out, importance(second<T, f32>(v, p), second<T, f32>(w, q), divergence + 16), 16);
    out += 32;
    divergence += 32;
  }
}

/**
 * The state of a row, f64: four lanes each (places 0-3 modulo 4) of the sum of powers, the sum of powers by expm1 of the
 * changes, and the divergence; then the largest entry, epsilon.
 */
const POWERS: usize = 0;
const SHIFTS: usize = 32;
const DIVERGENCE: usize = 64;
const LARGEST: usize = 96;
const EPSILON: usize = 104;

/** Of four entries from place `at` of a run on: those that are in it and finite in both tensors. */
// @ts-ignore: decorator
@inline function present(a: v128, change: v128, at: i32, count: i32): v128 {
  const place = i32x4.add(i32x4.splat(at), i32x4(0, 1, 2, 3));
  const inside = v128.andnot(i32x4.lt_s(place, i32x4.splat(count)), i32x4.lt_s(place, i32x4.splat(0)));
  const infinity = f32x4.splat(Infinity);
  const finite = v128.and(f32x4.lt(f32x4.abs(a), infinity), f32x4.lt(f32x4.abs(change), infinity));
  return v128.and(inside, finite);
}

// @ts-ignore: decorator
@inline function isLarge(x: v128): v128 {
  return f32x4.gt(f32x4.abs(x), f32x4.splat(0.5));
}

/** Adds four f32 to four lanes of f64. */
// @ts-ignore: decorator
@inline function addTo(at: usize, x: v128): void {
  v128.store(at, f64x2.add(v128.load(at), f64x2.promote_low_f32x4(x)));
  v128.store(at, f64x2.add(v128.load(at, 16), f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 0))), 16);
}

// @ts-ignore: decorator
@inline function sumOf(state: usize, lanes: usize): f64 {
  const at = state + lanes;
  return load<f64>(at) + load<f64>(at, 8) + (load<f64>(at, 16) + load<f64>(at, 24));
}

// A run begins at place `at` of its row. Its first group of four may reach back before it: what is there is read, and
// left out.
export function divergence_0(base: usize, model: usize, at: i32, count: i32, state: usize): void {
  let largest = f32x4.splat(-Infinity);
  for (let i = -(at & 3); i < count; i += 4) {
    const a = v128.load(base + (i << 2));
    const change = f32x4.sub(v128.load(model + (i << 2)), a);
    largest = f32x4.pmax(largest, v128.bitselect(a, largest, present(a, change, i, count)));
  }
  const upper = f32x4.pmax(largest, i64x2.shuffle(largest, largest, 1, 0));
  const most = max<f32>(f32x4.extract_lane(upper, 0), f32x4.extract_lane(upper, 1));
  store<f64>(state, max<f64>(load<f64>(state, LARGEST), <f64>most), LARGEST);
}

export function divergence_1(base: usize, model: usize, at: i32, count: i32, state: usize): void {
  const largest = f32x4.splat(<f32>load<f64>(state, LARGEST));
  for (let i = -(at & 3); i < count; i += 4) {
    const a = v128.load(base + (i << 2));
    const b = v128.load(model + (i << 2));
    const change = f32x4.sub(b, a);
    const inside = present(a, change, i, count);
    const power = exp4(f32x4.sub(a, largest));
    let shift = f32x4.mul(power, expm14(change));
    const large = isLarge(change);
    if (v128.any_true(large)) {
      shift = v128.bitselect(f32x4.sub(exp4(f32x4.sub(b, largest)), power), shift, large);
    }
    addTo(state + POWERS, v128.and(power, inside));
    addTo(state + SHIFTS, v128.and(shift, inside));
  }
}

export function divergence_2(base: usize, model: usize, at: i32, count: i32, state: usize): void {
  const largest = f32x4.splat(<f32>load<f64>(state, LARGEST));
  const powers = sumOf(state, POWERS);
  const shift = log1p4(f32x4.splat(<f32>(sumOf(state, SHIFTS) / powers)));
  const share = f32x4.splat(<f32>(1 / powers));
  const isPlain = load<f64>(state, EPSILON) == 0;
  const epsilon = f32x4.splat(<f32>load<f64>(state, EPSILON));
  for (let i = -(at & 3); i < count; i += 4) {
    const a = v128.load(base + (i << 2));
    const change = f32x4.sub(v128.load(model + (i << 2)), a);
    const x = f32x4.sub(change, shift);
    const under = f32x4.sub(a, largest);
    const q = f32x4.mul(exp4(under), share);
    const large = isLarge(x);
    const isAnyLarge = v128.any_true(large);
    // Only where x is large; elsewhere p and q are too near to each other.
    const p = isAnyLarge ? f32x4.mul(exp4(f32x4.add(under, x)), share) : q;
    let term: v128;
    if (isPlain) {
      term = f32x4.mul(q, excess4(x));
      if (isAnyLarge) {
        const far = f32x4.add(f32x4.mul(p, f32x4.sub(x, f32x4.splat(1))), q);
        term = v128.bitselect(far, term, large);
      }
    } else {
      const raised = f32x4.add(q, epsilon);
      let ratio = f32x4.mul(expm14(x), f32x4.div(q, raised));
      if (isAnyLarge) ratio = v128.bitselect(f32x4.div(f32x4.sub(p, q), raised), ratio, large);
      term = f32x4.mul(raised, excess4(log1p4(ratio)));
    }
    addTo(state + DIVERGENCE, v128.and(term, present(a, change, i, count)));
  }
}

export function arcee_fusion_BF16_BF16(context: usize): i32 { return fusion<u16, u16>(context); }
export function arcee_fusion_BF16_F16(context: usize): i32 { return fusion<u16, i16>(context); }
export function arcee_fusion_BF16_F32(context: usize): i32 { return fusion<u16, f32>(context); }
export function arcee_fusion_F16_BF16(context: usize): i32 { return fusion<i16, u16>(context); }
export function arcee_fusion_F16_F16(context: usize): i32 { return fusion<i16, i16>(context); }
export function arcee_fusion_F16_F32(context: usize): i32 { return fusion<i16, f32>(context); }
export function arcee_fusion_F32_BF16(context: usize): i32 { return fusion<f32, u16>(context); }
export function arcee_fusion_F32_F16(context: usize): i32 { return fusion<f32, i16>(context); }
export function arcee_fusion_F32_F32(context: usize): i32 { return fusion<f32, f32>(context); }
export function arcee_importance_BF16(context: usize): void { importances<u16>(context); }
export function arcee_importance_F16(context: usize): void { importances<i16>(context); }
export function arcee_importance_F32(context: usize): void { importances<f32>(context); }
