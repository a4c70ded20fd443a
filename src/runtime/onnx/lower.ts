/**
 * A tape as an ONNX graph. Every kernel call becomes nodes on values; where a call writes over memory, a storage has a new
 * value from there on. Rows of attention scores, which lie padded in memory, are not padded here.
 */

import { MergewrightError } from "../../errors.js";
import type { KernelName } from "../kernels/definitions.js";
import type { Shape } from "../shapes.js";
import type { ParameterTable, Tape, Tensor } from "../tape.js";
import { Graph, type Value } from "./graph.js";
import { ATTENTION } from "./lower_attention.js";
import { ENTRIES } from "./lower_entries.js";
import { LOSSES } from "./lower_losses.js";
import { NORMS } from "./lower_norms.js";
import { PRODUCTS } from "./lower_products.js";
import { ROWS } from "./lower_rows.js";
import { Lowered } from "./lowered.js";
import type { Lowering } from "./lowered.js";

const LOWERINGS: Readonly<Partial<Record<KernelName, Lowering>>> = {
  ...PRODUCTS,
  ...ENTRIES,
  ...NORMS,
  ...ATTENTION,
  ...ROWS,
  ...LOSSES,
};

/** Names of a graph's inputs and outputs. */
export const weightPort = (parameter: number) => `weight ${parameter}`;
export const gradientPort = (parameter: number) => `gradient ${parameter}`;
export const inputPort = (index: number) => `input ${index}`;
export const outputPort = (index: number) => `output ${index}`;

export interface Written {
  readonly file: Uint8Array;
  /** Parameters by number that the graph reads, and those whose gradients it hands out. */
  readonly weights: readonly number[];
  readonly gradients: readonly number[];
  /** All that is handed out. */
  readonly outputs: readonly Value[];
}

/** A weight's sizes in a graph: those of a vector, or of the matrix with as many rows as its first axis has. */
export function weightDims(shape: Shape): readonly number[] {
  const entries = shape.reduce((product, size) => product * size, 1);
  return shape.length > 1 ? [shape[0]!, entries / shape[0]!] : [entries];
}

/** @throws MergewrightError where a kernel has no form in ONNX. */
export function lower(tape: Tape, table: ParameterTable): Written {
  const graph = new Graph();
  const lowered = new Lowered(graph);
  const used = tensorsOf(tape);
  const weights = numbers(used, "weights");
  for (const number of weights) {
    lowered.bind("weights", number, graph.input(weightPort(number), weightDims(table.list[number]!.shape)));
  }
  for (const [index, { entries, rows, content, whole }] of tape.inputs.entries()) {
    const type = whole ? "int32" : "float32";
    const dims = [rows, entries / rows];
    const value =
      content === null || content.length > LARGEST_CONSTANT
        ? graph.input(inputPort(index), dims, type)
        : graph.constant([...content], dims, type);
    lowered.bind("inputs", index, value);
  }
  const gradients = numbers(used, "gradients");
  for (const number of gradients) lowered.bind("gradients", number, "zeros");
  for (const { kernel, operands } of tape.calls) {
    const rule = LOWERINGS[kernel];
    if (rule === undefined || tape.again !== null) throw notInOnnx(kernel);
    rule(lowered, operands);
  }
  for (const number of gradients) {
    const { shape, entries } = table.list[number]!;
    const rows = shape.length > 1 ? shape[0]! : 1;
    const tensor: Tensor = { area: "gradients", storage: number, rows, columns: entries / rows, active: false };
    graph.output(gradientPort(number), lowered.read(tensor));
  }
  for (const [index, { entries }] of tape.outputs.entries()) {
    const tensor: Tensor = { area: "outputs", storage: index, rows: 1, columns: entries, active: false };
    graph.output(outputPort(index), lowered.read(tensor));
  }
  return { file: graph.finish(), weights, gradients, outputs: graph.outputs };
}

/** Entries of a constant above which it is handed in instead. */
export const LARGEST_CONSTANT = 4096;

function tensorsOf({ calls }: Tape): Tensor[] {
  return calls.flatMap(({ operands }) =>
    operands.filter((operand): operand is Tensor => operand !== null && typeof operand !== "number"),
  );
}

function numbers(tensors: readonly Tensor[], area: Tensor["area"]): number[] {
  return [...new Set(tensors.filter((tensor) => tensor.area === area).map(({ storage }) => storage))];
}

function notInOnnx(kernel: string): MergewrightError {
  return new MergewrightError("this pass has no form in ONNX", {
    kind: "request",
    code: "runtime/backend",
    expected: "operations that both back ends have",
    found: kernel,
    advice: "use the own back end, which is the default",
  });
}
