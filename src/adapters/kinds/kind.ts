/** What the files in this folder share: each says what one kind of adapter changes, as terms over stored tensors. */
import { printable } from "../../formats/safetensors/text.js";
import type { FoldedTerm, FoldedValues } from "../../sources/folded.js";
import type { Adapter, AdapterTensor } from "../adapter.js";
import { defect } from "../defect.js";

/** An adapter in use. */
export interface Applied {
  readonly adapter: Adapter;
  /** Multiplies its change. */
  readonly weight: number;
  /** Takes out what a fold with this weight put in. */
  readonly undo: boolean;
  /** Where a tensor of it lies among the files of the result. */
  readonly values: (tensor: AdapterTensor, module: string) => FoldedValues;
}

/** The tensor of the base that a module changes. */
export interface Target {
  /** The base's name for it. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The base's label. */
  readonly base: string;
}

/** A term, and the matrices it sees the tensor as. */
export interface Seen {
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  readonly term: FoldedTerm;
}

/** @throws plan/shape naming adapter, module, the adapter's tensor and the base's. */
export function refuseShape(
  { adapter }: Applied,
  module: string,
  tensor: AdapterTensor,
  { name, shape, base }: Target,
  { expected, advice }: { readonly expected: string; readonly advice?: string },
): never {
  throw defect("plan/shape", "a tensor of the base does not fit the adapter", {
    where: { file: adapter.label, tensor: tensor.key, key: module },
    expected: `${printable(name)} of ${expected}`,
    found: `[${shape.join(", ")}] in ${base}`,
    advice: advice ?? "give the base that the adapter was trained on",
  });
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}
