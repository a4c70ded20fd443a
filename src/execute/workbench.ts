import { convertKernels } from "../kernels/convert/binding.js";
import type { ConvertKernels, KernelDtype } from "../kernels/convert/binding.js";
import { contextBytes, KernelContext, scratchBytes } from "../kernels/context.js";
import { gramBytes } from "../kernels/gram/binding.js";
import type { Kernels } from "../kernels/load.js";
import { masksBytes } from "../kernels/masks/binding.js";
import { SCORE_STATE_BYTES } from "../kernels/scores/binding.js";
import { narrow, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Dtype, FloatDtype } from "../numbers/dtypes.js";
import type { ByteSource } from "../sources/source.js";
import type { Stream } from "../plan/types.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Block, BlockCut } from "./blocks.js";
import { bandCounts, Pruning, pruningBytes, SUMS_BYTES } from "./pruning.js";
import type { BandCounts, Run } from "./pruning.js";
import { readingOrder, streamName, wantsRows } from "./setup.js";
import type { WorkSetup, WorkTensor } from "./setup.js";

/** Streams lie this many bytes further apart than their size: equal offsets modulo 4 KiB compete for cache ways. */
const STAGGER = 960;
const PAGE = 4096;
/** Moves a buffer out of the slow alignments. */
const SLIP_BYTES = 64;
/** Kernels work on eight entries at once, so every buffer ends with room for seven more. */
const LANES = 8;
export function isKernelDtype(dtype: Dtype): dtype is KernelDtype {
  return dtype === "BF16" || dtype === "F16" || dtype === "F32";
}

/** A run of a block's entries, ready for a kernel: addresses in kernel memory, all entries in one format. */
export interface PreparedTile {
  /** Index of the first entry in the tensor. */
  readonly start: number;
  /** Entries that count. */
  readonly count: number;
  /** `count` rounded up to a multiple of eight; the added entries are zero in every stream. */
  readonly padded: number;
  readonly format: KernelDtype;
  /** What is subtracted from every input: the base where changes are wanted and `inputs` are none yet, else zeros. */
  readonly subtract: number;
  /** What a change is added to: the base, or zeros for a tensor without one. */
  readonly add: number;
  readonly inputs: readonly number[];
  /** Extra streams by role, as f32 (changes where changes are wanted); only in tiles that were converted to f32. */
  readonly extra: Readonly<Record<string, number>>;
  /** Per input, where entries are as stored and yet to be pruned. */
  readonly masks?: readonly KeptBits[];
}

/** A bit per entry of a tile, set for what is kept, and what that is multiplied by. */
export interface KeptBits {
  readonly address: number;
  readonly scale: number;
}

/** How the inputs of a tile are wanted. */
export interface Wanted {
  /** Inputs become changes (input − base) where they are converted to f32. */
  readonly changes: boolean;
  /** Force conversion to f32, for what runs in TypeScript. */
  readonly floats: boolean;
  /** Entries may stay as they are stored where every input has a mask of what is kept of its changes. */
  readonly masked?: boolean;
  /** Tiles hold a whole number of runs of so many entries; at most a tile's. */
  readonly runs?: number;
  /** Is given each input's changes to prune, of which those in `own` are the block's. */
  readonly prune?: (input: number, run: Run, own: Omit<Run, "address">, left: BandCounts) => void;
}

/** A run of entries that were read together, on its way to f32. */
interface Read {
  readonly tensor: WorkTensor;
  readonly block: Block;
  /** Per stream the address of the first entry read. */
  readonly addresses: readonly number[];
  /** Where the run begins among them. */
  readonly at: number;
  /** Index of its first entry in the tensor. */
  readonly start: number;
  readonly count: number;
  /** Per input, at the run's first entry. */
  readonly left: readonly BandCounts[];
}

/** Where a run's stored entries and its base's lie, and where its changes go. */
interface KeptRun extends Run {
  readonly entries: number;
  readonly at: number;
  readonly base: number;
}

/** How a tensor is read. */
interface Reading {
  /** What kernels can take its inputs in as they are stored, if they all can; and the same but for what is to be pruned. */
  readonly format: KernelDtype | null;
  readonly stored: KernelDtype | null;
  /** Each once, and per stream in reading order which of them it is. */
  readonly streams: readonly Stream[];
  readonly places: readonly number[];
  readonly wantsRows: boolean;
  /** Per input, where a block has no cuts. */
  readonly uncut: readonly BandCounts[];
}

function readingOf(tensor: WorkTensor): Reading {
  const all = readingOrder(tensor);
  const names = all.map((stream) => streamName(stream));
  const distinct = [...new Set(names)];
  return {
    format: tensor.prune === null ? storedFormatOf(tensor) : null,
    stored: storedFormatOf(tensor),
    streams: distinct.map((name) => all[names.indexOf(name)]!),
    places: names.map((name) => distinct.indexOf(name)),
    wantsRows: wantsRows(tensor),
    uncut: tensor.inputs.map(() => ({ low: 0, high: 0 })),
  };
}

function storedFormatOf({ inputs, base }: WorkTensor): KernelDtype | null {
  const first = inputs[0]?.stream.dtype;
  if (first === undefined || !isKernelDtype(first)) return null;
  const streams = [...inputs.map(({ stream }) => stream), ...(base === null ? [] : [base])];
  return streams.every(({ dtype, round }) => dtype === first && round === undefined) ? first : null;
}

/**
 * The buffers of one thread and the way of a block through them: read as stored, straight into kernel memory; used in
 * place where all inputs share a format that kernels read, else converted tile by tile to f32.
 */
export class Workbench {
  readonly setup: WorkSetup;
  readonly kernels: Kernels;
  readonly context: KernelContext;
  /** A second context, for what is counted while another kernel combines. */
  readonly proof: KernelContext;
  readonly convert: ConvertKernels;
  /** f32 result of a tile. */
  readonly floatOut: number;
  /** A block in its own format. */
  readonly blockOut: number;
  /** A block's masks, with their sums. */
  readonly masks: number;
  readonly scores: ScoreBuffers;
  /** For the inner products of as many vectors as a tensor has streams. */
  readonly gram: number;
  /** Sixteen f64 per stream, for sums. */
  readonly sums: number;
  readonly pruning: Pruning;
  /** Where rows are measured: their states, and an f32 per entry of a tile. */
  readonly rowStates: number;
  readonly rowStream: number;
  /** Coefficients of the columns of one tensor, of a merge among the inputs. */
  readonly table: number;
  /** What a kernel may use as it likes: see `scratchBytes`. */
  readonly scratch: number;
  readonly #sources: (ByteSource | undefined)[] = [];
  /** Of the tensor at hand: many blocks and runs of one follow each other. */
  #reading: { readonly tensor: number; readonly reading: Reading } | null = null;
  readonly #open: (index: number) => ByteSource | Promise<ByteSource>;
  readonly #raw: number[];
  readonly #floats: number[];
  readonly #zeros: number;
  /** A tile in the format that inputs are rounded to. */
  readonly #rounded: number;

  /** @param region bytes of kernel memory that belong to this thread alone; see `workbenchBytes`. */
  constructor(
    setup: WorkSetup,
    kernels: Kernels,
    region: { readonly address: number; readonly bytes: number },
    open: (index: number) => ByteSource | Promise<ByteSource>,
  ) {
    this.setup = setup;
    this.kernels = kernels;
    this.convert = convertKernels(kernels);
    this.#open = open;
    let next = region.address;
    const take = (bytes: number, stagger = 0) => {
      const address = Math.ceil(next / PAGE) * PAGE + stagger;
      next = address + bytes;
      return address;
    };
    this.context = new KernelContext(kernels.memory, take(contextBytes(setup.maxStreams)), setup.maxStreams);
    this.proof = new KernelContext(kernels.memory, take(contextBytes(setup.maxStreams)), setup.maxStreams);
    this.scratch = take(scratchBytes(setup.maxStreams));
    this.pruning = new Pruning(kernels, setup, take);
    this.sums = take(SUMS_BYTES * setup.maxStreams);
    this.#zeros = take((floatEntries(setup) + LANES) * 4);
    this.#rounded = take((floatEntries(setup) + LANES) * 4);
    this.floatOut = take((floatEntries(setup) + LANES) * 4);
    this.blockOut = take((BLOCK_ENTRIES + LANES) * setup.maxEntryBytes + 2 * SLIP_BYTES);
    const { entries, stride, states, bytes } = scoreLayout(setup);
    const scores = take(bytes);
    this.scores = { entries, stride, states, address: scores, state: scores + bytes - states * SCORE_STATE_BYTES };
    this.rowStates = take(setup.measured ? MEASURED_ROWS * ROW_STATE_BYTES : 0);
    this.rowStream = take(setup.measured ? (floatEntries(setup) + LANES) * 4 : 0);
    this.table = take(setup.tableBytes);
    this.gram = take(gramBytes(setup.maxStreams));
    this.masks = take(masksBytes(setup.maxMasks, BLOCK_ENTRIES));
    const streams = Array.from({ length: setup.maxStreams }, (_, index) => index);
    const staggerOf = (index: number) => (index * STAGGER) % PAGE;
    this.#floats = streams.map((index) => take((floatEntries(setup) + LANES) * 4, staggerOf(index)));
    this.#raw = streams
      .slice(0, setup.maxReads)
      .map((index) => take((rawEntries(setup) + LANES) * setup.maxEntryBytes + PAGE, staggerOf(index)));
    if (next > region.address + region.bytes) throw new RangeError("a workbench does not fit into its region");
  }

  /** Where to put a block that is copied to or from `position` of a file: `blockOut`, or a little after it. */
  blockFor(position: number): number {
    return isSlow(position - this.blockOut) ? this.blockOut + SLIP_BYTES : this.blockOut;
  }

  floatsAt(address: number, count: number): Float32Array {
    return new Float32Array(this.kernels.memory.buffer, address, count);
  }

  bytesAt(address: number, count: number): Uint8Array {
    return new Uint8Array(this.kernels.memory.buffer, address, count);
  }

  /** The format of a tensor whose inputs can all go to a kernel as they are stored. */
  nativeFormat(tensor: number): KernelDtype | null {
    return this.#readingOf(tensor).format;
  }

  /** The same but for what is yet to be pruned. */
  storedFormat(tensor: number): KernelDtype | null {
    return this.#readingOf(tensor).stored;
  }

  #readingOf(tensor: number): Reading {
    if (this.#reading?.tensor !== tensor) this.#reading = { tensor, reading: readingOf(this.setup.tensors[tensor]!) };
    return this.#reading.reading;
  }

  /**
   * Reads a block chunk by chunk and hands over its tiles in order.
   * @param use called with each tile; `again` gives the same tile converted to f32, for results that need care, as
   * changes or not as wanted or as it is told.
   */
  async forEachTile(
    block: Block,
    wanted: Wanted,
    use: (tile: PreparedTile, again: (changes?: boolean) => PreparedTile) => void,
  ): Promise<void> {
    const tensor = this.setup.tensors[block.tensor]!;
    const reading = this.#readingOf(block.tensor);
    const canMask = wanted.masked === true && !wanted.floats && reading.stored !== null;
    const masks = canMask && this.setup.nativeEntries % 8 === 0 ? masksOf(block) : null;
    const format = wanted.floats ? null : masks === null ? reading.format : reading.stored;
    const { first, last, tileEntries, chunkEntries } = this.#runOf(block, wanted, format !== null);
    let left = block.cuts === undefined ? reading.uncut : bandCounts(block, tensor.inputs.length);
    for (let chunk = first; chunk < last; chunk += chunkEntries) {
      const entries = Math.min(chunkEntries, last - chunk);
      const addresses = await this.#readAll(reading, chunk, entries);
      for (let at = 0; at < entries; at += tileEntries) {
        const count = Math.min(tileEntries, entries - at);
        const read = { tensor, block, addresses, at, start: chunk + at, count, left };
        // The same however often a tile is asked for.
        let behind = left;
        const floats = (changes = wanted.changes) => {
          const after = left.map((counts) => ({ ...counts }));
          const tile = this.#toFloats(read, changes, after, wanted.prune);
          if (changes) behind = after;
          return tile;
        };
        use(format === null ? floats() : this.#inPlace(read, format, wanted, masks), floats);
        left = behind;
      }
    }
  }

  /** Which entries are read for a block and in which pieces: where rows are yet to be ranked, all whole ones that it touches. */
  #runOf({ tensor, start, count, cuts }: Block, { changes, runs = 1 }: Wanted, isNative: boolean) {
    const one = this.setup.tensors[tensor]!;
    const isNoted = cuts?.some((cut) => cut?.mask != null) ?? false;
    const byRows = changes && this.#readingOf(tensor).wantsRows && !isNoted;
    // Rows are whole numbers of the runs that anyone asks for.
    const unit = byRows ? one.row : runs;
    const most = isNative ? this.setup.nativeEntries : this.setup.tileEntries;
    const tileEntries = Math.max(1, Math.floor(most / unit)) * unit;
    return {
      first: byRows ? Math.floor(start / unit) * unit : start,
      last: byRows ? Math.ceil((start + count) / unit) * unit : start + count,
      tileEntries,
      chunkEntries: Math.max(1, Math.floor(this.setup.chunkEntries / tileEntries)) * tileEntries,
    };
  }

  /** @returns per stream, in reading order, the address of what was read. */
  async #readAll({ streams, places }: Reading, start: number, entries: number): Promise<number[]> {
    const addresses: number[] = [];
    for (const [index, stream] of streams.entries()) {
      const read = this.#read(stream, start, entries, this.#raw[index]!);
      addresses.push(typeof read === "number" ? read : await read);
    }
    return places.map((place) => addresses[place]!);
  }

  /** Reads a run of a stream as stored. @returns its address; seven zero entries follow it. */
  #read(stream: Stream, start: number, entries: number, buffer: number): number | Promise<number> {
    const bytesPerEntry = DTYPE_BYTES[stream.dtype];
    const position = stream.offset + start * bytesPerEntry;
    const bytes = entries * bytesPerEntry;
    const address = isSlow(buffer - position) ? buffer + SLIP_BYTES : buffer;
    this.bytesAt(address + bytes, LANES * bytesPerEntry).fill(0);
    const into = this.bytesAt(address, bytes);
    const open = this.#sources[stream.source];
    if (open !== undefined) {
      const done = open.read(position, into);
      return done === undefined ? address : done.then(() => address);
    }
    return this.#openAndRead(stream.source, position, into, address);
  }

  async #openAndRead(index: number, position: number, into: Uint8Array, address: number): Promise<number> {
    const source = (this.#sources[index] ??= await this.#open(index));
    await source.read(position, into);
    return address;
  }

  #inPlace(
    { tensor, addresses, at, start, count }: Read,
    format: KernelDtype,
    { changes }: Wanted,
    masks: readonly KeptBits[] | null,
  ): PreparedTile {
    const offset = at * DTYPE_BYTES[format];
    const inputs = tensor.inputs.map((_, index) => addresses[index]! + offset);
    const base = tensor.base === null ? this.#zeros : addresses[tensor.inputs.length]! + offset;
    return {
      start,
      count,
      padded: pad(count),
      format,
      subtract: changes ? base : this.#zeros,
      add: base,
      inputs,
      extra: {},
      ...(masks !== null && { masks: masksAt(masks, start) }),
    };
  }

  /** @param left per input, at the run's first entry; changed to what it is behind the last. */
  #toFloats(
    { tensor, block, addresses, at, start, count }: Read,
    changes: boolean,
    left: readonly BandCounts[],
    prune: Wanted["prune"],
  ): PreparedTile {
    const models = tensor.inputs.length;
    const padded = pad(count);
    const from = Math.max(start, block.start);
    const own = Math.min(start + count, block.start + block.count) - from;
    let base = this.#zeros;
    if (tensor.base !== null) {
      base = this.#floats[models]!;
      this.#widen(tensor.base, addresses[models]!, at, base, padded);
    }
    const inputs = tensor.inputs.map(({ stream }, index) => {
      const address = this.#floats[index]!;
      const entries = addresses[index]!;
      if (!changes) {
        this.#widen(stream, entries, at, address, padded);
        return address;
      }
      const gathered = block.cuts?.[index] ?? null;
      if (
        gathered?.mask != null &&
        this.#keptChange(tensor, index, { entries, at, base, address, start, count }, gathered)
      )
        return address;
      this.#change(stream, entries, at, base, address, padded);
      const run = { address, start, count };
      if (prune !== undefined) prune(index, run, { start: from, count: own }, left[index]!);
      else this.pruning.cut(tensor, index, run, gathered, left[index]!);
      return address;
    });
    const extra: Record<string, number> = {};
    let slot = models + (tensor.base === null ? 0 : 1);
    for (const [role, stream] of Object.entries(tensor.extra)) {
      const target = this.#floats[slot]!;
      this.#widen(stream, addresses[slot]!, at, target, padded);
      if (changes) this.convert.change(target, base, target, padded);
      extra[role] = target;
      slot++;
    }
    const tile = { start, count, padded, format: "F32" as const, subtract: this.#zeros, add: base, inputs, extra };
    // Behind a tile that is no whole number of eights lies what belongs to the next.
    return own === padded ? tile : this.#clip(tile, from, own);
  }

  /** The part of a tile that begins with entry `from`, with zeros behind it. */
  #clip(tile: PreparedTile, from: number, count: number): PreparedTile {
    const padded = pad(count);
    const clip = (address: number) => {
      if (address === this.#zeros) return address;
      const moved = address + 4 * (from - tile.start);
      this.floatsAt(moved + 4 * count, padded - count).fill(0);
      return moved;
    };
    return {
      ...tile,
      ...{ start: from, count, padded, add: clip(tile.add) },
      inputs: tile.inputs.map(clip),
      extra: Object.fromEntries(Object.entries(tile.extra).map(([role, address]) => [role, clip(address)])),
    };
  }

  /** Entries as stored to changes. */
  #change(stream: Stream, entries: number, at: number, base: number, target: number, count: number): void {
    const { dtype, round } = stream;
    if (isKernelDtype(dtype) && round === undefined) {
      this.convert.changeOf(dtype)(entries + at * DTYPE_BYTES[dtype], base, target, count);
      return;
    }
    this.#widen(stream, entries, at, target, count);
    this.convert.change(target, base, target, count);
  }

  /** Entries as stored to what is noted as kept of their changes. @returns whether that could be done at once. */
  #keptChange(tensor: WorkTensor, input: number, run: KeptRun, gathered: BlockCut): boolean {
    const { dtype, round } = tensor.inputs[input]!.stream;
    if (!isKernelDtype(dtype) || round !== undefined || (tensor.prune?.[input] ?? null) === null) return false;
    const { entries, at, base, address: target } = run;
    return this.pruning.keptChange(dtype, { model: entries + at * DTYPE_BYTES[dtype], base, target }, run, gathered);
  }

  #widen({ dtype, round }: Stream, address: number, at: number, target: number, count: number): void {
    this.widen(dtype, address + at * DTYPE_BYTES[dtype], target, count);
    if (round === undefined) return;
    this.narrow(round, target, this.#rounded, count);
    this.widen(round, this.#rounded, target, count);
  }

  /** Entries as stored to f32. */
  widen(dtype: Dtype, source: number, target: number, count: number): void {
    if (isKernelDtype(dtype)) this.convert.widen(dtype)(source, target, count);
    else widen(dtype as FloatDtype, this.bytesAt(source, count * DTYPE_BYTES[dtype]), this.floatsAt(target, count));
  }

  /** Writes f32 results to `target` in an output format. @returns how many are NaN or infinite. */
  narrow(dtype: Dtype, source: number, target: number, count: number): number {
    if (isKernelDtype(dtype)) return this.convert.narrow(dtype)(source, target, count);
    return narrow(dtype as FloatDtype, this.floatsAt(source, count), this.bytesAt(target, count * DTYPE_BYTES[dtype]));
  }

  /** A source of the setup, opened once. */
  async source(index: number): Promise<ByteSource> {
    return (this.#sources[index] ??= await this.#open(index));
  }

  async close(): Promise<void> {
    for (const source of this.#sources) await source?.close();
    this.#sources.length = 0;
  }
}

/** Rows measured together. */
export const MEASURED_ROWS = 1024;
/** Sixteen f64. */
export const ROW_STATE_BYTES = 128;

function measureBytes(setup: WorkSetup): number {
  return setup.measured ? MEASURED_ROWS * ROW_STATE_BYTES + (floatEntries(setup) + LANES) * 4 : 0;
}

/** Where the scores of a piece of a tile go: rows of f32, `stride` bytes apart. */
export interface ScoreBuffers {
  readonly address: number;
  readonly stride: number;
  /** A row's. */
  readonly entries: number;
  /** What is counted of them: this many states, see kernels/scores. */
  readonly states: number;
  readonly state: number;
}

/** A thread's scores stay below this; with more rows a tile is scored in more pieces. */
const SCORE_BUDGET = 1024 * 1024;

function scoreLayout({ scores: { rows, ranks }, tileEntries }: WorkSetup) {
  const most = Math.floor(SCORE_BUDGET / (4 * LANES * Math.max(1, rows))) * LANES;
  const entries = rows === 0 ? 0 : Math.min(tileEntries, Math.max(LANES, most));
  const stride = Math.ceil(((entries + LANES) * 4) / PAGE) * PAGE + STAGGER;
  // A range, a sum, and a count per rank.
  const states = rows * (2 + ranks);
  return { entries, stride, states, bytes: rows * stride + states * SCORE_STATE_BYTES };
}

/** The masks of a block whose inputs all have one, where it begins on a whole byte. */
function masksOf({ start, cuts }: Block): KeptBits[] | null {
  if (start % 8 !== 0) return null;
  const masks = (cuts ?? []).flatMap((cut) =>
    cut === null || cut.mask === null ? [] : [{ address: cut.mask, scale: cut.scale ?? 1 }],
  );
  return masks.length > 0 && masks.length === cuts!.length ? masks : null;
}

/** The part of the masks of a whole block that begins with an entry. */
function masksAt(masks: readonly KeptBits[], start: number): KeptBits[] {
  const first = (start % BLOCK_ENTRIES) / 8;
  return masks.map(({ address, scale }) => ({ address: address + first, scale }));
}

/** Copying to an address 1 to 31 bytes further into its page than the source's is several times slower on some CPUs. */
function isSlow(targetMinusSource: number): boolean {
  const slip = targetMinusSource & (PAGE - 1);
  return slip > 0 && slip < 32;
}

function pad(count: number): number {
  return Math.ceil(count / LANES) * LANES;
}

/** Bytes of kernel memory that a thread needs: for its workbench and for those of the merges among the inputs. */
export function workbenchBytes(setup: WorkSetup): number {
  return setup.merges.reduce((bytes, merge) => bytes + ownBytes(merge.setup), ownBytes(setup));
}

/** Entries of a buffer of f32: a tile of either kind, or a row that must be whole. */
function floatEntries({ nativeEntries, maxRow }: WorkSetup): number {
  return Math.max(nativeEntries, maxRow);
}

/** Entries of a buffer of entries as stored. */
function rawEntries({ chunkEntries, maxRow }: WorkSetup): number {
  return Math.max(chunkEntries, maxRow);
}

/** Bytes of kernel memory of one workbench. */
export function ownBytes(setup: WorkSetup): number {
  const { maxStreams, maxReads, maxEntryBytes, maxMasks } = setup;
  const slack = 2 * PAGE;
  const pruning = pruningBytes(setup) + 4 * PAGE + SUMS_BYTES * maxStreams + PAGE;
  const scratch = scratchBytes(maxStreams) + PAGE;
  const fixed =
    2 * (contextBytes(maxStreams) + PAGE) + 3 * ((floatEntries(setup) + LANES) * 4 + slack) + pruning + scratch;
  const out = (BLOCK_ENTRIES + LANES) * maxEntryBytes + 2 * SLIP_BYTES + slack;
  const gram = gramBytes(maxStreams) + slack;
  const masks = masksBytes(maxMasks, BLOCK_ENTRIES) + slack;
  const floats = (floatEntries(setup) + LANES) * 4 + slack;
  const raw = (rawEntries(setup) + LANES) * maxEntryBytes + PAGE + slack;
  const scores = scoreLayout(setup).bytes + slack + measureBytes(setup) + slack;
  const table = setup.tableBytes + slack;
  return (
    Math.ceil((fixed + slack + table + out + masks + gram + scores + maxStreams * floats + maxReads * raw) / PAGE) *
    PAGE
  );
}
