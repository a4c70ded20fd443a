/**
 * From a definition to tapes, which is where every back end begins: the parameters and linear layers of a network, and what
 * a pass over a part of a batch does.
 */

import type { Definition } from "./architectures/architecture.js";
import { batchPart, partContent, partKey, partTensors } from "./batch.js";
import type { BatchPart } from "./batch.js";
import { ExpertTape, tokenRule } from "./expert_tape.js";
import type { Batch, LayerInfo, WeightSource } from "./network.js";
import { shapeOf, watching, weightOf } from "./operations/linear.js";
import type { LinearRule, Passed } from "./operations/linear.js";
import { expectation, loss } from "./operations/loss.js";
import type { LossKind } from "./operations/loss.js";
import type { Choice, Embeddings, ExpertStacks, Routing } from "./routing.js";
import type { RunBatch } from "./run_parts.js";
import { ParameterTable, Tape } from "./tape.js";
import type { Tensor } from "./tape.js";

/** What a pass is to end in. */
export interface Goal {
  /** `null`: the logits, or nothing but what is tapped. */
  readonly loss: LossKind | null;
  /**
   * Gradients are squared before they are summed: those of each example's loss, or of log p of every class of each
   * example, weighted with p (`expectation`; then there is no loss).
   */
  readonly squares?: "loss" | "expectation";
  /** Parameters whose gradients are wanted; `null` where nothing runs backward. */
  readonly wanted: ReadonlySet<string> | "all" | null;
  /** Layers of which something is handed out. */
  readonly taps?: { readonly layers: readonly string[]; readonly form: "rows" | "grams" };
  /** The last hidden state is handed out, of the network without experts that are chosen per example. */
  readonly hidden?: true;
}

/** Values per row of logits that come with a batch. */
export type RowContent = Readonly<Record<string, Float32Array | Int32Array>>;

/** What a back end does with a definition. */
export interface Engine {
  readonly layers: readonly LayerInfo[];
  /** Names, in the order of their first use. */
  readonly parameters: readonly string[];
  entriesOf(parameter: string): number;
  /** Nothing is loaded unless all tensors are there and have the right shapes. */
  load(weights: WeightSource): Promise<void>;
  /**
   * @param content the targets and weights that the goal needs, a value per row of the whole batch's logits.
   * @param room for all rows of the logits: a part may hand out its place there instead of memory of the engine's own.
   */
  run(batch: Batch, goal: Goal, content: RowContent, room?: Float32Array): Promise<RunBatch>;
  /** Mean last hidden states; absent where the back end has none. */
  embeddings?(batch: Batch): Promise<Embeddings>;
  close(): Promise<void>;
}

/** What passes run on: kernels of our own on threads, or another engine. */
export interface Backend {
  /** @param rule how linear layers are run. @param routing how a pass differs from input to input; `null`: it does not. */
  open(definition: Definition, rule: LinearRule, routing: Routing | null): Engine;
  /** Whether it can run networks that choose per input. */
  readonly routes?: boolean;
  /** Where nothing was opened; an engine that was closes its back end. */
  close(): Promise<void>;
}

/** All experts count, with weights that come with the part. */
const ALL: Choice = { expert: null, weights: new Float32Array(0) };

export class Trace {
  readonly table = new ParameterTable();
  readonly layers: readonly LayerInfo[];
  readonly #rule: LinearRule;
  readonly #stacks: ExpertStacks | null;

  /** @param rule how linear layers are run. */
  constructor(
    readonly definition: Definition,
    rule: LinearRule,
    routing: Routing | null = null,
  ) {
    this.#rule = routing === null || routing.tokens === null ? rule : tokenRule(routing.tokens);
    this.#stacks = routing?.examples?.experts ?? null;
    // A first pass over the definition finds parameters and layers.
    const { tape, linear } = this.#begin(null, ALL);
    const passed: Passed[] = [];
    const part = batchPart(definition.rows, smallestBatch(definition), { from: 0, to: 1 });
    definition.build({ tape, linear: watching(linear, null, passed), whole: true }, partTensors(tape, part));
    this.layers = passed.map(({ layer }) => {
      const { name, inputs, outputs, transposed = false } = layer;
      return { name, inputs, outputs, weight: weightOf(layer), shape: shapeOf(layer), transposed };
    });
  }

  /** @param choice how the part's examples are run; `null`: without experts that are chosen per example. */
  #begin(wanted: Goal["wanted"], choice: Choice | null): { readonly tape: Tape; readonly linear: LinearRule } {
    if (this.#stacks === null || choice === null) return { tape: new Tape(this.table, wanted), linear: this.#rule };
    const tape = new ExpertTape(this.table, this.#stacks, choice.expert);
    return { tape, linear: tape.linear };
  }

  get parameters(): readonly string[] {
    return this.table.list.map(({ name }) => name);
  }

  entriesOf(parameter: string): number {
    return this.table.list[this.numberOf(parameter)]!.entries;
  }

  numberOf(parameter: string): number {
    return this.table.list.findIndex(({ name }) => name === parameter);
  }

  /** Parts and goals with the same key have the same tape. */
  key(part: BatchPart, { loss: kind, wanted, taps, squares, hidden }: Goal, choice: Choice | null = null): string {
    const names = wanted === null || wanted === "all" ? wanted : [...wanted].join(" ");
    const variant = `${hidden} ${choice?.expert}`;
    return `${partKey(part)} | ${kind} ${squares} | ${names} | ${variant} | ${taps?.form} ${taps?.layers.join(" ")}`;
  }

  tape(part: BatchPart, { loss: kind, squares, wanted, taps, hidden }: Goal, choice: Choice | null = null): Tape {
    const { tape, linear: rule } = this.#begin(wanted, choice);
    const passed: Passed[] = [];
    const linear = taps === undefined ? rule : watching(rule, new Set(taps.layers), passed);
    if (hidden === true) {
      const handOut = (states: Tensor) => tape.handOut("hidden", states);
      this.definition.build({ tape, linear, whole: true, hidden: handOut }, partTensors(tape, part));
      return tape;
    }
    const logits = this.definition.build({ tape, linear, whole: taps !== undefined }, partTensors(tape, part));
    if (squares === "expectation") expectation(tape, logits);
    else if (kind !== null) {
      const targets = kind === "cross-entropy" ? tape.indices("targets", part.rows, 1) : null;
      const weights = wanted === null ? null : tape.input("weights", part.rows, 1);
      loss(tape, kind, logits, targets, weights);
    } else if (taps === undefined) tape.handOut("logits", logits);
    if (taps !== undefined) handOutPassed(tape, passed, taps.form);
    return tape;
  }
}

/** What is handed in with a part, by name. */
export function contentOf(part: BatchPart, rows: RowContent): Readonly<Record<string, Float32Array | Int32Array>> {
  const content: Record<string, Float32Array | Int32Array> = { ...partContent(part) };
  for (const [name, values] of Object.entries(rows)) {
    content[name] = values.subarray(part.firstRow, part.firstRow + part.rows);
  }
  return content;
}

/** Hands out what passed linear layers, `x name` and `g name`, as it is or as its sums of products. */
function handOutPassed(tape: Tape, passed: readonly Passed[], form: "rows" | "grams"): void {
  const handOut = (name: string, rows: Tensor) => {
    if (form === "rows") {
      tape.handOut(name, rows);
      return;
    }
    const { rows: depth, columns } = rows;
    const gram = tape.output(name, columns, columns, depth);
    tape.call("gemm", columns, columns, depth, rows, columns, 1, rows, columns, 0, gram, columns, 1, null, 0);
  };
  for (const { layer, x, y } of passed) {
    handOut(`x ${layer.name}`, x);
    const gradient = tape.gradient(y);
    if (gradient !== undefined) handOut(`g ${layer.name}`, gradient);
  }
}

/** A batch of one, for finding parameters. */
function smallestBatch({ input }: Definition): Batch {
  if (input.kind === "images") {
    const { channels, height, width } = input;
    return { kind: "images", count: 1, channels, height, width, pixels: new Float32Array(0) };
  }
  const one = new Int32Array(1);
  const decoder = input.decoder ? { decoder: { length: 1, ids: one } } : {};
  return { kind: "text", count: 1, length: 1, ids: one, lengths: Int32Array.of(1), ...decoder };
}
