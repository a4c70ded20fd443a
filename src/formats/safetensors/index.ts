/**
 * `mergewright/safetensors`: reads and writes safetensors files of any size piece by piece, in Node and in browsers.
 *
 * ```ts
 * import { layoutHeader, memorySink, memorySource, readHeader, readTensor, SafetensorsWriter } from "mergewright/safetensors";
 *
 * // Every byte has its place before anything is written.
 * const layout = layoutHeader([{ name: "weight", dtype: "F32", shape: [2, 2] }], { format: "pt" });
 * const sink = memorySink(layout.fileSize);
 * const writer = new SafetensorsWriter(sink, layout);
 * await writer.write("weight", new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
 * await writer.close();
 *
 * // A source is a buffer, a Blob, a server with byte ranges, or (from "mergewright" in Node) a file.
 * const source = memorySource(sink.bytes);
 * const header = await readHeader(source);
 * const bytes = await readTensor(source, header.tensors[0]);
 * ```
 *
 * A header is checked completely before it is returned: no duplicate names, no holes, no overlaps, nothing outside the
 * file. Every error is a `MergewrightError` that names the file, the tensor and what to do.
 */

export { MergewrightError } from "../../errors.js";
export type { ErrorCode, ErrorKind, Where } from "../../errors.js";
export { DTYPE_BYTES, isDtype, isFloat } from "../../numbers/dtypes.js";
export type { Dtype, FloatDtype } from "../../numbers/dtypes.js";
export { blobSource } from "../../sources/blob.js";
export { httpSource } from "../../sources/http.js";
export type { HttpOptions } from "../../sources/http.js";
export { memorySink, memorySource } from "../../sources/memory.js";
export type { MemorySink } from "../../sources/memory.js";
export type { ByteSink } from "../../sources/sink.js";
export type { ByteSource, SourceAddress, SourceStamp } from "../../sources/source.js";
export { parseHeader, readHeader } from "./header.js";
export type { ParseOptions } from "./header.js";
export { layoutHeader } from "./layout.js";
export type { FileLayout, TensorSpec } from "./layout.js";
export { HEADER_BYTES_LIMIT, RANK_LIMIT } from "./limits.js";
export { readTensor, streamTensor } from "./read.js";
export { shardTensors } from "./shard.js";
export type { Shards } from "./shard.js";
export type { SafetensorsHeader, TensorEntry } from "./types.js";
export { SafetensorsWriter } from "./write.js";
