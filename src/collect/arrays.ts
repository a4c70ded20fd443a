/** Arrays of numbers by name as a safetensors file in memory, and back. */

import { layoutHeader } from "../formats/safetensors/layout.js";
import { parseHeader } from "../formats/safetensors/header.js";

type Numbers = Float32Array | Float64Array;

export interface NamedArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Numbers;
}

export function arraysFile(arrays: readonly NamedArray[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const specs = arrays.map(({ name, shape, values }) => {
    return { name, shape, dtype: values instanceof Float32Array ? ("F32" as const) : ("F64" as const) };
  });
  const layout = layoutHeader(specs, metadata);
  const bytes = new Uint8Array(layout.fileSize);
  bytes.set(layout.header);
  for (const [index, { offset }] of layout.tensors.entries()) {
    const { values } = arrays[index]!;
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
  }
  return bytes;
}

/** F32 and F64 arrays of such a file. @throws safetensors/* where it is none. */
export function readArrays(
  bytes: Uint8Array,
  label: string,
): { metadata: Readonly<Record<string, string>>; arrays: Map<string, Numbers> } {
  const header = parseHeader(bytes, { file: label });
  const arrays = new Map<string, Numbers>();
  for (const { name, dtype, offset, length } of header.tensors) {
    // A copy: Node's buffers, whose slices are views, come here too.
    const own = new Uint8Array(bytes.subarray(offset, offset + length)).buffer;
    if (dtype === "F32") arrays.set(name, new Float32Array(own));
    if (dtype === "F64") arrays.set(name, new Float64Array(own));
  }
  return { metadata: header.metadata, arrays };
}
