/** A Blob or a File that a person picked in a browser; parts are read when they are asked for. */

import { MergewrightError } from "../errors.js";
import { checkRange, closedError } from "./range.js";
import type { ByteSource } from "./source.js";

const NANOSECONDS_OF_A_MILLISECOND = "000000";

export function blobSource(blob: Blob, label = "name" in blob ? String(blob.name) : "blob"): ByteSource {
  let open = true;
  return {
    label,
    stamp: { size: blob.size, version: versionOf(blob) },
    address: null,
    async read(offset, into) {
      if (!open) throw closedError(label);
      checkRange(label, blob.size, offset, into.length);
      if (into.length === 0) return;
      let part: ArrayBuffer;
      try {
        part = await blob.slice(offset, offset + into.length).arrayBuffer();
      } catch (cause) {
        throw readFailure(label, cause);
      }
      if (part.byteLength !== into.length) throw readFailure(label, new Error("fewer bytes than asked for"));
      into.set(new Uint8Array(part));
    },
    close() {
      open = false;
    },
  };
}

function versionOf(blob: Blob): string {
  const modified: unknown = "lastModified" in blob ? blob.lastModified : undefined;
  return typeof modified === "number" && modified > 0 ? `${modified}${NANOSECONDS_OF_A_MILLISECOND}` : "";
}

/** The names are those of the File API specification, section "Errors and Exceptions". */
function readFailure(label: string, cause: unknown): MergewrightError {
  const name = cause instanceof Error ? cause.name : "";
  const where = { file: label };
  if (name === "NotFoundError") {
    const advice = "put the file back and choose it again";
    return new MergewrightError("a file is no longer there", {
      kind: "environment",
      code: "input/vanished",
      where,
      advice,
      cause,
    });
  }
  if (name === "NotReadableError") {
    return new MergewrightError("a file changed after it was chosen, or may not be read", {
      kind: "request",
      code: "input/changed",
      where,
      advice: "choose the file again",
      cause,
    });
  }
  const found = cause instanceof Error ? cause.message : String(cause);
  return new MergewrightError("a file could not be read", {
    kind: "environment",
    code: "io/read",
    where,
    found,
    cause,
  });
}
