/** The parts of one task, found and checked against each other: which bytes make which tensor. */
import type { RecordedMerge } from "../analyse/recorded.js";
import { keyOf } from "../analyse/recorded.js";
import { BLOCK_ENTRIES, MASK_BLOCK_BYTES } from "../execute/blocks.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { defect } from "./defect.js";
import type { Manifest, ManifestTask } from "./manifest.js";

/** The opened folders of a task. */
export interface TaskFolders {
  readonly base: Checkpoint;
  readonly vector: Checkpoint;
  readonly mask: Checkpoint | null;
  readonly starts: Checkpoint | null;
}

/** A stored tensor that weights are made of, and what is known of its bytes. */
export interface StoredPart {
  readonly checkpoint: Checkpoint;
  readonly stored: StoredTensor;
  /** Of its bytes as they were when the artifact was made. */
  readonly checksum: string;
  /** Entries of the blocks that the checksum is over. */
  readonly blockEntries: number;
}

/** What one tensor of a task is made of. */
export interface TensorParts {
  readonly name: string;
  readonly shape: readonly number[];
  readonly entries: number;
  /** Of the vector, which is that of the task's model. */
  readonly dtype: FloatDtype;
  readonly base: StoredPart;
  readonly vector: StoredPart;
  readonly mask: StoredPart | null;
  readonly starts: StoredPart | null;
}

/**
 * In the order of the vector's bytes.
 * @throws artifact/base where the base has not the tensors that the artifact was made over; artifact/damaged where parts
 * do not fit together.
 */
export function tensorParts(
  manifest: Manifest,
  task: ManifestTask,
  recorded: RecordedMerge,
  folders: TaskFolders,
): TensorParts[] {
  const { vector, mask } = folders;
  const stored = [...vector.tensors.values()].sort((a, b) => a.shard - b.shard || a.offset - b.offset);
  // Over a vector of its own, a task without a mask keeps everything; of a shared one, nothing.
  const own = stored.filter(({ name }) => task.vector !== null || mask === null || mask.tensors.has(name));
  return own.map((tensor) => partsOf(tensor, { manifest, task, recorded, folders }));
}

interface Context {
  readonly manifest: Manifest;
  readonly task: ManifestTask;
  readonly recorded: RecordedMerge;
  readonly folders: TaskFolders;
}

function partsOf(vector: StoredTensor, { manifest, task, recorded, folders }: Context): TensorParts {
  const { name } = vector;
  const part = (
    checkpoint: Checkpoint | null,
    folder: string | null,
    blockEntries = BLOCK_ENTRIES,
  ): StoredPart | null => {
    const stored = checkpoint?.tensors.get(name);
    if (checkpoint === null || folder === null || stored === undefined) return null;
    const key = keyOf(folder, name);
    const checksum = Object.hasOwn(recorded.checksums, key) ? recorded.checksums[key]! : null;
    if (checksum === null) throw damaged(checkpoint, name, "a checksum in mergewright.json", "none");
    return { checkpoint, stored, checksum, blockEntries };
  };
  const mask = part(folders.mask, task.mask, MASK_BLOCK_BYTES);
  const starts = part(folders.starts, task.starts);
  const base = basePart(vector, manifest, folders.base);
  const { shape } = base.stored;
  const entries = entriesOf(shape);
  if (!isFloat(vector.dtype)) throw damaged(folders.vector, name, "a floating-point vector", vector.dtype);
  if (starts === null) {
    if (vector.shape.join() !== shape.join())
      throw damaged(folders.vector, name, shapeText(shape), shapeText(vector.shape));
  } else if (mask === null) throw damaged(folders.vector, name, "a mask over a packed vector", "none");
  const bytes = Math.ceil(entries / 8);
  const blocks = Math.ceil(entries / BLOCK_ENTRIES);
  if (mask !== null && !isArray(mask.stored, "U8", bytes)) throw wrongPart(mask, `U8 [${bytes}]`);
  if (starts !== null && !isArray(starts.stored, "U64", blocks)) throw wrongPart(starts, `U64 [${blocks}]`);
  const vectorPart = part(folders.vector, task.vector ?? manifest.shared)!;
  return { name, shape, entries, dtype: vector.dtype, base, vector: vectorPart, mask, starts };
}

function basePart({ name }: StoredTensor, { base }: Manifest, checkpoint: Checkpoint): StoredPart {
  const checksum = Object.hasOwn(base.tensors, name) ? base.tensors[name]! : null;
  const stored = checkpoint.tensors.get(name);
  if (checksum !== null && stored !== undefined && isFloat(stored.dtype)) {
    return { checkpoint, stored, checksum, blockEntries: BLOCK_ENTRIES };
  }
  throw defect("artifact/base", "this is not the base that the artifact was made over", {
    where: { file: checkpoint.label, tensor: name },
    expected: "a floating-point tensor of this name",
    found: stored === undefined ? "none" : stored.dtype,
  });
}

function isArray({ dtype, shape }: StoredTensor, wanted: string, length: number): boolean {
  return dtype === wanted && shape.length === 1 && shape[0] === length;
}

function wrongPart({ checkpoint, stored }: StoredPart, expected: string) {
  return damaged(checkpoint, stored.name, expected, `${stored.dtype} ${shapeText(stored.shape)}`);
}

function damaged(checkpoint: Checkpoint, tensor: string, expected: string, found: string) {
  const where = { file: checkpoint.label, tensor };
  return defect("artifact/damaged", "the parts of the artifact do not fit together", { where, expected, found });
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}
