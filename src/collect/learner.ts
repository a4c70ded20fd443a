/** Coefficients that Adam moves along ⟨∂L/∂theta_l, x_kl⟩; AdaMerging's rule (arXiv 2310.02575). */
import { Adam, type AdamState } from "../runtime/optimiser.js";

export interface LearnerOptions {
  /** Adam's step size; betas 0.9 and 0.999. */
  readonly rate: number;
  /** What the coefficients are cut to where they are used; `null`: nothing. */
  readonly clamp: readonly [least: number, most: number] | null;
}

/** All that a later run needs to go on. */
export interface LearnerState {
  /** f64 `[groups, models]`, before the clamp. */
  readonly raw: Float64Array;
  readonly adam: AdamState;
}

export class CoefficientLearner {
  /** Per tensor the group of tensors that share a coefficient per model, from 0. */
  readonly #groupOf: readonly number[];
  readonly #models: number;
  readonly #raw: Float64Array;
  readonly #adam: Adam;
  readonly #clamp: LearnerOptions["clamp"];

  /** @param start `[groups, models]`, or the state of an earlier run, whose arrays become the learner's. */
  constructor(groupOf: readonly number[], models: number, start: Float64Array | LearnerState, options: LearnerOptions) {
    this.#groupOf = groupOf;
    this.#models = models;
    const isNew = start instanceof Float64Array;
    this.#raw = isNew ? start.slice() : start.raw;
    this.#adam = new Adam([this.#raw], { rate: options.rate }, isNew ? undefined : start.adam);
    this.#clamp = options.clamp;
  }

  get state(): LearnerState {
    return { raw: this.#raw, adam: this.#adam.state };
  }

  /** As it is used, in f64. */
  coefficient(tensor: number, model: number): number {
    const raw = this.#raw[this.#groupOf[tensor]! * this.#models + model]!;
    return this.#clamp === null ? raw : Math.min(Math.max(raw, this.#clamp[0]), this.#clamp[1]);
  }

  /**
   * The loss differentiated by the raw coefficients, f64 `[groups, models]`: at the clamp's ends it passes, outside it is 0.
   * @param products ⟨∂L/∂theta_l, x_kl⟩, `[tensors, models]`.
   */
  gradient(products: Float64Array): Float64Array {
    const gradient = new Float64Array(this.#raw.length);
    for (const [tensor, group] of this.#groupOf.entries()) {
      for (let model = 0; model < this.#models; model++) {
        gradient[group * this.#models + model]! += products[tensor * this.#models + model]!;
      }
    }
    if (this.#clamp === null) return gradient;
    const [least, most] = this.#clamp;
    return gradient.map((value, index) => (this.#raw[index]! < least || this.#raw[index]! > most ? 0 : value));
  }

  step(products: Float64Array): void {
    this.#adam.step([this.gradient(products)]);
  }
}
