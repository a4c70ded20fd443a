import type { Checkpoint } from "../models/model.js";

/**
 * - `problem`: the merge fails, or its result is surely not what is wanted.
 * - `warning`: worth a decision before the merge.
 * - `note`: good to know.
 */
export type Level = "problem" | "warning" | "note";

export type Topic =
  | "plan"
  | "tensors"
  | "config"
  | "tokens"
  | "formats"
  | "weights"
  | "changes"
  | "signs"
  | "mergekit"
  | "cost";

/** One thing found before a merge: what it is, and what to do about it. */
export interface Finding {
  readonly level: Level;
  readonly topic: Topic;
  /** One sentence. */
  readonly what: string;
  /** An imperative sentence. */
  readonly advice: string;
}

/** A checkpoint under the name that a recipe gives it; the first of a list is the donor of config and tokenizer. */
export interface Named {
  readonly name: string;
  readonly checkpoint: Checkpoint;
}

/** `a, b and 3 more`. */
export function fewOf(items: readonly string[], most = 3): string {
  const shown = items.slice(0, most).join(", ");
  return items.length > most ? `${shown} and ${items.length - most} more` : shown;
}

/** With two significant digits however small: `0.031 %`. */
export function percent(share: number): string {
  return `${Number((100 * share).toPrecision(2))} %`;
}
