/**
 * Merges of tensors that are computed where they are read, in the calling thread. The merge stands as the input of a copy,
 * so that its statistics are settled first and every entry is then made exactly once and in order: a tensor of the
 * result is whole when its last byte comes, and can go.
 */
import type { MergeSets, TensorSet } from "../../lora/merging.js";
import type { Workspace } from "../../execute/workspace.js";
import { layoutHeader } from "../../formats/safetensors/index.js";
import type { FileLayout } from "../../formats/safetensors/index.js";
import { mergeModels } from "../../merge.js";
import { findMethod } from "../../methods/catalogue.js";
import type { Method } from "../../methods/method.js";
import { passthrough } from "../../methods/passthrough.js";
import type { Checkpoint } from "../../models/model.js";
import { xxh64 } from "../../numbers/checksum.js";
import type { Recipe } from "../../recipe/recipe.js";
import { tensorAt } from "../../sources/range.js";
import type { ByteSource } from "../../sources/source.js";
import { memoryCrew } from "./workspace.js";

const MERGED = "merged";
const FILE = "model.safetensors";
/** One file, whatever its size: it is never written. */
const ENDLESS = Number.MAX_SAFE_INTEGER;

/** @param own methods beside those of the catalogue. */
export function mergingSets(own: readonly Method[] = []): MergeSets {
  return async (recipe, sets, take) => {
    const methods = new Map([...own, recipe.method].map((method) => [method.name, method]));
    const opened = new Map([...sets].map(([label, set]) => [label, openSet(label, set)]));
    const taking = new Taking(take);
    const { plan, result } = await mergeModels(
      copyOf(recipe),
      {
        openModel: (label) => Promise.resolve(opened.get(label)!.checkpoint),
        createCrew: async (setup, _threads, statisticsBytes) =>
          memoryCrew(setup, statisticsBytes, taking, {
            openStored: ({ label }) => opened.get(label)!.source,
            findMethod: (name) => methods.get(name) ?? findMethod(name)!,
          }),
        openWorkspace: () => taking.workspace,
        hashFile: () => Promise.reject(new RangeError("computed tensors are not hashed")),
      },
      { out: MERGED, threads: 1 },
    );
    return { warnings: plan.merges.flatMap(({ plan: { warnings } }) => warnings), counters: result.counters };
  };
}

/** One input, its tensors as they are: the merge. */
function copyOf(recipe: Recipe): Recipe {
  return {
    ...recipe,
    method: passthrough,
    dialect: "mergekit",
    base: null,
    models: [{ model: MERGED, name: MERGED, parameters: {}, prune: {} }],
    layout: null,
    parameters: { scale: { value: 1, patterns: [] } },
    prune: null,
    lines: null,
    exclude: [],
    output: { dtype: "F32", shardSize: ENDLESS },
    merges: { [MERGED]: recipe },
    notes: [],
    positions: {},
  };
}

/** A set as a checkpoint of one file whose bytes are made where they are read. */
function openSet(label: string, set: TensorSet): { checkpoint: Checkpoint; source: ByteSource } {
  const layout = layoutHeader(set.map(({ name, shape }) => ({ name, dtype: "F32", shape })));
  const source: ByteSource = {
    label,
    stamp: { size: layout.fileSize, version: "" },
    address: null,
    read: (offset, into) => readSet(set, layout, offset, into),
    close() {},
  };
  const hash = xxh64(layout.header);
  const { tensors, fileSize } = layout;
  const header = { tensors, metadata: {}, dataStart: layout.header.length, fileSize, hash };
  const checkpoint: Checkpoint = {
    label,
    name: label,
    location: "",
    shards: [{ name: FILE, source, header }],
    tensors: new Map(tensors.map((tensor) => [tensor.name, { ...tensor, shard: 0 }])),
    config: null,
    configText: null,
    sideFiles: [],
    notes: [],
    close: () => Promise.resolve(),
  };
  return { checkpoint, source };
}

/** What is asked for lies in one tensor. */
async function readSet(set: TensorSet, { tensors }: FileLayout, offset: number, into: Uint8Array): Promise<void> {
  const index = tensorAt(tensors, offset);
  const entries = new Float32Array(into.length / 4);
  await set[index]!.read((offset - tensors[index]!.offset) / 4, entries);
  into.set(new Uint8Array(entries.buffer));
}

/** Artifacts, which alone are read again while they are made, are no sets of tensors. */
function notKept(): never {
  throw new RangeError(`files of ${MERGED} are not kept`);
}

/**
 * A file that is not kept: a tensor is handed on when all its bytes have come. What is solved as whole matrices before
 * that lies in memory.
 */
class Taking {
  readonly workspace: Workspace = {
    label: MERGED,
    path: (name) => name,
    journal: [],
    reset() {},
    allocate: (name, size, header) => this.#open(name, size, header),
    writeWhole() {},
    readWhole: () => null,
    readAt: notKept,
    writeAt: notKept,
    remove: (name) => void this.#kept.delete(name),
    record() {},
    commit() {},
    release() {},
  };
  readonly #take: Parameters<MergeSets>[2];
  #places: readonly { readonly name: string; readonly offset: number; readonly length: number }[] = [];
  readonly #kept = new Map<string, Uint8Array>();
  #next = 0;
  #bytes = new Uint8Array(0);
  #filled = 0;

  constructor(take: Parameters<MergeSets>[2]) {
    this.#take = take;
  }

  #open(name: string, size: number, header: Uint8Array): void {
    if (name === FILE) this.#places = placesIn(header);
    else this.#kept.set(name, new Uint8Array(size));
  }

  sink(label: string) {
    const kept = this.#kept.get(label);
    const write = (offset: number, bytes: Uint8Array) =>
      kept === undefined ? this.#write(offset, bytes) : kept.set(bytes, offset);
    return { label, write, close: () => {} };
  }

  bytes(name: string): Uint8Array {
    const kept = this.#kept.get(name);
    if (kept === undefined) throw new RangeError(`${name}: what was handed on is not read again`);
    return kept;
  }

  async #write(offset: number, bytes: Uint8Array): Promise<void> {
    const place = this.#places[this.#next]!;
    if (this.#filled === 0) this.#bytes = new Uint8Array(place.length);
    if (offset !== place.offset + this.#filled) throw new RangeError(`${place.name}: bytes out of order`);
    this.#bytes.set(bytes, this.#filled);
    this.#filled += bytes.length;
    if (this.#filled < place.length) return;
    const whole = new Float32Array(this.#bytes.buffer);
    this.#next++;
    this.#filled = 0;
    await this.#take(place.name, whole);
  }
}

/** Of a header that this program laid out. */
function placesIn(header: Uint8Array): { name: string; offset: number; length: number }[] {
  const text = new TextDecoder().decode(header.subarray(8));
  const entries = JSON.parse(text) as Record<string, { readonly data_offsets?: readonly [number, number] }>;
  return Object.entries(entries).flatMap(([name, { data_offsets: place }]) =>
    place === undefined ? [] : [{ name, offset: header.length + place[0], length: place[1] - place[0] }],
  );
}
