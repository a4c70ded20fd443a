/** How the changes of several models in one block relate: the definition of the relations kernel. */

/** Columns (entry positions) of the first models up to this one. */
export interface SignCounts {
  /** Columns that hold a positive and a negative entry. */
  readonly conflicts: number;
  /** Columns in which two or more entries have a sign. */
  readonly shared: number;
}

export interface ModelRelations {
  /** Entries that are exactly zero. */
  readonly zeros: number;
  /** NaN or infinite entries. */
  readonly nonFinite: number;
  /** Largest magnitude; NaN where there is a NaN. */
  readonly largest: number;
  /** Sum of squares of the entries with magnitude ≥ threshold. */
  readonly keptEnergy: number;
  /** Of all entries. */
  readonly signs: SignCounts;
  /** Of the entries with magnitude ≥ threshold alone. */
  readonly keptSigns: SignCounts;
}

export interface Relations {
  /** In the order given. */
  readonly models: readonly ModelRelations[];
  /** Σ x_i x_j of every pair i ≤ j, row by row: (0,0), (0,1), …, (1,1), … */
  readonly dots: readonly number[];
}

/**
 * A zero and a NaN have no sign. Products and sums are f64: four partial sums by position modulo 4, put together at the
 * end as (s0 + s1) + (s2 + s3).
 *
 * @param changes one array per model, equally long.
 * @param thresholds one per model, ≥ 0; 0 keeps everything.
 */
export function relate(changes: readonly Float32Array[], thresholds: readonly number[]): Relations {
  const all = signCounts(
    changes,
    thresholds.map(() => 0),
  );
  const kept = signCounts(changes, thresholds);
  const models = changes.map((values, i): ModelRelations => {
    const survivors = values.map((x) => (Math.abs(x) >= thresholds[i]! ? x : 0));
    return {
      zeros: values.filter((x) => x === 0).length,
      nonFinite: values.filter((x) => !Number.isFinite(x)).length,
      largest: values.reduce((most, x) => Math.max(most, Math.abs(x)), 0),
      keptEnergy: dot(survivors, survivors),
      signs: all[i]!,
      keptSigns: kept[i]!,
    };
  });
  return { models, dots: changes.flatMap((a, i) => changes.slice(i).map((b) => dot(a, b))) };
}

function dot(a: Float32Array, b: Float32Array): number {
  const sums = [0, 0, 0, 0];
  for (let p = 0; p < a.length; p++) sums[p % 4]! += a[p]! * b[p]!;
  return sums[0]! + sums[1]! + (sums[2]! + sums[3]!);
}

/** For the first one, the first two, … models. */
function signCounts(changes: readonly Float32Array[], thresholds: readonly number[]): SignCounts[] {
  const counts = changes.map(() => ({ conflicts: 0, shared: 0 }));
  for (let p = 0; p < (changes[0]?.length ?? 0); p++) {
    let positive = 0;
    let negative = 0;
    for (const [i, values] of changes.entries()) {
      const x = values[p]!;
      if (Math.abs(x) >= thresholds[i]!) {
        if (x > 0) positive++;
        if (x < 0) negative++;
      }
      if (positive > 0 && negative > 0) counts[i]!.conflicts++;
      if (positive + negative >= 2) counts[i]!.shared++;
    }
  }
  return counts;
}
