import type { Checkpoint } from "../models/model.js";
import type { Network } from "../runtime/network.js";
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
  readonly platform: EvaluatePlatform;
}

/** A task whose data are read and checked. */
export interface Prepared {
  /** All that the outcomes depend on apart from weights and config; `null` where that cannot be known. */
  readonly content: string | null;
  /** Examples, for progress; `done` of `run` counts them. */
  readonly examples: number;
  /** Things about the data worth telling. */
  readonly notes: readonly string[];
  /** Called when the data are not needed any more. */
  close?(): void | Promise<void>;
  run(open: OpenTaskNetwork, done: (examples: number) => void): Promise<Outcomes>;
}

/** Opens the task's network; the caller closes it. */
export type OpenTaskNetwork = () => Promise<Network>;
