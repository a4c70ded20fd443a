/** Gives every byte of a safetensors file its place before any of them is known. */

import { MergewrightError } from "../../errors.js";
import type { Dtype } from "../../numbers/dtypes.js";
import { LENGTH_BYTES } from "./header.js";
import { HEADER_BYTES_LIMIT } from "./limits.js";
import { bytesOf } from "./size.js";
import { printable } from "./text.js";
import type { TensorEntry } from "./types.js";

/** A tensor that is to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; `[]` is a scalar. */
  readonly shape: readonly number[];
}

export interface FileLayout {
  /** The 8 length bytes and the JSON header: the beginning of the file. */
  readonly header: Uint8Array;
  /** In the order given, which is the order of the bytes in the file. */
  readonly tensors: readonly TensorEntry[];
  /** Bytes of the whole file. */
  readonly fileSize: number;
}

/** Data sections begin at a multiple of this, as the reference implementation has it. */
const ALIGNMENT = 8;

/**
 * Lays out a file. The result depends on the arguments alone: tensors stay in the order given, metadata is sorted by
 * key. Tensors follow each other without gaps (the format allows none), so for aligned data give wide dtypes first.
 *
 * @param metadata strings to strings; `{ format: "pt" }` is what transformers expects to find.
 */
export function layoutHeader(
  tensors: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>> = {},
): FileLayout {
  const names = new Set<string>();
  const places: { length: number; begin: number }[] = [];
  const members: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    const pairs = keys.map((key) => `${quoted(key)}:${quoted(metadata[key]!)}`);
    members.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === "__metadata__") throw refusal("a tensor has the name that the format reserves for metadata", name);
    if (names.has(name)) throw refusal("two tensors have the same name", name);
    names.add(name);
    if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
      throw refusal(`a tensor has the impossible shape [${shape.join(", ")}]`, name);
    }
    const length = bytesOf(dtype, shape);
    if (length === null || !Number.isSafeInteger(end + length)) throw refusal("a file would pass 2^53 bytes", name);
    members.push(
      `${quoted(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${end},${end + length}]}`,
    );
    places.push({ length, begin: end });
    end += length;
  }
  const header = encode(`{${members.join(",")}}`);
  const entries = tensors.map(({ name, dtype, shape }, index) => {
    const { length, begin } = places[index]!;
    return { name, dtype, shape: [...shape], offset: header.length + begin, length };
  });
  return { header, tensors: entries, fileSize: header.length + end };
}

function encode(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / ALIGNMENT) * ALIGNMENT;
  if (length > HEADER_BYTES_LIMIT) {
    throw new MergewrightError("the header would be longer than a header may be", {
      kind: "request",
      code: "safetensors/limit",
      expected: `at most ${HEADER_BYTES_LIMIT} bytes`,
      found: `${length} bytes`,
      advice: "spread the tensors over several files",
    });
  }
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, LENGTH_BYTES);
  return header;
}

/** A string as JSON; half a surrogate pair has no UTF-8 and would come back as another name. */
function quoted(text: string): string {
  if (/\p{Cs}/u.test(text)) throw refusal("a name is not valid Unicode", text);
  return JSON.stringify(text);
}

function refusal(summary: string, tensor: string): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code: "safetensors/write",
    where: { tensor: printable(tensor) },
  });
}
