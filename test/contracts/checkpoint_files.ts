/** Safetensors files made by hand, without the code under test: for files that must not exist as well as for good ones. */

/** A file from the JSON text of its header and its data. */
export function rawFile(json: string, data: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(json);
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

/** F32 tensors with the values given, one after the other. */
export function simpleFile(tensors: Readonly<Record<string, readonly number[]>>): Uint8Array {
  let at = 0;
  const members = Object.entries(tensors).map(([name, values]) => {
    const begin = at;
    at += 4 * values.length;
    return `${JSON.stringify(name)}:{"dtype":"F32","shape":[${values.length}],"data_offsets":[${begin},${at}]}`;
  });
  const data = Float32Array.from(Object.values(tensors).flat());
  return rawFile(`{${members.join(",")}}`, new Uint8Array(data.buffer));
}

export function textFile(content: unknown): Uint8Array {
  return new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content));
}
