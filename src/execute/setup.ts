import type { Dtype } from "../numbers/dtypes.js";
import type { SourceAddress, SourceStamp } from "../sources/source.js";
import type { StreamKey } from "../numbers/random.js";
import { streamKey } from "../numbers/random.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Plan, PlannedTensor, Stream } from "../plan/types.js";
import { BLOCK_ENTRIES } from "./blocks.js";

/** What a thread must know to work on blocks; plain data that can be posted. */
export interface WorkSetup {
  /** Name in the catalogue. */
  readonly method: string;
  readonly sources: readonly WorkSource[];
  readonly tensors: readonly WorkTensor[];
  /** The output files; the platform knows how to open a path. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
  /** Entries per kernel call; a multiple of 8. */
  readonly tileEntries: number;
  /** Entries read at once; a multiple of tileEntries, at most BLOCK_ENTRIES. */
  readonly chunkEntries: number;
  /** Largest number of input streams (base and extras included) of any tensor. */
  readonly maxStreams: number;
  /** Largest number of bytes of an entry, over inputs and outputs. */
  readonly maxEntryBytes: number;
}

export interface WorkSource {
  readonly label: string;
  readonly address: SourceAddress | null;
  readonly stamp: SourceStamp;
}

export interface WorkTensor {
  readonly name: string;
  readonly entries: number;
  readonly dtype: Dtype;
  readonly base: Stream | null;
  /** Per input: the stream and the index of the model it comes from. */
  readonly inputs: readonly { readonly model: number; readonly stream: Stream }[];
  readonly extra: Readonly<Record<string, Stream>>;
  /** DARE, per input. */
  readonly drop: readonly WorkDrop[] | null;
  readonly file: number;
  readonly offset: number;
}

export interface WorkDrop {
  readonly key: StreamKey;
  /** Share dropped, [0, 1]. */
  readonly drop: number;
  readonly rescale: boolean;
}

export interface Tuning {
  readonly tileEntries?: number;
  readonly chunkEntries?: number;
}

/** Entries of a kernel call: long enough to hide the call, short enough for the second-level cache. */
const TILE_ENTRIES = 16_384;
/** A thread's input buffers stay below this; more models are read in shorter chunks. */
const READ_BUDGET = 8 * 1024 * 1024;

/**
 * What the threads need of a plan.
 * @param path of an output file of the plan.
 */
export function setupOf(plan: Plan, path: (file: string) => string, tuning: Tuning = {}): WorkSetup {
  const models = plan.inputs.filter(({ role }) => role === "model");
  const streamsOf = ({ base, inputs, extra }: PlannedTensor) => [
    ...inputs.map(({ stream }) => stream),
    ...(base === null ? [] : [base]),
    ...Object.values(extra),
  ];
  const maxStreams = Math.max(1, ...plan.tensors.map((tensor) => streamsOf(tensor).length));
  const dtypes = plan.tensors.flatMap((tensor) => [tensor.dtype, ...streamsOf(tensor).map(({ dtype }) => dtype)]);
  const maxEntryBytes = Math.max(1, ...new Set(dtypes.map((dtype) => DTYPE_BYTES[dtype])));
  const tileEntries = tuning.tileEntries ?? TILE_ENTRIES;
  let chunkEntries = BLOCK_ENTRIES;
  while (chunkEntries > tileEntries && chunkEntries * maxEntryBytes * maxStreams > READ_BUDGET) chunkEntries /= 2;
  return {
    method: plan.method,
    sources: plan.sources.map(({ file, address, stamp }) => ({ label: file, address, stamp })),
    tensors: plan.tensors.map(({ name, entries, dtype, base, inputs, extra, drop, file, offset }) => ({
      name,
      entries,
      dtype,
      base,
      inputs,
      extra,
      drop:
        drop?.map((share, index) => ({
          key: streamKey(plan.seed, models[inputs[index]!.model]!.name, name),
          drop: share,
          rescale: plan.dare!.rescale,
        })) ?? null,
      file,
      offset,
    })),
    files: plan.files.map(({ name, size }) => ({ path: path(name), size })),
    tileEntries,
    chunkEntries: tuning.chunkEntries ?? chunkEntries,
    maxStreams,
    maxEntryBytes,
  };
}
