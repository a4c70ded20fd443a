import { excess4, exp4, expm14, log1p4, tanh4 } from "../functions.as";

/** Functions in place, for tests and benches; `count` is a multiple of four. */
export function exp_F32(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) v128.store(p, exp4(v128.load(p)));
}

export function tanh_F32(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) v128.store(p, tanh4(v128.load(p)));
}

export function expm1_F32(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) v128.store(p, expm14(v128.load(p)));
}

export function log1p_F32(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) v128.store(p, log1p4(v128.load(p)));
}

export function excess_F32(p: usize, count: i32): void {
  for (const end = p + (<usize>count << 2); p < end; p += 16) v128.store(p, excess4(v128.load(p)));
}
