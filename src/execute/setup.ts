import type { Dtype } from "../numbers/dtypes.js";
import type { SourceAddress, SourceStamp } from "../sources/source.js";
import type { StreamKey } from "../numbers/random.js";
import { streamKey } from "../numbers/random.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { streamsOf } from "../plan/streams.js";
import type { Plan, PlannedStatistics, PlannedTensor, Stream } from "../plan/types.js";
import { ranksRows, rowLength } from "../pruners/pruner.js";
import type { Cut } from "../methods/method.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { BlockCuts } from "./blocks.js";
import type { CombineArgs, HeldColumns, MixArgs, Quota } from "./job_types.js";

/** What a thread must know to work on blocks; plain data that can be posted. */
export interface WorkSetup {
  /** Name in the catalogue. */
  readonly method: string;
  readonly sources: readonly WorkSource[];
  readonly tensors: readonly WorkTensor[];
  /** The output files; the platform knows how to open a path. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
  /** Entries per kernel call where they are converted to f32; a multiple of 8. */
  readonly tileEntries: number;
  /** Entries per kernel call where they are used as stored; a multiple of tileEntries, at most chunkEntries. */
  readonly nativeEntries: number;
  /** Entries read at once; a multiple of tileEntries, at most BLOCK_ENTRIES. */
  readonly chunkEntries: number;
  /** Largest number of input streams (base and extras included) of any tensor. */
  readonly maxStreams: number;
  /** The same, without those that are read already for another input. */
  readonly maxReads: number;
  /** Longest row that must be whole in a buffer, in entries; 0 where none must. */
  readonly maxRow: number;
  /** Largest number of bytes of an entry, over inputs and outputs. */
  readonly maxEntryBytes: number;
  /** Of the method's scores: the most rows of any tensor, and the most ranks asked of a row. */
  readonly scores: { readonly rows: number; readonly ranks: number };
  /** Largest number of masks of any tensor. */
  readonly maxMasks: number;
  /** Whether the method measures rows. */
  readonly measured: boolean;
  /** Bytes of the largest table of columns' coefficients that is held here; 0 where it lies elsewhere or there is none. */
  readonly tableBytes: number;
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
  /** Per tensor: how it is combined, or mixed by rows or columns, or that it is stored; `null` for one that is copied. */
  readonly args: readonly (CombineArgs | MixArgs | HeldColumns | "stored" | null)[];
  /** For an exact quota: per tensor index and block of it. */
  readonly quotas: ReadonlyMap<number, readonly Quota[]>;
  /** What pruning must know: the same way, and per model. */
  readonly cuts: ReadonlyMap<number, readonly BlockCuts[]>;
  /** The file in which tensors that are stored lie, at their places in the merge's own file. */
  readonly stored?: { readonly path: string; readonly size: number };
  /** What a person should know of what was settled. */
  readonly warnings?: readonly string[];
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
  /** Of a tensor that is merged as a whole matrix. */
  readonly statistics: PlannedStatistics | null;
  /** Per input what is cut from its change before anything else sees it; `null` for a tensor that is not pruned. */
  readonly prune: readonly (WorkCut | null)[] | null;
  /** Entries of a row. */
  readonly row: number;
  readonly file: number;
  readonly offset: number;
  /** Index of the tensor over which the ends of this one's bands are found, or `null`. */
  readonly ends: number | null;
  /** Per input, where its mask over this tensor goes; empty where there are none. */
  readonly masks: readonly { readonly file: number; readonly offset: number }[];
}

/** A cut with its random numbers. */
export interface WorkCut {
  readonly cut: Cut;
  readonly key: StreamKey;
}

export interface Tuning {
  readonly tileEntries?: number;
  readonly chunkEntries?: number;
}

const NO_SCORES = { rows: 0, ranks: 0 };

/** Entries of a kernel call: long enough to hide the call, short enough for the second-level cache as f32. */
const TILE_ENTRIES = 16_384;
/** The same for entries as stored, which were just read, in longer pieces. */
const NATIVE_ENTRIES = 65_536;
/** Entries that a merge among the inputs reads at once: threads have buffers for each such merge. */
const MERGED_CHUNK_ENTRIES = 65_536;
/** A thread's input buffers stay below this; more models are read in shorter chunks. */
const READ_BUDGET = 2 * 1024 * 1024;

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
    const known = settled.get(key) ?? { args: [], quotas: new Map(), cuts: new Map() };
    const setup = workOf({ ...inner, files: [] }, (file) => file, tuning, MERGED_CHUNK_ENTRIES);
    // Scores are made where a merge is settled; here it is only combined.
    return { key, ...known, setup: { ...setup, scores: NO_SCORES, tableBytes: mostTableBytes(known) } };
  });
  return { ...workOf(plan, path, tuning, BLOCK_ENTRIES), merges };
}

function mostTableBytes({ args }: Settled): number {
  return args.reduce(
    (most, one) => Math.max(most, one !== null && one !== "stored" && "table" in one ? one.table.length : 0),
    0,
  );
}

function workOf(plan: Plan, path: (file: string) => string, tuning: Tuning, mostChunkEntries: number): WorkSetup {
  const models = plan.inputs.filter(({ role }) => role === "model");
  const planned = plan.tensors.map((tensor) => workTensor(plan, models, tensor));
  const ends = endsOf(planned, models.length);
  const masks = masksOf(plan);
  const own = planned.map((tensor, index): WorkTensor => {
    const [end, over] = [ends.get(index) ?? null, masks.get(index) ?? []];
    return end === null && over.length === 0 ? tensor : { ...tensor, ends: end, masks: over };
  });
  const tensors = [...own, ...ends.tensors];
  const { maxStreams, maxReads, maxEntryBytes, maxRow } = mostOf(tensors);
  const tileEntries = tuning.tileEntries ?? TILE_ENTRIES;
  let chunkEntries = mostChunkEntries;
  while (chunkEntries > tileEntries && chunkEntries * maxEntryBytes * maxReads > READ_BUDGET) chunkEntries /= 2;
  chunkEntries = tuning.chunkEntries ?? chunkEntries;
  return {
    method: plan.method,
    sources: plan.sources.map(({ file, address, stamp }) => ({ label: file, address, stamp })),
    tensors,
    files: plan.files.map(({ name, size }) => ({ path: path(name), size })),
    tileEntries,
    nativeEntries: tuning.tileEntries ?? Math.min(chunkEntries, NATIVE_ENTRIES),
    chunkEntries,
    maxStreams,
    maxReads,
    maxRow,
    maxEntryBytes,
    maxMasks: Math.max(0, ...[...masks.values()].map(({ length }) => length)),
    merges: [],
    scores: plan.scores,
    measured: plan.measured,
    tableBytes: 0,
  };
}

/** What buffers must hold. A network of many experts has tens of thousands of tensors, and a plan asks, too. */
function mostOf(tensors: readonly WorkTensor[]) {
  const most = { maxStreams: 1, maxReads: 1, maxEntryBytes: 1, maxRow: 0 };
  for (const tensor of tensors) {
    const streams = streamsOf(tensor);
    most.maxStreams = Math.max(most.maxStreams, streams.length);
    // Streams of the same bytes are read once.
    if (streams.length > most.maxReads) {
      most.maxReads = Math.max(most.maxReads, new Set(streams.map(streamName)).size);
    }
    most.maxEntryBytes = Math.max(most.maxEntryBytes, DTYPE_BYTES[tensor.dtype]);
    for (const { dtype } of streams) most.maxEntryBytes = Math.max(most.maxEntryBytes, DTYPE_BYTES[dtype]);
    if (tensor.row > most.maxRow && wantsRows(tensor)) most.maxRow = tensor.row;
  }
  return most;
}

/** Whether a tensor's entries can only be pruned a whole row at a time. */
export function wantsRows({ prune, shape }: Pick<WorkTensor, "prune" | "shape">): boolean {
  return prune?.some((one) => one !== null && (one.cut.kind === "rank" || ranksRows(one.cut, shape))) ?? false;
}

/** Inputs, base, extras: the order in which a block's streams are read. */
export function readingOrder({ base, inputs, extra }: Pick<WorkTensor, "base" | "inputs" | "extra">): Stream[] {
  return [...inputs.map(({ stream }) => stream), ...(base === null ? [] : [base]), ...Object.values(extra)];
}

/** Equal for streams that are the same bytes. */
export function streamName({ source, offset, dtype }: Stream): string {
  return `${source} ${offset} ${dtype}`;
}

function workTensor(plan: Plan, models: Plan["inputs"], tensor: PlannedTensor): WorkTensor {
  const { name, tiedTo, shape, entries, dtype, base, inputs, extra, prune, file, offset, statistics = null } = tensor;
  const cuts = prune?.map((cut, index) => {
    // Tied tensors are one tensor, so they share their random numbers, too.
    return cut && { cut, key: streamKey(plan.seed, models[inputs[index]!.model]!.name, tiedTo ?? name) };
  });
  const pruned = cuts?.some((cut) => cut !== null) ? cuts : null;
  const row = rowLength(shape);
  const none = { prune: pruned, row, ends: null, masks: NO_MASKS };
  return { name, shape, entries, dtype, base, inputs, extra, statistics, file, offset, ...none };
}

const NO_MASKS: WorkTensor["masks"] = [];

/**
 * Tensors with the same bytes over which the ends of bands are found as thresholds: not pruned, with each model once for
 * the lower end and, where outliers are dropped, once more (as model + the number of models) for the upper.
 */
function endsOf(planned: readonly WorkTensor[], models: number) {
  const tensors: WorkTensor[] = [];
  const indices = new Map<number, number>();
  for (const [index, tensor] of planned.entries()) {
    const bands = tensor.inputs.filter((_, input) => tensor.prune?.[input]?.cut.kind === "band");
    if (bands.length === 0) continue;
    const dropsLargest = tensor.prune!.some((one) => one?.cut.kind === "band" && one.cut.gamma > 0);
    const upper = dropsLargest ? bands.map(({ model, stream }) => ({ model: model + models, stream })) : [];
    indices.set(index, planned.length + tensors.length);
    // Without a place: it is never written.
    tensors.push({ ...tensor, inputs: [...bands, ...upper], extra: {}, prune: null, file: -1, offset: -1 });
  }
  return { tensors, get: (index: number) => indices.get(index) };
}

/** By index of the tensor that they are over: where the masks go, one per input. */
function masksOf({ tensors }: Plan): Map<number, { file: number; offset: number }[]> {
  const masks = new Map<number, { file: number; offset: number }[]>();
  for (const { mask, file, offset } of tensors) {
    if (mask === undefined) continue;
    const places = masks.get(mask.over) ?? [];
    places[mask.input] = { file, offset };
    masks.set(mask.over, places);
  }
  return masks;
}
