/**
 * What the definitions of the kernels compute on. They are written over real numbers with a rounding after every
 * operation: with `Math.fround` over f32 they give the bits of the WebAssembly kernels, without rounding over f64 they
 * are what derivatives are checked on. Addresses count entries; 0 stands for an operand that is absent.
 */
export interface Machine {
  readonly f: Float32Array | Float64Array;
  /** Indices; over f32 the same memory. */
  readonly i: Int32Array;
  readonly round: (value: number) => number;
}

export function f32Machine(buffer: ArrayBufferLike): Machine {
  return { f: new Float32Array(buffer), i: new Int32Array(buffer), round: Math.fround };
}

export function f64Machine(entries: number): Machine & { readonly f: Float64Array } {
  return { f: new Float64Array(entries), i: new Int32Array(entries), round: (value) => value };
}

/** Σ entry(i), i below `count`, as the kernels add: entry i to lane i mod 4, lanes joined as (0 + 1) + (2 + 3). */
export function laneSum({ round }: Machine, count: number, entry: (index: number) => number): number {
  const lanes: [number, number, number, number] = [0, 0, 0, 0];
  for (let index = 0; index < count; index++) lanes[index & 3] = round(lanes[index & 3]! + entry(index));
  return round(round(lanes[0] + lanes[1]) + round(lanes[2] + lanes[3]));
}
