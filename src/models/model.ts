import type { SafetensorsHeader, TensorEntry } from "../formats/safetensors/types.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";

/** One weight file of a checkpoint. */
export interface Shard {
  /** Name inside the folder, e.g. `model-00001-of-00004.safetensors`. */
  readonly name: string;
  readonly source: ByteSource;
  readonly header: SafetensorsHeader;
}

/** A named tensor and the shard that holds it. */
export interface StoredTensor extends TensorEntry {
  /** Index into `Checkpoint.shards`. */
  readonly shard: number;
  /**
   * The format of a result that keeps this tensor's format, where it is not `dtype`: a merge that is an input hands its
   * tensors on in F32 and would be written in another format.
   */
  readonly finalDtype?: Dtype;
}

/** A file that travels with the weights: tokenizer, configs, templates. Read whole; never executed. */
export interface SideFile {
  readonly name: string;
  readonly size: number;
  /** Of a file that a plan makes and no folder holds. */
  readonly text?: string;
  read(): Promise<Uint8Array>;
}

/** A Hugging Face folder, or one safetensors file. Only headers and config.json have been read. */
export interface Checkpoint {
  /** As the user wrote it. */
  readonly label: string;
  /** Last part of the path; the name of the model in messages and reports. */
  readonly name: string;
  /** Canonical location, links resolved; "" where there is none (buffers). */
  readonly location: string;
  readonly shards: readonly Shard[];
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Parsed config.json, or `null` where the folder has none. */
  readonly config: Readonly<Record<string, unknown>> | null;
  /** config.json as it is written, whose number formats and unknown keys a result keeps. */
  readonly configText: string | null;
  readonly sideFiles: readonly SideFile[];
  /** Things worth telling, e.g. a pickle beside the safetensors that was ignored. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}
