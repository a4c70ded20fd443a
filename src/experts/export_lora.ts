/**
 * The experts of an artifact as LoRA adapters in PEFT's layout, one folder per task: B = U S and A = V^T with scaling 1, the
 * bias of a factored layer as the LoRA's own, every other tensor whole. Over the artifact's shared model each adapter makes the
 * model of its task. One adapter is in memory at a time.
 */
import { transposed } from "../adapters/adapter.js";
import { draftTensor, loraConfig, peftKey } from "../adapters/draft.js";
import type { DraftTensor, LoraShape } from "../adapters/draft.js";
import { isConv1d } from "../adapters/kinds/conv1d.js";
import { peftFiles, safetensorsOf } from "../adapters/write.js";
import type { AdapterOrigin } from "../adapters/write.js";
import { defect } from "../artifacts/defect.js";
import type { MaterializePlatform } from "../artifacts/materialize.js";
import { openArtifact } from "../artifacts/open.js";
import type { Artifact, ArtifactPlatform, OpenTask } from "../artifacts/open.js";
import type { FactorParts, TensorParts, VectorParts } from "../artifacts/parts.js";
import type { Workspace } from "../execute/workspace.js";
import { roleOf } from "../models/families.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import { leftStack, rightStack, wholeVector } from "./stacks.js";

export interface ExportPlatform extends ArtifactPlatform, Pick<MaterializePlatform, "openWorkspace"> {}

export interface ExportOptions {
  /** Folder to write; must not exist or be empty unless `force`. */
  readonly out: string;
  /** Only this task. Default: all. */
  readonly task?: string;
  /** The base, where it is not at the place that the artifact names. */
  readonly base?: string | null;
  /** Start over and replace. Default false. */
  readonly force?: boolean;
  readonly progress?: (progress: { readonly task: string; readonly done: number; readonly total: number }) => void;
}

/** One task's adapter. */
export interface ExportedTask {
  readonly name: string;
  /** Inside the folder that was written. */
  readonly folder: string;
  /** Layers with factors. */
  readonly modules: number;
  /** Smallest and largest rank. */
  readonly ranks: readonly [number, number];
  /** Numbers in the adapter, the tensors that are kept whole included. */
  readonly parameters: number;
  /** Tensors that replace the base's. */
  readonly whole: readonly string[];
  /** Tensors of the task's head that have other shapes than the base's, which lie in `head/` beside the adapter. */
  readonly head: readonly string[];
}

export interface ExportReport {
  readonly artifact: string;
  /** What the adapters are over. */
  readonly base: string;
  readonly out: string;
  readonly tasks: readonly ExportedTask[];
  readonly warnings: readonly string[];
}

/** @throws artifact/manifest, artifact/task where experts are no low-rank changes, artifact/damaged, output/exists */
export async function exportLora(
  label: string,
  platform: ExportPlatform,
  { out, task: only, base = null, force = false, progress }: ExportOptions,
): Promise<ExportReport> {
  const artifact = await openArtifact(label, platform, base === null ? {} : { base });
  try {
    const names = only === undefined ? artifact.tasks : [only];
    const opened = await Promise.all(names.map((name) => artifact.openTask(name)));
    refuseUnfactored(artifact, opened);
    const inputs = { base: artifact.base, models: opened.map(({ checkpoint }) => checkpoint), extra: {}, merges: [] };
    const workspace = platform.openWorkspace(out, inputs, { force });
    try {
      const tasks: ExportedTask[] = [];
      const warnings: string[] = [];
      for (const [done, open] of opened.entries()) {
        progress?.({ task: open.task.name, done, total: opened.length });
        if (open.tensors.length === 0) warnings.push(`${open.task.name} adds nothing to what is shared: no adapter`);
        else tasks.push(await writeTask(artifact, open, workspace, warnings));
      }
      workspace.commit();
      return { artifact: label, base: artifact.base.label, out, tasks, warnings };
    } catch (error) {
      workspace.release();
      throw error;
    }
  } finally {
    await artifact.close();
  }
}

function refuseUnfactored({ label, manifest }: Artifact, opened: readonly OpenTask[]): void {
  const bare = opened.find(({ task, tensors }) => task.factors === null && tensors.length > 0);
  if (bare === undefined) return;
  throw defect("artifact/task", "what the task adds is no low-rank change", {
    where: { file: label, key: bare.task.name },
    expected: "experts of twin or smile that are kept at a rank",
    found: `whole or masked vectors, of ${manifest.method}`,
    advice: "write the task's model with mergewright materialize; mergewright adapter extract makes a LoRA of it",
  });
}

async function writeTask(
  artifact: Artifact,
  open: OpenTask,
  workspace: Workspace,
  warnings: string[],
): Promise<ExportedTask> {
  const { name } = open.task;
  const { shapes, tensors: factors, biases, isTurned } = await factorsOf(open);
  const { replacing, whole, foreign } = await wholeOf(artifact, open, new Set([...factors.keys(), ...biases.keys()]));
  const tensors = [...[...factors.values()].flat(), ...biases.values(), ...replacing];
  const saved = [...new Set(whole.map((tensor) => tensor.replace(/\.(?:weight|bias)$/, "")))].sort();
  const config = loraConfig(shapes, {
    base_model_name_or_path: artifact.base.label,
    modules_to_save: saved.length === 0 ? null : saved,
    lora_bias: biases.size > 0,
    fan_in_fan_out: isTurned,
  });
  for (const [file, bytes] of peftFiles({ config, tensors }, originOf(artifact, open, tensors))) {
    workspace.writeWhole(`${name}/${file}`, bytes);
  }
  if (foreign.length > 0) {
    workspace.writeWhole(`${name}/head/model.safetensors`, safetensorsOf(foreign, { format: "pt" }));
    const { configText } = open.checkpoint;
    if (configText !== null) workspace.writeWhole(`${name}/head/config.json`, new TextEncoder().encode(configText));
  }
  const bare = whole.filter((tensor) => saved.includes(tensor));
  if (bare.length > 0) {
    warnings.push(
      `${name}: saved whole, but parameters without a module of their own, which PEFT does not load: ${bare.join(", ")}`,
    );
  }
  // An expert of embeddings alone has no layers.
  const ranks = shapes.length === 0 ? [0] : shapes.map(({ rank }) => rank);
  return {
    ...{ name, folder: name, modules: shapes.length, ranks: [Math.min(...ranks), Math.max(...ranks)], whole },
    parameters: tensors.reduce((sum, { shape }) => sum + entriesOf(shape), 0),
    head: foreign.map(({ key }) => key),
  };
}

interface Factored {
  readonly shapes: readonly LoraShape[];
  /** By the base's name, as are the biases. */
  readonly tensors: ReadonlyMap<string, readonly DraftTensor[]>;
  readonly biases: ReadonlyMap<string, DraftTensor>;
  /** Whether a layer is stored in x out. */
  readonly isTurned: boolean;
}

async function factorsOf({ tensors, checkpoint }: OpenTask): Promise<Factored> {
  const shapes: LoraShape[] = [];
  const found = new Map<string, readonly DraftTensor[]>();
  const biases = new Map<string, DraftTensor>();
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const family = checkpoint.config?.["model_type"];
  let isTurned = false;
  for (const tensor of tensors.filter(isLayer)) {
    const { name, shape } = tensor;
    const [rows, columns] = shape as [number, number];
    const rank = (tensor.terms[0] as FactorParts).values.stored.shape[0]!;
    const path = name.slice(0, -".weight".length);
    const [left, right] = [await leftStack([tensor], rows), await rightStack([tensor], columns)];
    // W is out x in, so that its change is B A; Conv1D keeps the transpose.
    const turned = isConv1d(typeof family === "string" ? family : null, path) === true;
    const [a, b] = turned ? [left, right] : [right, left];
    const [width, out] = turned ? [rows, columns] : [columns, rows];
    isTurned ||= turned;
    shapes.push({ path, rank, alpha: rank });
    found.set(name, [
      draftTensor(peftKey(path, "lora_A.weight"), [rank, width], a),
      draftTensor(peftKey(path, "lora_B.weight"), [out, rank], transposed(b, rank, out)),
    ]);
    const bias = byName.get(`${path}.bias`);
    if (bias?.terms[0]?.kind === "vector") {
      const change = await wholeVector(bias.terms[0] satisfies VectorParts, bias.entries);
      biases.set(bias.name, draftTensor(peftKey(path, "lora_B.bias"), bias.shape, change));
    }
  }
  return { shapes, tensors: found, biases, isTurned };
}

/** A linear layer with factors; a table of embeddings is saved whole. */
function isLayer({ name, terms }: TensorParts): boolean {
  const [term] = terms;
  const isNamed = name.endsWith(".weight") && roleOf(name) !== "vocabulary" && !/embed/i.test(name);
  return isNamed && term?.kind === "factors" && term.values.stored.shape[0]! > 0;
}

/** What replaces the base's tensors: the rest of the expert, and the head where it has the base's shapes. */
async function wholeOf(artifact: Artifact, { task, tensors, checkpoint }: OpenTask, done: ReadonlySet<string>) {
  const { base } = artifact;
  const rest = tensors.map(({ name }) => name).filter((name) => !done.has(name));
  const headed = (tensor: string) => checkpoint.tensors.get(tensor)!.shard > base.shards.length;
  const heads = [...checkpoint.tensors.keys()].filter(headed);
  const replacing: DraftTensor[] = [];
  const foreign: DraftTensor[] = [];
  const whole: string[] = [];
  for (const name of [...rest, ...heads]) {
    const { dtype, shape, bytes } = await artifact.readTensor(task.name, name);
    if (!isFloat(dtype)) continue;
    const fits = String(base.tensors.get(name)?.shape) === String(shape);
    const entry = { dtype, shape, bytes };
    if (fits) {
      replacing.push({ key: `base_model.model.${name}`, ...entry });
      whole.push(name);
    } else foreign.push({ key: name, ...entry });
  }
  return { replacing, whole, foreign };
}

function originOf({ label, hash, manifest }: Artifact, { task }: OpenTask, tensors: readonly DraftTensor[]) {
  const { method, base, routing } = manifest;
  return {
    action: "export",
    summary: `The expert of ${task.name} from an artifact of ${method}, over ${base.inside === null ? base.model : "its shared model"}.`,
    inputs: [{ label, header: hash }],
    details: { method, task: task.name, routing, fingerprint: base.fingerprint, tensors: tensors.length },
  } satisfies AdapterOrigin;
}
