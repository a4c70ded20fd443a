/** What a model did on every example of a task: all that metrics, intervals and comparisons are made from. */

import type { Better } from "./task.js";

export type Outcomes = Answers | Windows | Printed;

export interface Answers {
  readonly kind: "answers";
  readonly metric: "accuracy" | "exact_match";
  /** Right answers, in the order of the data. */
  readonly labels: readonly number[];
  /** The model's; −1 where its logits are not finite. */
  readonly answers: readonly number[];
}

/** Of a language model; one entry per window of text. */
export interface Windows {
  readonly kind: "windows";
  readonly metric: "bits_per_byte";
  /** Summed −log p of the window's predicted tokens, in nats. */
  readonly nats: readonly number[];
  /** UTF-8 bytes of the text. */
  readonly bytes: readonly number[];
  /** Predicted tokens. */
  readonly tokens: readonly number[];
}

/** What a command printed. */
export interface Printed {
  readonly kind: "printed";
  readonly metric: string;
  readonly value: number;
  readonly better: Better;
}

/** How many examples there are to resample or compare. */
export function sizeOf(outcomes: Outcomes): number {
  if (outcomes.kind === "answers") return outcomes.labels.length;
  return outcomes.kind === "windows" ? outcomes.nats.length : 1;
}

export function betterOf(outcomes: Outcomes): Better {
  if (outcomes.kind === "printed") return outcomes.better;
  return outcomes.kind === "answers" ? "higher" : "lower";
}

export function valueOf(outcomes: Outcomes): number {
  switch (outcomes.kind) {
    case "answers":
      return correctOf(outcomes) / outcomes.labels.length;
    case "windows":
      return sum(outcomes.nats) / Math.LN2 / sum(outcomes.bytes);
    case "printed":
      return outcomes.value;
  }
}

export function correctOf({ labels, answers }: Answers): number {
  return labels.reduce((count, label, at) => count + (answers[at] === label ? 1 : 0), 0);
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
