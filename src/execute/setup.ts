import type { Dtype } from "../numbers/dtypes.js";
import type { SourceAddress, SourceStamp } from "../sources/source.js";
import type { StreamKey } from "../numbers/random.js";
import { streamKey } from "../numbers/random.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { streamsOf } from "../plan/streams.js";
import type { Plan, Stream } from "../plan/types.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { CombineArgs, MixArgs, Quota } from "./job_types.js";

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
  /** Of the method's scores: the most rows of any tensor, and the most ranks asked of a row. */
  readonly scores: { readonly rows: number; readonly ranks: number };
  /** Merges that sources stand for; each after those that it reads. */
  readonly merges: readonly WorkMerge[];
}

/** A merge whose tensors are computed where they are read. */
export interface WorkMerge extends Settled {
  readonly key: string;
  /** Without files, which it never writes, and with no merges of its own: the outermost setup lists all. */
  readonly setup: WorkSetup;
}

/** All that is needed to combine any run of a merge's entries. */
export interface Settled {
  /** Per tensor: how it is combined, or mixed by rows; `null` for one that is copied. */
  readonly args: readonly (CombineArgs | MixArgs | null)[];
  /** For an exact quota: per tensor index and block of it. */
  readonly quotas: ReadonlyMap<number, readonly Quota[]>;
}

export interface WorkSource {
  readonly label: string;
  readonly address: SourceAddress | null;
  readonly stamp: SourceStamp;
}

export interface WorkTensor {
  readonly name: string;
  readonly shape: readonly number[];
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

const NO_SCORES = { rows: 0, ranks: 0 };

/** Entries of a kernel call: long enough to hide the call, short enough for the second-level cache. */
const TILE_ENTRIES = 16_384;
/** Entries that a merge among the inputs reads at once: threads have buffers for each such merge. */
const MERGED_CHUNK_ENTRIES = 65_536;
/** A thread's input buffers stay below this; more models are read in shorter chunks. */
const READ_BUDGET = 8 * 1024 * 1024;

/**
 * What the threads need of a plan.
 * @param path of an output file of the plan.
 * @param settled by key: what is known of the merges among the inputs. Those that are missing cannot be read; their
 * buffers are planned nevertheless.
 */
export function setupOf(
  plan: Plan,
  path: (file: string) => string,
  tuning: Tuning = {},
  settled: ReadonlyMap<string, Settled> = new Map(),
): WorkSetup {
  const merges = plan.merges.map(({ key, plan: inner }): WorkMerge => {
    const { args, quotas } = settled.get(key) ?? { args: [], quotas: new Map() };
    const setup = workOf({ ...inner, files: [] }, (file) => file, tuning, MERGED_CHUNK_ENTRIES);
    // Scores are made where a merge is settled; here it is only combined.
    return { key, args, quotas, setup: { ...setup, scores: NO_SCORES } };
  });
  return { ...workOf(plan, path, tuning, BLOCK_ENTRIES), merges };
}

function workOf(plan: Plan, path: (file: string) => string, tuning: Tuning, mostChunkEntries: number): WorkSetup {
  const models = plan.inputs.filter(({ role }) => role === "model");
  const maxStreams = Math.max(1, ...plan.tensors.map((tensor) => streamsOf(tensor).length));
  const dtypes = plan.tensors.flatMap((tensor) => [tensor.dtype, ...streamsOf(tensor).map(({ dtype }) => dtype)]);
  const maxEntryBytes = Math.max(1, ...new Set(dtypes.map((dtype) => DTYPE_BYTES[dtype])));
  const tileEntries = tuning.tileEntries ?? TILE_ENTRIES;
  let chunkEntries = mostChunkEntries;
  while (chunkEntries > tileEntries && chunkEntries * maxEntryBytes * maxStreams > READ_BUDGET) chunkEntries /= 2;
  return {
    method: plan.method,
    sources: plan.sources.map(({ file, address, stamp }) => ({ label: file, address, stamp })),
    tensors: plan.tensors.map(({ name, shape, entries, dtype, base, inputs, extra, drop, file, offset }) => ({
      name,
      shape,
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
    merges: [],
    scores: plan.scores,
  };
}
