/** What is in an artifact, from its manifest, its record and the headers of its parts; the base is not needed. */
import type { RecordedMerge } from "../analyse/recorded.js";
import type { FolderAccess } from "../models/folder.js";
import { upscalingOf } from "../plan/upscaling.js";
import type { Upscaling } from "../plan/upscaling.js";
import { readExperts } from "./experts_file.js";
import type { ArtifactPlatform } from "./open.js";
import { readManifest } from "./manifest.js";
import type { Manifest, ManifestTask } from "./manifest.js";

export interface ArtifactInspection {
  readonly label: string;
  readonly version: number;
  readonly method: string;
  readonly base: {
    readonly model: string;
    /** Folder of a base that is a part of the artifact, or `null`. */
    readonly inside: string | null;
    readonly fingerprint: string;
    readonly tensors: number;
  };
  /** Bytes of the vector that tasks share; `null` where there is none. */
  readonly sharedBytes: number | null;
  readonly tasks: readonly InspectedTask[];
  /** Bytes of all weight files. */
  readonly bytes: number;
  /** Of experts: the numbers that they store, and what they cost a token; `null` where there are none. */
  readonly upscaling: Upscaling | null;
}

export interface InspectedTask {
  readonly name: string;
  readonly model: string;
  /** Multiplies the vector. */
  readonly scale: number;
  /** Share of the entries that the mask keeps; 1 without a mask. */
  readonly density: number;
  readonly kept: number;
  readonly entries: number;
  /** Of what the task has of its own. */
  readonly bytes: {
    readonly mask: number;
    readonly vector: number;
    readonly factors: number;
    readonly gates: number;
    readonly head: number;
  };
}

/** @throws artifact/manifest, verify/failed, checkpoint/missing-file */
export async function inspectArtifact(
  label: string,
  { openFolder }: Pick<ArtifactPlatform, "openFolder">,
): Promise<ArtifactInspection> {
  const access = openFolder(label);
  const { manifest, recorded } = await readManifest(label, access);
  const { version, method, base, shared, tasks } = manifest;
  return {
    label,
    version,
    method,
    base: {
      ...{ model: base.model, inside: base.inside, fingerprint: base.fingerprint },
      tensors: Object.keys(base.tensors).length,
    },
    sharedBytes: shared === null ? null : bytesIn(recorded, shared),
    tasks: tasks.map((task) => inspectTask(task, recorded)),
    bytes: recorded.outputs.reduce((sum, { bytes }) => sum + bytes, 0),
    upscaling: await upscalingIn(access, manifest, recorded),
  };
}

async function upscalingIn(
  access: FolderAccess,
  { routing, tasks }: Manifest,
  recorded: RecordedMerge,
): Promise<Upscaling | null> {
  if (routing === null) return null;
  const stored = await readExperts(access, recorded);
  const experts = stored.map((one) => ({ ...one, model: tasks.findIndex(({ name }) => name === one.task) }));
  const shared = Math.max(...tasks.map(({ entries }) => entries));
  return upscalingOf(experts, shared, tasks.length, routing);
}

function inspectTask(task: ManifestTask, recorded: RecordedMerge): InspectedTask {
  const { name, model, scale, kept, entries } = task;
  const bytes = {
    mask: bytesIn(recorded, task.mask),
    vector: bytesIn(recorded, task.vector) + bytesIn(recorded, task.starts),
    factors: Object.values(task.factors ?? {}).reduce((sum, folder) => sum + bytesIn(recorded, folder), 0),
    gates: bytesIn(recorded, task.gates),
    head: bytesIn(recorded, task.head),
  };
  return { name, model, scale, density: entries === 0 ? 0 : kept / entries, kept, entries, bytes };
}

function bytesIn({ outputs }: RecordedMerge, folder: Manifest["shared"]): number {
  if (folder === null) return 0;
  return outputs.filter(({ file }) => file.startsWith(`${folder}/`)).reduce((sum, { bytes }) => sum + bytes, 0);
}
