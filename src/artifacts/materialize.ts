/** Writes the model of one task of an artifact as a folder like any other model's. */
import type { VerifyPlatform } from "../analyse/platform.js";
import { readingSetup, runOver } from "../analyse/reading.js";
import { PROVENANCE_FILE } from "../analyse/recorded.js";
import type { Crew } from "../execute/crew.js";
import { Journal } from "../execute/journal.js";
import type { Progress } from "../execute/meter.js";
import { run } from "../execute/run.js";
import type { RunResult } from "../execute/run.js";
import { setupOf } from "../execute/setup.js";
import type { WorkSetup } from "../execute/setup.js";
import type { Workspace } from "../execute/workspace.js";
import { layoutHeader, shardTensors } from "../formats/safetensors/index.js";
import { taskArithmetic } from "../methods/task_arithmetic.js";
import type { Checkpoint } from "../models/model.js";
import { blockTreeChecksum } from "../numbers/checksum.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { OpenInputs, Plan, PlannedFile, PlannedSideFile, PlannedTensor } from "../plan/types.js";
import { provenanceText, recordOf } from "../report/provenance.js";
import type { Provenance } from "../report/provenance.js";
import { partDefect } from "./check.js";
import { openArtifact } from "./open.js";
import type { Artifact, ArtifactPlatform, OpenTask, TaskWeights } from "./open.js";
import { partsIn } from "./parts.js";

/** What a platform supplies to write a task's model. */
export interface MaterializePlatform extends ArtifactPlatform, Pick<VerifyPlatform, "createCrew"> {
  readonly openWorkspace: (out: string, inputs: OpenInputs, options: { readonly force: boolean }) => Workspace;
}

export interface MaterializeOptions {
  /** Name of the task. */
  readonly task: string;
  /** How much of which tasks' vectors is added, instead of the task's own whole one; head and config stay the task's. */
  readonly weights?: TaskWeights;
  /** Folder to write; must not exist or be empty unless `force`. */
  readonly out: string;
  /** The base, where it is not at the place that the artifact names. */
  readonly base?: string | null;
  readonly threads: number;
  /** Start over and replace. Default false. */
  readonly force?: boolean;
  /** Largest weight file in bytes. Default 5 GB. */
  readonly shardSize?: number;
  readonly progress?: (progress: Progress) => void;
}

export interface Materialized {
  readonly task: string;
  /** Tensors that were made; all others are the base's or the task's own head. */
  readonly made: number;
  readonly plan: Plan;
  readonly provenance: Provenance;
  readonly result: RunResult;
  readonly seconds: number;
}

const SHARD_SIZE = 5e9;

/**
 * Checks every byte that the task's model is made of, then writes it.
 * @param label the artifact's folder.
 * @throws artifact/manifest, artifact/task, artifact/base, artifact/damaged, output/exists
 */
export async function materialize(
  label: string,
  platform: MaterializePlatform,
  options: MaterializeOptions,
): Promise<Materialized> {
  const started = performance.now();
  const artifact = await openArtifact(label, platform, options);
  try {
    const open = await artifact.openTask(options.task, options.weights);
    const inputs: OpenInputs = { base: artifact.base, models: [open.checkpoint], extra: {}, merges: [] };
    const workspace = platform.openWorkspace(options.out, inputs, { force: options.force ?? false });
    try {
      const createCrew = (setup: WorkSetup, bytes: number) => platform.createCrew(setup, options.threads, bytes);
      await checkParts(open, artifact, (setup) => createCrew(setup, 0));
      const plan = planOf(open, options.shardSize ?? SHARD_SIZE);
      const setup = setupOf(plan, (file) => workspace.path(file));
      const result = await run(plan, taskArithmetic, setup, workspace, new Journal(workspace, plan), {
        createCrew,
        strict: false,
        ...(options.progress && { progress: options.progress }),
      });
      const provenance = await writeCompanions(artifact, open, plan, result, workspace);
      workspace.commit();
      const made = open.tensors.length;
      return { task: options.task, made, plan, provenance, result, seconds: (performance.now() - started) / 1000 };
    } catch (error) {
      workspace.release();
      throw error;
    }
  } finally {
    await artifact.close();
  }
}

/** So that no byte is written that comes from a damaged part or from another base. */
async function checkParts(
  open: OpenTask,
  { base, manifest }: Artifact,
  createCrew: (setup: WorkSetup) => Promise<Crew>,
): Promise<void> {
  // A part that several weights are made of is looked at once.
  const parts = [
    ...new Map([...open.tensors.flatMap(partsIn), ...open.whole].map((part) => [part.stored, part])).values(),
  ];
  const checkpoints = [...new Set(parts.map(({ checkpoint }) => checkpoint))];
  const shards = checkpoints.flatMap((checkpoint) => checkpoint.shards);
  const firstShard = (checkpoint: Checkpoint) => shards.indexOf(checkpoint.shards[0]!);
  const stored = parts.map(({ checkpoint, stored: tensor }) => {
    return { ...tensor, shard: firstShard(checkpoint) + tensor.shard };
  });
  const setup = readingSetup(shards, stored);
  const crew = await createCrew(setup);
  try {
    const all = [...parts.keys()];
    const blocks = await runOver(crew, setup, all, "examine", null, (index) => parts[index]!.blockEntries);
    for (const [index, part] of parts.entries()) {
      const found = blockTreeChecksum(blocks[index]!.map(({ digest }) => digest));
      if (found !== part.checksum)
        throw partDefect(part, found, part.checkpoint === base && manifest.base.inside === null);
    }
  } finally {
    await crew.close();
  }
}

/** Every tensor of the task's model is copied from where it is, or made while it is read. */
function planOf({ task, tensors, checkpoint }: OpenTask, shardSize: number): Plan {
  const { label } = checkpoint;
  const made = new Map(tensors.map(({ name, dtype }) => [name, dtype]));
  // In the order of the base's bytes.
  const wanted = [...checkpoint.tensors.values()].map((stored) => {
    return { name: stored.name, dtype: made.get(stored.name) ?? stored.dtype, shape: stored.shape, stored };
  });
  const shards = shardTensors(wanted, shardSize);
  const files: PlannedFile[] = [];
  const planned: PlannedTensor[] = [];
  for (const shard of shards.files) {
    const layout = layoutHeader(shard.tensors, { format: "pt" });
    for (const [index, { offset, length }] of layout.tensors.entries()) {
      const { name, shape, dtype, stored } = shard.tensors[index]!;
      const reason = made.has(name) ? `made for ${label}` : `of the base or of the head of ${task.name}`;
      const stream = { source: stored.shard, offset: stored.offset, dtype: stored.dtype };
      planned.push({ ...copied({ name, shape, dtype, reason, stream }), file: files.length, offset, length });
    }
    files.push({ name: shard.name, size: layout.fileSize, header: layout.header });
  }
  const { configText, sideFiles } = checkpoint;
  const texts = [
    ...(shards.index === null ? [] : [shards.index]),
    ...(configText === null ? [] : [{ name: "config.json", text: configText }]),
  ];
  const copies = sideFiles.map(({ name }): PlannedSideFile => ({ name, input: 0, file: name }));
  return {
    method: taskArithmetic.name,
    methodHash: null,
    inputs: [{ role: "model", name: task.name, label, location: checkpoint.location }],
    sources: checkpoint.shards.map(({ source: { label: file, address, stamp }, header }) => {
      return { input: 0, file, address, stamp, headerHash: header.hash };
    }),
    tensors: planned,
    skipped: [],
    files,
    sideFiles: [...texts, ...copies],
    merges: [],
    warnings: [],
    estimate: {
      outputBytes: files.reduce((sum, { size }) => sum + size, 0),
      readBytes: 0,
      mergedEntries: 0,
      passes: 1,
    },
    scores: { rows: 0, ranks: 0 },
    measured: false,
    seed: 0,
  };
}

function copied({
  name,
  shape,
  dtype,
  reason,
  stream,
}: {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly reason: string;
  readonly stream: PlannedTensor["inputs"][number]["stream"];
}): Omit<PlannedTensor, "file" | "offset" | "length"> {
  return {
    name,
    shape,
    entries: entriesOf(shape),
    dtype,
    action: "copy",
    reason,
    base: null,
    inputs: [{ model: 0, stream }],
    extra: {},
    settings: null,
    prune: null,
    tiedTo: null,
  };
}

async function writeCompanions(
  { label, manifest, recorded }: Artifact,
  { task, checkpoint }: OpenTask,
  plan: Plan,
  result: RunResult,
  workspace: Workspace,
): Promise<Provenance> {
  for (const file of plan.sideFiles) {
    if ("text" in file) workspace.writeWhole(file.name, encode(file.text));
    else workspace.writeWhole(file.name, await checkpoint.sideFiles.find(({ name }) => name === file.file)!.read());
  }
  const made = {
    method: manifest.method,
    dialect: recorded.dialect,
    seed: recorded.seed,
    recipe: recorded.recipe,
    artifact: { folder: label, task: task.name, fingerprint: manifest.base.fingerprint },
  };
  const provenance = recordOf(made, plan, result, new Map(), []);
  workspace.writeWhole(PROVENANCE_FILE, encode(provenanceText(provenance)));
  return provenance;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
