/** A task of an artifact as a checkpoint: the base's tensors, those that are made, and the task's own head. */
import type { Checkpoint, Shard, StoredTensor } from "../models/model.js";
import { modelName } from "../models/files.js";
import { xxh64 } from "../numbers/checksum.js";
import type { ByteSource } from "../sources/source.js";
import { taskSource } from "../sources/task.js";
import type { Part, TaskTensor, TaskTerm } from "../sources/task.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { ManifestTask } from "./manifest.js";
import type { StoredPart, TensorParts, TermParts } from "./parts.js";

export interface TaskOf {
  /** The artifact's, as are the next two. */
  readonly label: string;
  readonly location: string;
  /** Of the manifest. */
  readonly hash: string;
  /** What the weights of several tasks are called, where it is not the task's own model. */
  readonly mixture: string | null;
  readonly task: ManifestTask;
  readonly tensors: readonly TensorParts[];
  readonly base: Checkpoint;
  readonly head: Checkpoint | null;
  readonly companions: Pick<Checkpoint, "config" | "configText" | "sideFiles">;
}

export function taskCheckpoint(of: TaskOf): Checkpoint {
  const { label, location, hash, mixture, task, tensors, base, head, companions } = of;
  const own = `${label}#${task.name}${mixture === null ? "" : ` ${mixture}`}`;
  const made = madeShard(own, hash, tensors);
  // What is replaced is no tensor of the task's model, though its shard is read.
  const replaced = new Set([...tensors.map(({ name }) => name), ...(head?.tensors.keys() ?? [])]);
  const kept = base.shards.map((shard): Shard => {
    const { header } = shard;
    return { ...shard, header: { ...header, tensors: header.tensors.filter(({ name }) => !replaced.has(name)) } };
  });
  const shards = [...kept, made, ...(head?.shards ?? [])];
  const all = new Map<string, StoredTensor>(base.tensors);
  for (const [index, entry] of made.header.tensors.entries()) {
    all.set(entry.name, { ...entry, shard: base.shards.length, finalDtype: tensors[index]!.dtype });
  }
  for (const tensor of head?.tensors.values() ?? []) {
    all.set(tensor.name, { ...tensor, shard: base.shards.length + 1 + tensor.shard });
  }
  return {
    label: own,
    name: modelName(own),
    location,
    shards,
    tensors: all,
    ...companions,
    notes: [`a task's model of the artifact ${label}, made over ${base.label} as it is read`],
    async close() {
      for (const { source } of shards) await source.close();
    },
  };
}

/** What is made, as one file that nobody stored. */
function madeShard(label: string, hash: string, tensors: readonly TensorParts[]): Shard {
  const files: ByteSource[] = [];
  const partOf = ({ checkpoint, stored }: StoredPart): Part => {
    const { source } = checkpoint.shards[stored.shard]!;
    if (!files.includes(source)) files.push(source);
    return { file: files.indexOf(source), offset: stored.offset };
  };
  const floatPart = (part: StoredPart) => ({ ...partOf(part), dtype: part.stored.dtype as FloatDtype });
  let offset = 0;
  const termOf = (term: TermParts): TaskTerm => {
    const { scale } = term;
    if (term.kind === "factors") {
      const { left, values, right } = term;
      const [rank = 0, columns = 0] = [left.stored.shape[1], right.stored.shape[1]];
      const parts = { left: floatPart(left), values: floatPart(values), right: floatPart(right) };
      return { kind: "factors", scale, rank, columns, ...parts };
    }
    const { vector, mask, starts } = term;
    return {
      kind: "vector",
      scale,
      vector: floatPart(vector),
      mask: mask === null ? null : partOf(mask),
      starts: starts === null ? null : partOf(starts),
      stored: entriesOf(vector.stored.shape),
    };
  };
  const laidOut = tensors.map(({ entries, base, terms }): TaskTensor => {
    const tensor = { offset, entries, base: floatPart(base), terms: terms.map(termOf) };
    offset += entries * 4;
    return tensor;
  });
  const layout = {
    files: files.map(({ label: file, address, stamp }) => ({ label: file, address, stamp })),
    tensors: laidOut,
  };
  const versions = files.map(({ stamp }) => stamp.version);
  const version = versions.includes("") ? "" : xxh64(new TextEncoder().encode(versions.join(" ")));
  const source = taskSource(layout, files, { label, stamp: { size: offset, version } });
  return {
    name: label,
    source,
    header: {
      tensors: tensors.map(({ name: tensor, shape, entries }, index) => ({
        name: tensor,
        dtype: "F32",
        shape,
        offset: laidOut[index]!.offset,
        length: entries * 4,
      })),
      metadata: {},
      dataStart: 0,
      fileSize: offset,
      hash: xxh64(new TextEncoder().encode(`${hash} ${label}`)),
    },
  };
}
