/** Bytes that are already in memory, as a source, and a sink that keeps what is written to it. */

import { checkPlace, checkRange, closedError } from "./range.js";
import type { ByteSink } from "./sink.js";
import type { ByteSource } from "./source.js";

/** The bytes are not copied; do not change them while the source is in use. */
export function memorySource(data: ArrayBuffer | Uint8Array, label = "memory"): ByteSource {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  let open = true;
  return {
    label,
    stamp: { size: bytes.length, version: "" },
    address: null,
    read(offset, into) {
      if (!open) throw closedError(label);
      checkRange(label, bytes.length, offset, into.length);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    close() {
      open = false;
    },
  };
}

export interface MemorySink extends ByteSink {
  /** The whole file; zeros where nothing was written. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function memorySink(size: number, label = "memory"): MemorySink {
  const bytes = new Uint8Array(size);
  return {
    label,
    bytes,
    write(offset, data) {
      checkPlace(label, size, offset, data.length);
      bytes.set(data, offset);
    },
    close() {},
  };
}
