/** What an architecture is: its config read into numbers, and its pass written once as operations on a tape. */

import type { Config } from "../config.js";
import type { LinearRule } from "../operations/linear.js";
import type { Tape, Tensor } from "../tape.js";

/** How a definition is run: operations go on the tape, linear layers through the rule. */
export interface Interpreter {
  readonly tape: Tape;
  readonly linear: LinearRule;
  /** Every row of every layer is wanted, as where a layer is looked into; else rows that no logit depends on may be left out. */
  readonly whole: boolean;
  /**
   * Takes the last hidden state, `[count × length, width]`, behind the final norm; absent where nobody asks. Called by
   * definitions whose `hidden` says so; `whole` is then true.
   */
  readonly hidden?: (states: Tensor) => void;
}

export interface ImageTensors {
  readonly kind: "images";
  readonly count: number;
  /** `[count, channels × height × width]`. */
  readonly pixels: Tensor;
}

export interface TextTensors {
  readonly kind: "text";
  readonly count: number;
  readonly length: number;
  /** i32 `[count, length]`. */
  readonly ids: Tensor;
  /** i32 `[count]`; `null` where every sequence has the full length. */
  readonly lengths: Tensor | null;
  /** i32 `[count, length]`; `null` where the architecture knows none. */
  readonly segments: Tensor | null;
  readonly decoder: { readonly length: number; readonly ids: Tensor } | null;
  /** i32: the rows whose logits are wanted; `null` for all. Of language models only. */
  readonly positions: Tensor | null;
}

/** What a model takes. */
export type InputShape =
  | { readonly kind: "images"; readonly channels: number; readonly height: number; readonly width: number }
  | {
      readonly kind: "text";
      readonly vocabulary: number;
      /** Positions there are; `Infinity` where any length will do. */
      readonly longest: number;
      /** Kinds of segments; 0 where it knows none. */
      readonly segments: number;
      /** Takes what it has said so far besides. */
      readonly decoder: boolean;
    };

/** What a checkpoint holds, for what its config leaves open. */
export interface Tensors {
  has(name: string): boolean;
  /** @throws MergewrightError where the tensor is missing. */
  shape(name: string): readonly number[];
}

/** A definition for one config. */
export interface Definition {
  readonly input: InputShape;
  readonly classes: number;
  /** A row of logits per position (language models) or per image or sequence. */
  readonly rows: "positions" | "examples";
  /** Beginnings of the names of the tensors that belong to a task's own head. */
  readonly head: readonly string[];
  /** Rows of activations that one example makes, for cutting batches. */
  readonly tokens: (length: number) => number;
  /** Whether the last hidden state of every position can be looked at. */
  readonly hidden?: boolean;
  /** @returns the logits. */
  readonly build: (net: Interpreter, batch: ImageTensors | TextTensors) => Tensor;
}

export interface Architecture {
  /** As `architectures` in config.json has them. */
  readonly names: readonly string[];
  define(config: Config, tensors: Tensors): Definition;
}
