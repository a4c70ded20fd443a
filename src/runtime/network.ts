/** A model that can be run: what evaluation and search know of the runtime. */

import type { Batch } from "./batches.js";
import type { Embeddings, Routing } from "./routing.js";
import type { LinearRule } from "./operations/linear.js";
import type { Shape } from "./shapes.js";

export type * from "./batches.js";

/** f32 `[rows, classes]`: a row per image, per sequence of a classifier, or per position asked for. */
export interface Logits {
  readonly rows: number;
  readonly classes: number;
  readonly values: Float32Array;
}

/** A row with this target takes no part in a loss. */
export const IGNORED = -1;

/**
 * What is minimised: the weighted sum over rows of
 * - `cross-entropy`: −log p(target), in nats;
 * - `entropy`: −Σ_c p(c) log p(c), in nats, which needs no labels.
 *
 * Weights are 1 / (number of rows that count) where absent, so the loss is a mean.
 */
export type Loss =
  | { readonly kind: "cross-entropy"; readonly targets: Int32Array; readonly weights?: Float32Array }
  | { readonly kind: "entropy"; readonly weights?: Float32Array };

export interface Gradients {
  readonly loss: number;
  /** By tensor name, in the tensor's own shape and order. A tied tensor has the sum of its uses. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
}

/** A linear layer of a network. */
export interface LayerInfo {
  /** Name of its module, e.g. `vit.encoder.layer.0.output.dense`. */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Its weight's tensor; several layers may share one. */
  readonly weight: string;
  /** The weight's shape as stored: `[outputs, inputs]`, turned round, or a convolution's. */
  readonly shape: Shape;
  /** The weight is stored `[inputs, outputs]`. */
  readonly transposed: boolean;
}

/** What passes a linear layer, row by row: positions of an example one after the other. */
export interface Rows {
  readonly rows: number;
  /** f32 `[rows, inputs]`. */
  readonly inputs: Float32Array;
  /** f32 `[rows, outputs]`: the loss differentiated by the layer's outputs; `null` without a loss. */
  readonly outputGradients: Float32Array | null;
}

/** Sums over rows, without the rows themselves. */
export interface Grams {
  readonly rows: number;
  /** X^T X, `[inputs, inputs]`: f32 products per part of the batch, summed in f64. */
  readonly inputs: Float64Array;
  /** G^T G, `[outputs, outputs]`, of the output gradients; `null` without a loss. */
  readonly outputGradients: Float64Array | null;
}

/** Weights by name, from files or from memory. */
export interface WeightSource {
  /** For messages. */
  readonly label: string;
  /** Parsed config.json. */
  readonly config: Readonly<Record<string, unknown>> | null;
  readonly names: Iterable<string>;
  /** `undefined` for a name that is not there. */
  shape(name: string): Shape | undefined;
  /** The entries in row-major order, widened to f32. */
  tensor(name: string): Promise<Float32Array>;
}

/**
 * A network with weights, ready to run. Calls may overlap; they are served in order. Results do not depend on the
 * number of threads.
 */
export interface Network {
  /** As in config.json: "ViTForImageClassification", "LlamaForCausalLM", … */
  readonly architecture: string;
  /** The tensors it uses, named as in the checkpoint. */
  readonly parameters: readonly string[];
  /** Columns of the logits. */
  readonly classes: number;
  /**
   * @param into f32, at least as many entries as there are logits: where they are written, instead of into new memory
   * for each batch, which large vocabularies make dear.
   */
  logits(batch: Batch, into?: Float32Array): Promise<Logits>;
  /**
   * Cross-entropy of each row in nats, without handing out the logits; 0 where the target is `IGNORED`.
   * @param targets a class per row of the logits.
   */
  losses(batch: Batch, targets: Int32Array): Promise<Float32Array>;
  /** @param parameters those whose gradients are wanted; all of them where absent. */
  gradients(batch: Batch, loss: Loss, parameters?: readonly string[]): Promise<Gradients>;
  /** Takes other weights of the same shapes, such as the next merged candidate. */
  load(weights: WeightSource): Promise<void>;
  close(): Promise<void>;
}

/**
 * Whose gradients are squared: of log p of the targets of each example (summed over its rows), or, row by row, of log p of
 * every class, weighted with its probability. The latter is what the former is on average over targets that are drawn from
 * the network, since gradients of different rows are then uncorrelated. It takes a backward pass for each row and class;
 * a language model's rows whose target is `IGNORED` are left out, none where there are no targets.
 */
export type Squared =
  | { readonly kind: "targets"; readonly targets: Int32Array }
  | { readonly kind: "expectation"; readonly targets?: Int32Array };

/** Backward passes that an expectation may take for one example: rows of it times classes. */
export const MOST_TURNS = 2 ** 16;

/** A network whose linear layers can be looked into. */
export interface TappedNetwork extends Network {
  /** Its linear layers in the order in which they run. */
  readonly layers: readonly LayerInfo[];
  /** What passes some linear layers; with a loss also its gradients by their outputs. */
  activations(batch: Batch, layers: readonly string[], loss?: Loss): Promise<ReadonlyMap<string, Rows>>;
  /**
   * Per parameter the sum over the batch's examples of the squared gradients of log p, f32, in the tensor's own shape and
   * order. Every example runs backward by itself; a tied tensor's uses are added before they are squared.
   */
  squaredGradients(
    batch: Batch,
    of: Squared,
    parameters?: readonly string[],
  ): Promise<ReadonlyMap<string, Float32Array>>;
  /** Of every example the mean over its positions of the last hidden state, without experts. */
  embeddings(batch: Batch): Promise<Embeddings>;
  /** The same as sums of products, of bounded size. */
  grams(batch: Batch, layers: readonly string[], loss?: Loss): Promise<ReadonlyMap<string, Grams>>;
}

export interface NetworkOptions {
  readonly threads: number;
  /**
   * Where the head's tensors come from (`classifier.*`, `score.*`), where not from the checkpoint itself; its own class
   * count holds.
   */
  readonly head?: WeightSource;
  /** What passes run on; `own` where absent. Only Node has others. */
  readonly backend?: BackendName;
  /** How linear layers are run, where not plainly: with adapters or experts of one's own. Their parameters are weights. */
  readonly linear?: LinearRule;
  /** Experts that are chosen per input; their stacks are weights. */
  readonly routing?: Routing;
  /** Told now and then while a call runs: the share of its work, between 0 and 1, that is done. */
  readonly progress?: (share: number) => void;
}

/** `own`: the kernels of this package, the same bits everywhere. `onnx`: onnxruntime-node, where it is installed. */
export type BackendName = "own" | "onnx";

/** Opens a network over weights; each platform has one. */
export type OpenNetwork = (weights: WeightSource, options: NetworkOptions) => Promise<Network>;
