import { MergewrightError } from "../errors.js";
import type { Activation } from "./kernels/activation.js";

/** What config.json calls the activations. */
const ACTIVATION_NAMES: Readonly<Record<string, Activation>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  quick_gelu: "quick_gelu",
  silu: "silu",
  swish: "silu",
  relu: "relu",
  tanh: "tanh",
};

/** Values of config.json by key, checked. */
export class Config {
  readonly #label: string;
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(label: string, values: Readonly<Record<string, unknown>>) {
    this.#label = label;
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined && this.#values[key] !== null;
  }

  /** @throws MergewrightError where there is no such number. */
  number(key: string, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.#values[key];
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.wrong(key, "a number");
    return value;
  }

  /** A whole number above 0. */
  count(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isSafeInteger(value) || value < 1) throw this.wrong(key, "a whole number above 0");
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    if (!this.has(key)) return fallback;
    const value = this.#values[key];
    if (typeof value !== "boolean") throw this.wrong(key, "true or false");
    return value;
  }

  text(key: string, fallback: string): string {
    if (!this.has(key)) return fallback;
    const value = this.#values[key];
    if (typeof value !== "string") throw this.wrong(key, "a text");
    return value;
  }

  activation(key: string, fallback: string): Activation {
    const found = ACTIVATION_NAMES[this.text(key, fallback)];
    if (found === undefined) throw this.wrong(key, `one of ${Object.keys(ACTIVATION_NAMES).join(", ")}`);
    return found;
  }

  /** An object inside; empty where there is none. */
  part(key: string): Config {
    const value = this.#values[key];
    const inside = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
    return new Config(`${this.#label}: ${key}`, inside);
  }

  /** A list of texts; empty where there is none. */
  texts(key: string): readonly string[] {
    const value = this.#values[key];
    return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];
  }

  wrong(key: string, expected: string): MergewrightError {
    return new MergewrightError("the model's config does not say how to run it", {
      kind: "request",
      code: "runtime/config",
      where: { file: this.#label, key },
      expected,
      found: JSON.stringify(this.#values[key]) ?? "nothing",
      advice: "the config must be the one the model was saved with",
    });
  }
}
