import type { Method } from "../methods/method.js";

/** What reading a recipe needs besides its text. */
export interface RecipeContext {
  /** For messages. */
  readonly file?: string;
  /** Every method a recipe may name. */
  readonly methods: readonly Method[];
  /** Seed of a recipe that names none; 0 if absent. */
  readonly seedDefault?: number;
  /** For what learns coefficients: a table that the recipe names need not be there, and is not looked at. */
  readonly withoutCoefficients?: boolean;
  /** How a recipe of mergekit that does not say is read; `mergekit` if absent. */
  readonly compat?: "mergekit" | "strict";
}
