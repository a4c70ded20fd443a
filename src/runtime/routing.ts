/** Networks that choose per input: how a pass differs from example to example, or from row to row. */
import type { Batch } from "./batches.js";
import type { RunPart } from "./run_parts.js";

/** How one example is run. Neighbours with the same choice share a part. */
export interface Choice {
  /** The expert that alone counts, or `null`: all count, with `weights`. */
  readonly expert: number | null;
  /** One per expert. */
  readonly weights: Float32Array;
}

/** Mean over an example's own positions of the last hidden state; f32 `[examples, width]`. */
export interface Embeddings {
  readonly rows: number;
  readonly width: number;
  readonly values: Float32Array;
}

export interface Routing {
  /** By weights per example; `null` where rows find their experts inside the layers. */
  readonly examples: {
    readonly experts: ExpertStacks;
    /** One choice per example. @param embed of the network without experts. */
    choose(batch: Batch, embed: () => Promise<Embeddings>): Promise<readonly Choice[]>;
  } | null;
  /** Gates and experts inside the layers. */
  readonly tokens: TokenExperts | null;
  /** Told of every part that was run, while its memory is good. */
  readonly observe?: (parts: readonly RunPart[]) => void;
}

/** What all experts add, stacked tensor by tensor. */
export interface ExpertStacks {
  readonly count: number;
  /** `[experts, entries]`, of tensors that are added whole: the weight's name of the stack. */
  readonly whole: ReadonlyMap<string, string>;
  /** Of factored matrices `[rows, columns]`: the names of `[ranks, rows]` and `[ranks, columns]`, ranks in expert order. */
  readonly factored: ReadonlyMap<
    string,
    { readonly left: string; readonly right: string; readonly ranks: readonly number[] }
  >;
}

/** By the name of the weight. */
export type TokenExperts = ReadonlyMap<string, TokenLayer>;

/** Experts of one linear layer; names of stacks. */
export interface TokenLayer {
  readonly experts: number;
  /** Experts that a row goes through. */
  readonly top: number;
  /** `[experts × gateRank, inputs]`. */
  readonly gates: string;
  readonly gateRank: number;
  /** `[experts × rank, inputs]`; `null` where `left` holds whole differences. */
  readonly right: string | null;
  readonly rank: number;
  /** `[experts × rank, outputs]`, or `[experts × outputs, inputs]` of whole differences. */
  readonly left: string;
  /** `[experts, outputs]`, differences of the biases; `null`: none. */
  readonly bias: string | null;
}
