import type { Dtype } from "../../numbers/dtypes.js";

/** One tensor's entry in a safetensors file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** First byte in the file (not relative to the data section). */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

export interface SafetensorsHeader {
  /** In the order of the bytes in the file. */
  readonly tensors: readonly TensorEntry[];
  /** The `__metadata__` object; strings to strings. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the data section begins: 8 + header length. */
  readonly dataStart: number;
  /** Bytes of the whole file. */
  readonly fileSize: number;
  /** XXH64 of the 8 length bytes and the header, 16 hex digits. */
  readonly hash: string;
}
