/** A run of a model's change and of the shared change as stored, and what a mask makes of them. */
export interface MaskRun {
  /** One bit per entry, packed: entry p is bit p modulo 8 of byte p / 8, lowest first; the bits of a last, partial byte are zero. */
  readonly bits: Uint8Array;
  readonly kept: number;
  /** Sum of |change|. */
  readonly change: number;
  /** Sum of |shared| under the mask. */
  readonly shared: number;
}

/** Sums run in f64 by entry modulo 4, and the four are added at the end. */
export function makeMask(
  change: Float32Array,
  shared: Float32Array,
  keeps: (change: number, shared: number) => boolean,
): MaskRun {
  const bits = new Uint8Array(Math.ceil(change.length / 8));
  const sums = [0, 0, 0, 0];
  const keptSums = [0, 0, 0, 0];
  let kept = 0;
  for (let p = 0; p < change.length; p++) {
    const [c, s] = [change[p]!, shared[p]!];
    sums[p & 3]! += Math.abs(c);
    if (!keeps(c, s)) continue;
    bits[p >>> 3]! |= 1 << (p & 7);
    keptSums[p & 3]! += Math.abs(s);
    kept++;
  }
  return { bits, kept, change: total(sums), shared: total(keptSums) };
}

function total([s0, s1, s2, s3]: readonly number[]): number {
  return s0! + s1! + (s2! + s3!);
}
