/** Pieces that several architectures share. */

import type { Config } from "../config.js";
import type { LinearLayer } from "../operations/linear.js";
import { take } from "../operations/rows.js";
import type { Tape, Tensor } from "../tape.js";
import type { ImageTensors, Interpreter, TextTensors } from "./architecture.js";

/** The index of the first row of each of `count` runs of `length` rows. */
export function firstRows(tape: Tape, count: number, length: number): Tensor {
  return tape.input(
    "first rows",
    count,
    1,
    Int32Array.from({ length: count }, (_, n) => n * length),
  );
}

/** Of a language model: the rows whose logits are wanted. */
export function wantedRows(tape: Tape, x: Tensor, { positions }: TextTensors): Tensor {
  return positions === null ? x : take(tape, positions, x);
}

export function imagesOf(batch: ImageTensors | TextTensors): ImageTensors {
  if (batch.kind !== "images") throw new RangeError("a vision model takes images");
  return batch;
}

export function textOf(batch: ImageTensors | TextTensors): TextTensors {
  if (batch.kind !== "text") throw new RangeError("a text model takes text");
  return batch;
}

/** Linear layers of one module, by the rest of their names. */
export function linearsOf({ tape, linear }: Interpreter, module: string) {
  return (name: string, outputs: number, x: Tensor, options: Partial<Omit<LinearLayer, "name">> = {}): Tensor =>
    linear(tape, { name: `${module}${name}`, inputs: x.columns, outputs, bias: true, ...options }, x);
}

/** Entries of a head. @throws MergewrightError unless the heads divide the width. */
export function headSize(config: Config, width: number, heads: number, key: string): number {
  if (width % heads !== 0) throw config.wrong(key, `a divisor of the width ${width}`);
  return width / heads;
}

/** Attention that sees everything. */
export const OPEN = { causal: false, window: 0, lengths: null, bias: null } as const;
