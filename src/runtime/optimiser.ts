/**
 * Adam, and AdamW with its decoupled decay: "Adam: A Method for Stochastic Optimization" (Kingma and Ba,
 * arXiv 1412.6980), "Decoupled Weight Decay Regularization" (Loshchilov and Hutter, arXiv 1711.05101). As PyTorch's:
 *
 *     theta ← theta − rate · decay · theta
 *     m ← beta1 m + (1 − beta1) g          v ← beta2 v + (1 − beta2) g²
 *     theta ← theta − rate / (1 − beta1^t) · m / (sqrt(v) / sqrt(1 − beta2^t) + epsilon)
 *
 * Arithmetic in f64; parameters and moments are rounded to their array's format where they are stored.
 */

export type Entries = Float32Array | Float64Array;

export interface AdamOptions {
  /** Step size; may be changed between steps. */
  readonly rate: number;
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** Default 1e-8. */
  readonly epsilon?: number;
  /** Share of a parameter, times the rate, that a step takes away (AdamW). Default 0: plain Adam. */
  readonly decay?: number;
}

/** One array's first and second moments. */
export interface Moments {
  readonly first: Entries;
  readonly second: Entries;
}

/** All that a later run needs to go on. */
export interface AdamState {
  /** Steps made. */
  readonly steps: number;
  /** Per array of parameters. */
  readonly moments: readonly Moments[];
}

export class Adam {
  readonly #parameters: readonly Entries[];
  readonly #moments: readonly Moments[];
  readonly #options: Required<Omit<AdamOptions, "rate">>;
  #rate: number;
  #steps: number;

  /**
   * @param parameters changed in place by `step`; moments are kept in their formats.
   * @param state of an earlier run over arrays of the same sizes; its arrays become the optimiser's.
   */
  constructor(parameters: readonly Entries[], options: AdamOptions, state?: AdamState) {
    const { rate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0 } = options;
    this.#parameters = parameters;
    this.#rate = rate;
    this.#options = { beta1, beta2, epsilon, decay };
    this.#steps = state?.steps ?? 0;
    this.#moments =
      state?.moments ?? parameters.map((array) => ({ first: emptyLike(array), second: emptyLike(array) }));
    for (const [index, { first, second }] of this.#moments.entries()) {
      const { length } = parameters[index]!;
      if (first.length !== length || second.length !== length) {
        throw new RangeError(`moments of ${first.length} and ${second.length} entries for ${length} parameters`);
      }
    }
  }

  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    this.#rate = rate;
  }

  /** The arrays are those that the next step changes. */
  get state(): AdamState {
    return { steps: this.#steps, moments: this.#moments };
  }

  /** One step. @param gradients an array per array of parameters; `null` leaves that one, decay included, as it is. */
  step(gradients: readonly (Entries | null)[]): void {
    this.#steps++;
    for (const [index, gradient] of gradients.entries()) {
      if (gradient !== null) this.#stepOne(this.#parameters[index]!, gradient, this.#moments[index]!);
    }
  }

  #stepOne(parameters: Entries, gradient: Entries, { first, second }: Moments): void {
    const { beta1, beta2, epsilon, decay } = this.#options;
    const size = this.#rate / (1 - beta1 ** this.#steps);
    const root = Math.sqrt(1 - beta2 ** this.#steps);
    const shrink = 1 - this.#rate * decay;
    for (let p = 0; p < parameters.length; p++) {
      const g = gradient[p]!;
      const m = beta1 * first[p]! + (1 - beta1) * g;
      const v = beta2 * second[p]! + (1 - beta2) * g * g;
      first[p] = m;
      second[p] = v;
      parameters[p] = parameters[p]! * shrink - (size * m) / (Math.sqrt(v) / root + epsilon);
    }
  }
}

function emptyLike(array: Entries): Entries {
  return array instanceof Float32Array ? new Float32Array(array.length) : new Float64Array(array.length);
}
