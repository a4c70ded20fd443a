/** Batches: checked against what a model takes, cut into parts, written into memory. */

import { MergewrightError } from "../errors.js";
import type { Definition, ImageTensors, TextTensors } from "./architectures/architecture.js";
import type { Batch, ImageBatch } from "./network.js";
import type { Part } from "./parts.js";
import type { Tape } from "./tape.js";

function refuse(problem: string, expected: string, found: string, advice: string): never {
  throw new MergewrightError(problem, { kind: "request", code: "runtime/batch", expected, found, advice });
}

/** @throws MergewrightError where the model cannot take the batch. */
export function checkBatch({ input, rows }: Definition, batch: Batch): void {
  if (batch.kind !== input.kind) {
    refuse("the data do not fit the model", input.kind, batch.kind, "choose data of the model's kind");
  }
  if (!Number.isSafeInteger(batch.count) || batch.count < 1) {
    refuse("a batch is empty", "at least one example", String(batch.count), "leave empty batches out");
  }
  if (batch.kind === "images" && input.kind === "images") checkImages(input, batch);
  if (batch.kind !== "text" || input.kind !== "text") return;
  checkIds(batch.ids, batch, input);
  if (batch.lengths.length !== batch.count || batch.lengths.some((n) => n < 1 || n > batch.length)) {
    refuse("lengths of sequences are wrong", `1 to ${batch.length}, one per sequence`, "others", "count the tokens");
  }
  if (batch.segments?.some((segment) => segment < 0 || segment >= Math.max(1, input.segments))) {
    refuse("segments are unknown", `0 to ${Math.max(1, input.segments) - 1}`, "others", "number segments from 0");
  }
  if (input.decoder !== (batch.decoder !== undefined)) {
    refuse("the decoder's tokens are", input.decoder ? "there" : "absent", input.decoder ? "absent" : "there", "");
  }
  if (batch.decoder !== undefined) checkIds(batch.decoder.ids, { ...batch, length: batch.decoder.length }, input);
  if (batch.positions === undefined) return;
  if (rows === "examples") refuse("a classifier has no positions", "none", "positions", "leave them out");
  const end = batch.count * (batch.decoder?.length ?? batch.length);
  let before = -1;
  for (const position of batch.positions) {
    if (position <= before || position >= end) {
      refuse("positions are not ascending or not there", `0 to ${end - 1}`, String(position), "sort them");
    }
    before = position;
  }
}

function checkImages(
  { channels, height, width }: { readonly channels: number; readonly height: number; readonly width: number },
  batch: ImageBatch,
): void {
  if (batch.channels !== channels || batch.height !== height || batch.width !== width) {
    refuse(
      "images are of another size than the model's",
      `${channels} x ${height} x ${width} (channels, height, width)`,
      `${batch.channels} x ${batch.height} x ${batch.width}`,
      "resize the images, or check the model's preprocessing",
    );
  }
  const entries = batch.count * channels * height * width;
  if (batch.pixels.length !== entries) {
    refuse("pixels are missing or too many", `${entries} values`, String(batch.pixels.length), "check the data");
  }
}

function checkIds(
  ids: Int32Array,
  { count, length }: { readonly count: number; readonly length: number },
  { vocabulary, longest }: { readonly vocabulary: number; readonly longest: number },
): void {
  if (length < 1 || length > longest) {
    refuse("a text is too long for the model", `1 to ${longest} tokens`, String(length), "use shorter windows");
  }
  if (ids.length !== count * length) {
    refuse("tokens are missing or too many", `${count * length} ids`, String(ids.length), "pad to one length");
  }
  const wrong = ids.find((id) => id < 0 || id >= vocabulary);
  if (wrong !== undefined) {
    refuse("a token is not in the vocabulary", `0 to ${vocabulary - 1}`, String(wrong), "use the model's tokenizer");
  }
}

/** A part of a batch with a number of rows of logits. */
export interface BatchPart extends Part {
  readonly batch: Batch;
  /** Rows of logits, and where the first of them is among the rows of the whole batch. */
  readonly rows: number;
  readonly firstRow: number;
  /** Of a text whose rows were chosen: places within the part. */
  readonly positions: Int32Array | null;
}

/** Length that logits are counted in. */
export function rowsPerExample(rows: Definition["rows"], batch: Batch): number {
  return rows === "examples" || batch.kind === "images" ? 1 : (batch.decoder?.length ?? batch.length);
}

export function batchPart(rows: Definition["rows"], batch: Batch, { from, to }: Part): BatchPart {
  const each = rowsPerExample(rows, batch);
  const chosen = batch.kind === "text" ? batch.positions : undefined;
  if (chosen === undefined) {
    return { batch, from, to, rows: (to - from) * each, firstRow: from * each, positions: null };
  }
  const firstRow = chosen.filter((position) => position < from * each).length;
  const positions = chosen.filter((position) => position >= from * each && position < to * each);
  return { batch, from, to, rows: positions.length, firstRow, positions: positions.map((p) => p - from * each) };
}

/** Parts with the same key can share a program. */
export function partKey({ batch, from, to, rows, positions }: BatchPart): string {
  if (batch.kind === "images") return `images ${to - from}`;
  const { length, decoder, lengths } = batch;
  const masked = lengths.subarray(from, to).some((n) => n < length);
  return [to - from, length, decoder?.length, masked, batch.segments !== undefined, positions !== null, rows].join(" ");
}

/** What comes with a part, as tensors on a tape. */
export function partTensors(tape: Tape, part: BatchPart): ImageTensors | TextTensors {
  const { batch, from, to } = part;
  const count = to - from;
  if (batch.kind === "images") {
    const { channels, height, width } = batch;
    return { kind: "images", count, pixels: tape.input("pixels", count, channels * height * width) };
  }
  const { length, lengths, segments, decoder } = batch;
  const masked = lengths.subarray(from, to).some((n) => n < length);
  return {
    kind: "text",
    count,
    length,
    ids: tape.indices("ids", count, length),
    lengths: masked ? tape.indices("lengths", count, 1) : null,
    segments: segments === undefined ? null : tape.indices("segments", count, length),
    decoder:
      decoder === undefined
        ? null
        : { length: decoder.length, ids: tape.indices("decoder ids", count, decoder.length) },
    positions: part.positions === null ? null : tape.indices("positions", part.positions.length, 1),
  };
}

/** What a part holds, by the names of `partTensors`. */
export function partContent(part: BatchPart): Readonly<Record<string, Float32Array | Int32Array>> {
  const { batch, from, to, positions } = part;
  if (batch.kind === "images") {
    const entries = batch.channels * batch.height * batch.width;
    return { pixels: batch.pixels.subarray(from * entries, to * entries) };
  }
  const { ids, lengths, segments, decoder, length } = batch;
  return {
    ids: ids.subarray(from * length, to * length),
    lengths: lengths.subarray(from, to),
    ...(segments !== undefined && { segments: segments.subarray(from * length, to * length) }),
    ...(decoder !== undefined && {
      "decoder ids": decoder.ids.subarray(from * decoder.length, to * decoder.length),
    }),
    ...(positions !== null && { positions }),
  };
}
