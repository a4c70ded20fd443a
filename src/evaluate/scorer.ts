import type { Checkpoint } from "../models/model.js";
import type { Batch, Network } from "../runtime/network.js";
import type { Outcomes } from "./outcomes.js";
import type { EvaluatePlatform } from "./platform.js";
import type { Split, Task } from "./task.js";

/** How one type of task is scored; scorers.ts lists them. */
export type Scorer<T extends Task> = (task: T, context: ScoreContext) => Promise<Prepared>;

export interface ScoreContext {
  readonly model: Checkpoint;
  /** The model whose head is attached; `null`: the model's own. */
  readonly head: Checkpoint | null;
  readonly split: Split;
  /** `unused`: examples without labels will do, and predict nothing. Default: needed. */
  readonly labels?: "needed" | "unused";
  readonly platform: EvaluatePlatform;
}

/** A task whose data are read and checked. */
export interface Prepared {
  /** All that the outcomes depend on apart from weights and config; `null` where that cannot be known. */
  readonly content: string | null;
  /** Examples, for progress; `during` of `run` counts them. */
  readonly examples: number;
  /** Things about the data worth telling. */
  readonly notes: readonly string[];
  /** Called when the data are not needed any more. */
  close?(): void | Promise<void>;
  /** The same examples for what learns from them or measures on them; absent where a network has no classes to name. */
  readonly labelled?: LabelledExamples;
  run(open: OpenTaskNetwork, during: During): Promise<Outcomes>;
}

/** Waits for a call that is about so many of a task's examples. */
export type During = <T>(examples: number, call: Promise<T>) => Promise<T>;

/** Examples of a task with what is to be predicted, to be batched at will. */
export interface LabelledExamples {
  readonly count: number;
  /** One more than the highest class among the labels of any split; `null` where classes are tokens. */
  readonly classes: number | null;
  /** Equal for examples that can be batched without padding. */
  shape(example: number): string;
  /**
   * Some examples as a batch, padded to the longest.
   * @returns targets: a class for each row of the batch's logits, `IGNORED` where nothing is predicted.
   */
  batch(examples: readonly number[]): Promise<{ readonly batch: Batch; readonly targets: Int32Array }>;
}

/** Opens the task's network; the caller closes it. */
export type OpenTaskNetwork = () => Promise<Network>;
