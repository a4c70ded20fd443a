/** Opens an artifact's folder: any tensor of any task, and each task as a checkpoint like any other. */
import type { RecordedMerge } from "../analyse/recorded.js";
import { MergewrightError } from "../errors.js";
import { someOf } from "../formats/safetensors/text.js";
import type { OpenModel } from "../inputs.js";
import { openCheckpoint, readCompanions } from "../models/checkpoint.js";
import type { FolderAccess } from "../models/folder.js";
import type { Checkpoint } from "../models/model.js";
import { narrow } from "../numbers/convert.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import { checkPart, partDefect } from "./check.js";
import { defect } from "./defect.js";
import { readManifest } from "./manifest.js";
import type { Manifest, ManifestTask } from "./manifest.js";
import { partsIn, tensorParts, weightedParts, wholeParts } from "./parts.js";
import type { StoredPart, TensorParts } from "./parts.js";
import { taskCheckpoint } from "./task.js";

/** What a platform supplies to read artifacts. */
export interface ArtifactPlatform {
  readonly openFolder: (label: string) => FolderAccess;
  readonly openModel: OpenModel;
}

/** A tensor of a task's model. */
export interface TaskTensorData {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Little-endian entries, row by row, as the task's model stores them. */
  readonly bytes: Uint8Array;
}

/** One task of an artifact, opened. */
export interface OpenTask {
  readonly task: ManifestTask;
  /** What is made; all other tensors are the base's or the task's own head. */
  readonly tensors: readonly TensorParts[];
  /** What of the artifact's is taken as it is: the head, and a base that is a part of it. */
  readonly whole: readonly StoredPart[];
  /** The task's model; what is made reads as F32, unrounded. */
  readonly checkpoint: Checkpoint;
}

/** By task. */
export type TaskWeights = Readonly<Record<string, number>>;

export interface Artifact {
  readonly label: string;
  /** Of the manifest's bytes. */
  readonly hash: string;
  readonly manifest: Manifest;
  /** Of its making, with the checksums of all parts. */
  readonly recorded: RecordedMerge;
  /** Names of the tasks, in recipe order. */
  readonly tasks: readonly string[];
  readonly base: Checkpoint;
  /**
   * Opens what a task is made of.
   * @param weights how much of which tasks' vectors is added instead of the task's own; head and config stay its own.
   * @throws artifact/task for a name that is none.
   */
  openTask(name: string, weights?: TaskWeights): Promise<OpenTask>;
  /** The tensors of one of its folders, with the checksums that the record says. */
  partsOf(folder: string): Promise<readonly StoredPart[]>;
  /**
   * Reads one tensor of a task's model, checking every byte that it is made of.
   * @throws artifact/task, artifact/damaged, artifact/base; plan/missing-tensor for a tensor that the model has not.
   */
  readTensor(task: string, tensor: string): Promise<TaskTensorData>;
  close(): Promise<void>;
}

export interface OpenArtifactOptions {
  /** The base, where it is not at the place that the artifact names. */
  readonly base?: string | null;
}

/** Bytes of the base's small tensors that are checked at once, so that another base is noticed before any work. */
const EARLY_BYTES = 1 << 18;

/**
 * @param label the artifact's folder.
 * @throws artifact/manifest, artifact/base, artifact/damaged
 */
export async function openArtifact(
  label: string,
  platform: ArtifactPlatform,
  options: OpenArtifactOptions = {},
): Promise<Artifact> {
  const access = platform.openFolder(label);
  const { manifest, recorded, hash } = await readManifest(label, access);
  const { inside } = manifest.base;
  const base =
    inside === null
      ? await openBase(label, manifest, platform, options.base ?? manifest.base.model)
      : await openFolderOf(label, inside, platform, recorded);
  const opened: Checkpoint[] = [base];
  const folders = new Map<string, Promise<Checkpoint>>();
  const openPart = (folder: string) => {
    let part = folders.get(folder);
    if (part === undefined) {
      part = openFolderOf(label, folder, platform, recorded).then((checkpoint) => {
        opened.push(checkpoint);
        return checkpoint;
      });
      folders.set(folder, part);
    }
    return part;
  };
  const partOrNull = (folder: string | null) => (folder === null ? null : openPart(folder));
  const tasks = new Map<string, Promise<OpenTask>>();
  const tensorsOf = async (name: string): Promise<readonly TensorParts[]> => {
    const task = taskOf(label, manifest, name);
    const { factors } = task;
    const vector = task.vector ?? manifest.shared;
    return tensorParts(manifest, task, recorded, {
      base,
      vector: await partOrNull(vector),
      mask: await partOrNull(task.mask),
      starts: await partOrNull(task.starts),
      factors:
        factors === null
          ? null
          : {
              left: await openPart(factors.left),
              values: await openPart(factors.values),
              right: await openPart(factors.right),
            },
    });
  };
  const openTask = async (name: string, weights?: TaskWeights): Promise<OpenTask> => {
    const task = taskOf(label, manifest, name);
    const head = await partOrNull(task.head);
    const companions = await companionsOf(label, access, task, platform);
    const given = weights === undefined ? null : Object.entries(weights);
    const tensors =
      given === null
        ? await tensorsOf(name)
        : weightedParts(
            await Promise.all(given.map(async ([one, weight]) => ({ tensors: await tensorsOf(one), weight }))),
          );
    const mixture = given === null ? null : given.map(([one, weight]) => `${one}=${weight}`).join(",");
    const { location } = access;
    const checkpoint = taskCheckpoint({ label, location, hash, mixture, task, tensors, base, head, companions });
    const whole = [
      ...(head === null ? [] : wholeParts(recorded, head, task.head!)),
      ...(inside === null ? [] : wholeParts(recorded, base, inside)),
    ];
    return { task, tensors, whole, checkpoint };
  };
  const artifact: Artifact = {
    label,
    hash,
    manifest,
    recorded,
    partsOf: async (folder) => wholeParts(recorded, await openPart(folder), folder),
    tasks: manifest.tasks.map(({ name }) => name),
    base,
    openTask(name, weights) {
      if (weights !== undefined) return openTask(name, weights);
      let task = tasks.get(name);
      if (task === undefined) tasks.set(name, (task = openTask(name)));
      return task;
    },
    async readTensor(task, tensor) {
      return readTaskTensor(label, await artifact.openTask(task), tensor, inside === null ? base : null);
    },
    async close() {
      for (const checkpoint of opened) await checkpoint.close();
    },
  };
  try {
    await checkEarly(await artifact.openTask(artifact.tasks[0]!), inside === null ? base : null);
    return artifact;
  } catch (error) {
    await artifact.close();
    throw error;
  }
}

async function openBase(
  label: string,
  { base }: Manifest,
  { openModel }: ArtifactPlatform,
  at: string,
): Promise<Checkpoint> {
  try {
    return await openModel(at);
  } catch (error) {
    if (!(error instanceof MergewrightError) || error.kind !== "request") throw error;
    throw defect("artifact/base", "the base of the artifact cannot be opened", {
      where: { file: label },
      expected: at === base.model ? `the base at ${at}, as when it was made` : `the base at ${at}`,
      found: error.message.split("\n")[0]!,
      cause: error,
    });
  }
}

/** A folder of safetensors files, with the sizes and headers that the record says. */
async function openFolderOf(
  label: string,
  folder: string,
  { openFolder }: ArtifactPlatform,
  { outputs }: RecordedMerge,
): Promise<Checkpoint> {
  const place = `${label}/${folder}`;
  const checkpoint = await openCheckpoint(place, openFolder(place));
  for (const { name, source, header } of checkpoint.shards) {
    const recorded = outputs.find(({ file }) => file === `${folder}/${name}`);
    if (recorded?.bytes === source.stamp.size && recorded.header === header.hash) continue;
    await checkpoint.close();
    throw defect("artifact/damaged", "a part of the artifact is not as it was written", {
      where: { file: `${place}/${name}` },
      expected:
        recorded === undefined
          ? "a file that mergewright.json records"
          : `${recorded.bytes} bytes, header ${recorded.header}`,
      found: `${source.stamp.size} bytes, header ${header.hash}`,
    });
  }
  return checkpoint;
}

function taskOf(label: string, { tasks }: Manifest, name: string): ManifestTask {
  const task = tasks.find((candidate) => candidate.name === name);
  if (task !== undefined) return task;
  throw defect("artifact/task", "the artifact has no task of this name", {
    where: { file: label },
    expected: `one of ${someOf(
      tasks.map((candidate) => candidate.name),
      10,
    )}`,
    found: name,
  });
}

/** Config, tokenizer and other small files: the artifact's, with the config of the task's own head where it has one. */
async function companionsOf(label: string, access: FolderAccess, { head }: ManifestTask, platform: ArtifactPlatform) {
  const own = await readCompanions(label, access);
  if (head === null) return own;
  const { config, configText } = await readCompanions(`${label}/${head}`, platform.openFolder(`${label}/${head}`));
  return config === null ? own : { ...own, config, configText };
}

/** Another fine-tuned model of the same architecture has the same headers; only its bytes differ. */
/** @param base where it is no part of the artifact. */
async function checkEarly({ tensors }: OpenTask, base: Checkpoint | null): Promise<void> {
  let bytes = 0;
  for (const { base: part } of tensors.toSorted((a, b) => a.base.stored.length - b.base.stored.length)) {
    bytes += part.stored.length;
    if (bytes > EARLY_BYTES) return;
    const found = await checkPart(part);
    if (found !== null) throw partDefect(part, found, part.checkpoint === base);
  }
}

async function readTaskTensor(
  label: string,
  { task, tensors, whole, checkpoint }: OpenTask,
  name: string,
  base: Checkpoint | null,
): Promise<TaskTensorData> {
  const stored = checkpoint.tensors.get(name);
  if (stored === undefined) {
    throw defect("plan/missing-tensor", "the task's model has no such tensor", {
      where: { file: `${label}#${task.name}`, tensor: name },
    });
  }
  const parts = tensors.find((candidate) => candidate.name === name);
  for (const part of parts === undefined ? whole.filter((one) => one.stored.name === name) : partsIn(parts)) {
    const found = await checkPart(part);
    if (found !== null) throw partDefect(part, found, part.checkpoint === base);
  }
  const { source } = checkpoint.shards[stored.shard]!;
  const bytes = new Uint8Array(stored.length);
  await source.read(stored.offset, bytes);
  const { dtype, shape } = stored;
  if (parts === undefined || parts.dtype === "F32") return { name, dtype, shape, bytes };
  const rounded = new Uint8Array(entriesOf(shape) * DTYPE_BYTES[parts.dtype]);
  narrow(parts.dtype, new Float32Array(bytes.buffer), rounded);
  return { name, dtype: parts.dtype, shape, bytes: rounded };
}

/**
 * A task's model as the input of a merge. Closing it closes the artifact.
 * @param task `null` where the artifact has but one.
 */
export async function openTaskModel(
  label: string,
  task: string | null,
  platform: ArtifactPlatform,
  options: OpenArtifactOptions,
): Promise<Checkpoint> {
  const artifact = await openArtifact(label, platform, options);
  try {
    const [only, ...others] = artifact.tasks;
    if (task === null && others.length > 0) {
      throw defect("artifact/task", "the artifact has several tasks, and a model is one of them", {
        where: { file: label },
        expected: `${label}#TASK`,
        found: `the tasks ${someOf(artifact.tasks, 10)}`,
      });
    }
    const { checkpoint } = await artifact.openTask(task ?? only!);
    return { ...checkpoint, label: task === null ? label : checkpoint.label, close: () => artifact.close() };
  } catch (error) {
    await artifact.close();
    throw error;
  }
}
