/** Numbers for tests, the same in every run. */

/** Deterministic: mulberry32. Whole numbers from 0 to 2^32 − 1. */
export function words(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Whole numbers from 0 to below. */
export function dice(seed: number): (below: number) => number {
  const next = words(seed);
  return (below) => Math.floor((next() / 2 ** 32) * below);
}

/** Roughly normal, mean 0, deviation `scale`: the sum of four uniform numbers. */
export function normals(count: number, seed: number, scale = 1): Float32Array {
  const next = words(seed);
  const values = new Float32Array(count);
  const factor = scale * Math.sqrt(3);
  for (let i = 0; i < count; i++) values[i] = ((next() + next() + next() + next()) / 2 ** 32 - 2) * factor;
  return values;
}

/** Bit patterns, with every NaN as one. */
export function patterns(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.slice().buffer);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7fffffff) > 0x7f800000) bits[i] = 0x7fc00000;
  return bits;
}

export function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

export function bytesOf(values: Float32Array | Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
