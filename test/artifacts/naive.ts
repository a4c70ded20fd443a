/** EMR and TALL masks computed entry by entry from what the papers say. */
import { narrow, widen } from "../../src/numbers/convert.js";
import { DTYPE_BYTES } from "../../src/numbers/dtypes.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { floatsOf } from "./support.js";
import type { Family } from "./support.js";

const { fround } = Math;

export function rounded(values: Float32Array, dtype: FloatDtype): Float32Array {
  const bytes = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, values, bytes);
  const out = new Float32Array(values.length);
  widen(dtype, bytes, out);
  return out;
}

export interface Expected {
  readonly shared: Map<string, Float32Array>;
  /** Per task and tensor. */
  readonly masks: readonly Map<string, readonly boolean[]>[];
  readonly scales: readonly number[];
}

export type Unify = (changes: readonly number[]) => number;
export type Keeps = (change: number, shared: number) => boolean;

export const elect: Unify = (changes) => {
  const sum = changes.reduce((total, change) => fround(total + change), 0);
  const side = changes.filter((change) => (sum > 0 ? change > 0 : change < 0));
  return side.reduce((most, change) => (Math.abs(change) > Math.abs(most) ? change : most), 0);
};

export async function expect(
  { base, models }: Family,
  names: readonly string[],
  dtype: FloatDtype,
  rule: {
    unify: Unify;
    keeps: Keeps;
    scale: (parts: readonly { n: number; change: number; shared: number }[]) => number;
  },
): Promise<Expected> {
  const weights = await floatsOf(base);
  const tuned = await Promise.all(models.map((model) => floatsOf(model)));
  const shared = new Map<string, Float32Array>();
  const masks = models.map(() => new Map<string, readonly boolean[]>());
  const sums = models.map((): { n: number; change: number; shared: number }[] => []);
  for (const name of names) {
    const zero = weights.get(name)!;
    const changes = tuned.map((model) => model.get(name)!.map((value, p) => fround(value - zero[p]!)));
    const united = rounded(
      zero.map((_, p) => rule.unify(changes.map((change) => change[p]!))),
      dtype,
    );
    shared.set(name, united);
    for (const [task, change] of changes.entries()) {
      const mask = [...change].map((value, p) => rule.keeps(value, united[p]!));
      masks[task]!.set(name, mask);
      let [own, kept] = [0, 0];
      for (const [p, isKept] of mask.entries()) {
        own += Math.abs(change[p]!);
        if (isKept) kept += Math.abs(united[p]!);
      }
      sums[task]!.push({ n: mask.length, change: own, shared: kept });
    }
  }
  return { shared, masks, scales: sums.map((parts) => rule.scale(parts)) };
}

/** EMR's, and what the paper's ablation leaves of it. */
export const RULES = {
  "per-tensor-mean": {
    unify: elect,
    keeps: (c: number, s: number) => Math.sign(c) === Math.sign(s) && c !== 0,
    scale: (parts: readonly { n: number; change: number; shared: number }[]) =>
      parts.reduce((sum, { n, change }) => sum + change / n, 0) /
      parts.reduce((sum, { n, shared }) => sum + shared / n, 0),
  },
  global: {
    unify: elect,
    keeps: (c: number, s: number) => Math.sign(c) === Math.sign(s) && c !== 0,
    scale: (parts: readonly { change: number; shared: number }[]) =>
      parts.reduce((sum, { change }) => sum + change, 0) / parts.reduce((sum, { shared }) => sum + shared, 0),
  },
  none: {
    unify: elect,
    keeps: (c: number, s: number) => Math.sign(c) === Math.sign(s) && c !== 0,
    scale: () => 1,
  },
  unmasked: { unify: elect, keeps: () => true, scale: () => 1 },
};
