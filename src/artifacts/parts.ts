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
  /** `null` where the task has neither a vector of its own nor a share of one. */
  readonly vector: Checkpoint | null;
  readonly mask: Checkpoint | null;
  readonly starts: Checkpoint | null;
  readonly factors: { readonly left: Checkpoint; readonly values: Checkpoint; readonly right: Checkpoint } | null;
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

/** What is added to one tensor of the base. */
export type TermParts = VectorParts | FactorParts;

export interface VectorParts {
  readonly kind: "vector";
  readonly scale: number;
  readonly vector: StoredPart;
  readonly mask: StoredPart | null;
  readonly starts: StoredPart | null;
}

export interface FactorParts {
  readonly kind: "factors";
  readonly scale: number;
  readonly left: StoredPart;
  readonly values: StoredPart;
  readonly right: StoredPart;
}

/** What one tensor of a task is made of. */
export interface TensorParts {
  readonly name: string;
  readonly shape: readonly number[];
  readonly entries: number;
  /** Of what is added, which is that of the task's model. */
  readonly dtype: FloatDtype;
  readonly base: StoredPart;
  readonly terms: readonly TermParts[];
}

export function partsIn({ base, terms }: TensorParts): StoredPart[] {
  return [base, ...terms.flatMap(partsOfTerm)];
}

function partsOfTerm(term: TermParts): StoredPart[] {
  if (term.kind === "factors") return [term.left, term.values, term.right];
  return [term.vector, term.mask, term.starts].filter((part): part is StoredPart => part !== null);
}

/**
 * In the order of the vector's bytes, then of the factors'.
 * @throws artifact/base where the base has not the tensors that the artifact was made over; artifact/damaged where parts
 * do not fit together.
 */
export function tensorParts(
  manifest: Manifest,
  task: ManifestTask,
  recorded: RecordedMerge,
  folders: TaskFolders,
): TensorParts[] {
  const { vector, mask, factors } = folders;
  const inOrder = (checkpoint: Checkpoint | null) =>
    [...(checkpoint?.tensors.values() ?? [])].sort((a, b) => a.shard - b.shard || a.offset - b.offset);
  // Over a vector of its own, a task without a mask keeps everything; of a shared one, nothing.
  const own = inOrder(vector).filter(({ name }) => task.vector !== null || mask === null || mask.tensors.has(name));
  const context = { manifest, task, recorded, folders };
  return [
    ...own.map((tensor) => vectorParts(tensor, context)),
    ...inOrder(factors?.left ?? null).map((tensor) => factorParts(tensor, context)),
  ];
}

/**
 * The same tensors with what several tasks add to them.
 * @param weighted the tensors of each task, and its weight.
 */
export function weightedParts(
  weighted: readonly { readonly tensors: readonly TensorParts[]; readonly weight: number }[],
): TensorParts[] {
  const all = new Map<string, TensorParts>();
  for (const { tensors, weight } of weighted) {
    for (const tensor of tensors) {
      const terms = tensor.terms.map((term) => ({ ...term, scale: term.scale * weight }));
      const known = all.get(tensor.name);
      all.set(
        tensor.name,
        known === undefined ? { ...tensor, terms } : { ...known, terms: [...known.terms, ...terms] },
      );
    }
  }
  return [...all.values()];
}

/** Every tensor of one of the artifact's own folders. */
export function wholeParts(recorded: RecordedMerge, checkpoint: Checkpoint, folder: string): StoredPart[] {
  return [...checkpoint.tensors.keys()].map((name) => recordedPart(recorded, checkpoint, folder, name));
}

interface Context {
  readonly manifest: Manifest;
  readonly task: ManifestTask;
  readonly recorded: RecordedMerge;
  readonly folders: TaskFolders;
}

function partIn(
  { recorded }: Context,
  checkpoint: Checkpoint | null,
  folder: string | null,
  name: string,
  blockEntries = BLOCK_ENTRIES,
): StoredPart | null {
  const stored = checkpoint?.tensors.get(name);
  if (checkpoint === null || folder === null || stored === undefined) return null;
  return recordedPart(recorded, checkpoint, folder, name, blockEntries);
}

function recordedPart(
  recorded: RecordedMerge,
  checkpoint: Checkpoint,
  folder: string,
  name: string,
  blockEntries = BLOCK_ENTRIES,
): StoredPart {
  const key = keyOf(folder, name);
  const checksum = Object.hasOwn(recorded.checksums, key) ? recorded.checksums[key]! : null;
  if (checksum === null) throw damaged(checkpoint, name, "a checksum in mergewright.json", "none");
  return { checkpoint, stored: checkpoint.tensors.get(name)!, checksum, blockEntries };
}

function vectorParts(vector: StoredTensor, context: Context): TensorParts {
  const { manifest, task, folders } = context;
  const { name } = vector;
  const mask = partIn(context, folders.mask, task.mask, name, MASK_BLOCK_BYTES);
  const starts = partIn(context, folders.starts, task.starts, name);
  const base = basePart(name, manifest, folders.base);
  const { shape } = base.stored;
  const entries = entriesOf(shape);
  const checkpoint = folders.vector!;
  if (!isFloat(vector.dtype)) throw damaged(checkpoint, name, "a floating-point vector", vector.dtype);
  if (starts === null) {
    if (vector.shape.join() !== shape.join())
      throw damaged(checkpoint, name, shapeText(shape), shapeText(vector.shape));
  } else if (mask === null) throw damaged(checkpoint, name, "a mask over a packed vector", "none");
  const bytes = Math.ceil(entries / 8);
  const blocks = Math.ceil(entries / BLOCK_ENTRIES);
  if (mask !== null && !isArray(mask.stored, "U8", bytes)) throw wrongPart(mask, `U8 [${bytes}]`);
  if (starts !== null && !isArray(starts.stored, "U64", blocks)) throw wrongPart(starts, `U64 [${blocks}]`);
  const part = partIn(context, checkpoint, task.vector ?? manifest.shared, name)!;
  const term: VectorParts = { kind: "vector", scale: task.scale, vector: part, mask, starts };
  return { name, shape, entries, dtype: vector.dtype, base, terms: [term] };
}

function factorParts(stored: StoredTensor, context: Context): TensorParts {
  const { manifest, task, folders } = context;
  const { name } = stored;
  const { left: leftIn, values: valuesIn, right: rightIn } = folders.factors!;
  const base = basePart(name, manifest, folders.base);
  const { shape } = base.stored;
  const left = partIn(context, leftIn, task.factors!.left, name)!;
  const values = partIn(context, valuesIn, task.factors!.values, name);
  const right = partIn(context, rightIn, task.factors!.right, name);
  if (values === null) throw damaged(valuesIn, name, "the singular values of a factored matrix", "none");
  if (right === null) throw damaged(rightIn, name, "the right factor of a factored matrix", "none");
  const [rows = 0, columns = 0] = shape;
  const rank = stored.shape[1] ?? 0;
  if (shape.length !== 2 || stored.shape.length !== 2 || stored.shape[0] !== rows) {
    throw damaged(leftIn, name, `[${rows}, rank]`, shapeText(stored.shape));
  }
  if (values.stored.shape.join() !== String(rank)) throw wrongPart(values, `[${rank}]`);
  const { shape: rightShape } = right.stored;
  if (rightShape.length !== 2 || rightShape[1] !== columns || rightShape[0]! < rank) {
    throw wrongPart(right, `[${rank} or more, ${columns}]`);
  }
  for (const part of [left, values, right]) {
    if (!isFloat(part.stored.dtype)) throw wrongPart(part, "a floating-point factor");
  }
  const dtype = stored.dtype as FloatDtype;
  const term: FactorParts = { kind: "factors", scale: task.scale, left, values, right };
  return { name, shape, entries: entriesOf(shape), dtype, base, terms: [term] };
}

function basePart(name: string, { base }: Manifest, checkpoint: Checkpoint): StoredPart {
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
