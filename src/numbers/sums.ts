/**
 * Sums and moments whose last bit does not depend on threads or tiles: a tensor is cut into fixed blocks, each block is
 * reduced by itself in entry order, and the blocks are put together in block order.
 */

/**
 * A sum with its rounding error carried along (A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation
 * endlicher Summen", 1974): the result is off by one rounding plus n² ε² Σ|x|. Infinities and NaN give what plain
 * addition gives.
 */
export class CompensatedSum {
  #total = 0;
  #error = 0;

  add(value: number): void {
    const total = this.#total + value;
    // what the addition lost: exact, because the smaller of the two is subtracted last
    this.#error += Math.abs(this.#total) >= Math.abs(value) ? this.#total - total + value : value - total + this.#total;
    this.#total = total;
  }

  get value(): number {
    return Number.isFinite(this.#total) ? this.#total + this.#error : this.#total;
  }
}

export function sumOf(values: Iterable<number>): number {
  const sum = new CompensatedSum();
  for (const value of values) sum.add(value);
  return sum.value;
}

/** Count, mean and sum of squared distances from the mean. */
export interface Moments {
  readonly entries: number;
  readonly mean: number;
  /** Σ (x − mean)². */
  readonly squares: number;
}

export const NO_MOMENTS: Moments = { entries: 0, mean: 0, squares: 0 };

/** Of one block: the mean first, then the squares of the distances from it, in f64. */
export function momentsOf(values: Float32Array): Moments {
  const entries = values.length;
  if (entries === 0) return NO_MOMENTS;
  let total = 0;
  for (let i = 0; i < entries; i++) total += values[i]!;
  const mean = total / entries;
  let squares = 0;
  for (let i = 0; i < entries; i++) {
    const distance = values[i]! - mean;
    squares += distance * distance;
  }
  return { entries, mean, squares };
}

/**
 * The moments of two runs together (T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for
 * Computing Sample Variances", 1979). Not associative in the last bit: always merge in block order.
 */
export function mergeMoments(first: Moments, second: Moments): Moments {
  if (first.entries === 0) return second;
  if (second.entries === 0) return first;
  const entries = first.entries + second.entries;
  const apart = second.mean - first.mean;
  return {
    entries,
    mean: first.mean + apart * (second.entries / entries),
    squares: first.squares + second.squares + apart * apart * first.entries * (second.entries / entries),
  };
}

/** Of consecutive blocks, in the order given. */
export function mergeBlocks(blocks: Iterable<Moments>): Moments {
  let merged = NO_MOMENTS;
  for (const block of blocks) merged = mergeMoments(merged, block);
  return merged;
}

/** The unbiased standard deviation (divisor n − 1); 0 for fewer than two entries. */
export function deviationOf({ entries, squares }: Moments): number {
  return entries < 2 ? 0 : Math.sqrt(squares / (entries - 1));
}

/** Σ x². */
export function energyOf({ entries, mean, squares }: Moments): number {
  return squares + entries * mean * mean;
}
