import { MergewrightError } from "../../errors.js";
import { partitionPoint } from "../../numbers/partition.js";
import type { ByteSink } from "../../sources/sink.js";
import { layoutHeader, type FileLayout, type TensorSpec } from "./layout.js";
import { printable } from "./text.js";
import type { TensorEntry } from "./types.js";

/**
 * Writes a safetensors file piece by piece, in any order, without ever holding a tensor.
 *
 * The header goes out last: a file that was not finished begins with zeros and no reader takes it for a checkpoint.
 */
export class SafetensorsWriter {
  readonly #sink: ByteSink;
  readonly #layout: FileLayout;
  readonly #tensors = new Map<string, { readonly entry: TensorEntry; readonly written: Ranges }>();
  #underWay = 0;
  #closed = false;

  /** @param sink a file of exactly `layout.fileSize` bytes; the writer closes it. */
  constructor(sink: ByteSink, layout: FileLayout) {
    this.#sink = sink;
    this.#layout = layout;
    for (const entry of layout.tensors) this.#tensors.set(entry.name, { entry, written: new Ranges() });
  }

  /** Lays the file out and opens a writer on it. */
  static create(
    open: (fileSize: number) => ByteSink,
    tensors: readonly TensorSpec[],
    metadata: Readonly<Record<string, string>> = {},
  ): SafetensorsWriter {
    const layout = layoutHeader(tensors, metadata);
    return new SafetensorsWriter(open(layout.fileSize), layout);
  }

  /** Writes some bytes of a tensor. @param at their place in the tensor's data. */
  async write(name: string, bytes: Uint8Array, at = 0): Promise<void> {
    const tensor = this.#tensors.get(name);
    if (this.#closed) throw this.#defect("the file is already complete", name);
    if (tensor === undefined) throw this.#defect("the file has no tensor of this name", name);
    const { entry, written } = tensor;
    const end = at + bytes.length;
    if (!Number.isSafeInteger(at) || at < 0 || end > entry.length) {
      throw this.#defect("bytes were written past the end of a tensor", name, {
        expected: `at most ${entry.length} bytes`,
        found: `bytes ${at} to ${end}`,
      });
    }
    if (!written.add(at, end)) {
      throw this.#defect("bytes of a tensor were written twice", name, { found: `bytes ${at} to ${end}` });
    }
    if (bytes.length === 0) return;
    this.#underWay++;
    try {
      await this.#sink.write(entry.offset + at, bytes);
    } catch (error) {
      written.remove(at, end);
      throw error;
    } finally {
      this.#underWay--;
    }
  }

  /** Completes the file; fails where a byte is missing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.#underWay > 0) throw this.#defect("the file was closed while a write was under way", undefined);
    for (const { entry, written } of this.#tensors.values()) {
      const gap = written.firstGap(entry.length);
      if (gap !== null) {
        throw this.#defect("a tensor was not written completely", entry.name, {
          expected: `${entry.length} bytes`,
          found: `nothing at byte ${gap}`,
        });
      }
    }
    this.#closed = true;
    await this.#sink.write(0, this.#layout.header);
    await this.#sink.close();
  }

  #defect(
    summary: string,
    tensor: string | undefined,
    details: { readonly expected?: string; readonly found?: string } = {},
  ): MergewrightError {
    const where = { file: this.#sink.label, ...(tensor === undefined ? {} : { tensor: printable(tensor) }) };
    return new MergewrightError(summary, { kind: "request", code: "safetensors/write", where, ...details });
  }
}

/** A set of byte ranges, kept sorted and joined; one range for a tensor that is written from front to back. */
class Ranges {
  readonly #ranges: { begin: number; end: number }[] = [];

  /** Returns false, and changes nothing, where a byte is already there. */
  add(begin: number, end: number): boolean {
    if (begin === end) return true;
    const at = this.#firstAfter(begin);
    const before = this.#ranges[at - 1];
    const after = this.#ranges[at];
    if ((before !== undefined && before.end > begin) || (after !== undefined && after.begin < end)) return false;
    const joinsBefore = before?.end === begin;
    const joinsAfter = after?.begin === end;
    if (joinsBefore && joinsAfter) {
      before.end = after.end;
      this.#ranges.splice(at, 1);
    } else if (joinsBefore) before.end = end;
    else if (joinsAfter) after.begin = begin;
    else this.#ranges.splice(at, 0, { begin, end });
    return true;
  }

  /** Takes back what one `add` put in. */
  remove(begin: number, end: number): void {
    if (begin === end) return;
    const at = this.#firstAfter(begin) - 1;
    const range = this.#ranges[at]!;
    const rest = [
      { begin: range.begin, end: begin },
      { begin: end, end: range.end },
    ];
    this.#ranges.splice(at, 1, ...rest.filter((part) => part.begin < part.end));
  }

  /** The first byte below `length` that is not there. */
  firstGap(length: number): number | null {
    const [first] = this.#ranges;
    if (length === 0 || (first?.begin === 0 && first.end === length)) return null;
    return first?.begin === 0 ? first.end : 0;
  }

  /** Index of the first range that begins after `place`. */
  #firstAfter(place: number): number {
    return partitionPoint(this.#ranges.length, (index) => this.#ranges[index]!.begin <= place);
  }
}
