/**
 * Collects statistics of a model on a task's examples: runs the network over fixed blocks of examples and adds up. Sums
 * are f32 within a block and f64 from block to block, so they do not depend on threads or on restarts.
 */
import type { LabelledExamples, Prepared } from "../evaluate/scorer.js";
import type { Adapter } from "../adapters/adapter.js";
import { checkClasses } from "../evaluate/heads.js";
import { taskDefect } from "../evaluate/defect.js";
import { prepare } from "../evaluate/scorers.js";
import { sha256 } from "../evaluate/fingerprint.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import type { Split, Task } from "../evaluate/task.js";
import type { LayerStatistics, ModelIdentity, StatisticsInfo } from "../collected/statistics.js";
import type { Partitioning, StatisticsKind } from "../methods/method.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { IGNORED, MOST_TURNS } from "../runtime/network.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "../runtime/network.js";
import { weightsOf } from "../runtime/weights.js";
import { dialectOf } from "./dialects.js";
import type { CollectDialect } from "./dialects.js";
import { collectBlock } from "./blocks.js";
import { checkRelated, compare } from "./importance.js";
import type { Compared } from "./importance.js";
import { partitioningOf, unnamedBase } from "./partitioning.js";
import { squared } from "./shards.js";
import { Sums } from "./sums.js";
import { openVectors } from "./vectors.js";
import type { WithVectors } from "./vectors.js";

/** Examples whose sums are f32; a shard that begins and ends at a multiple of it adds up as if it had been one. */
export const BLOCK_EXAMPLES = 32;

export interface CollectRequest {
  readonly kind: StatisticsKind;
  /** A path or address. */
  readonly model: string;
  readonly task: Task;
  readonly split: Split;
  /** The first example of the split. */
  readonly first: number;
  /** How many, at most; fewer where the split ends. */
  readonly examples: number;
  readonly dialect: string | null;
  /** Of labels that are drawn. */
  readonly seed: number;
  /** Examples of a batch, for dialects that add gradients before they square them. */
  readonly batch: number;
  /** A path or address of what the model is a change of; for importances. */
  readonly base?: string;
  /** What has an importance of its own. Default: each row of the gradient's, each layer of what is measured otherwise. */
  readonly per?: Partitioning;
}

/** What collecting needs of a platform: networks that can be looked into. */
export interface CollectPlatform extends EvaluatePlatform {
  readonly openNetwork: (weights: WeightSource, options: NetworkOptions) => Promise<TappedNetwork>;
  readonly openAdapter: (label: string) => Promise<Adapter>;
}

/** What has been found: the file's content. */
export interface Collected {
  readonly info: StatisticsInfo;
  readonly sums: Sums;
  readonly notes: readonly string[];
}

/** What an earlier run left. */
export interface Earlier {
  readonly sums: Sums;
  readonly layers: StatisticsInfo["layers"];
  /** Examples that are in the sums. */
  readonly examples: number;
  /** As the file says. */
  readonly count: number;
}

export interface CollectOptions {
  readonly threads: number;
  /** Told of every block. */
  readonly progress?: (done: number, total: number) => void;
  /** What an earlier run of the same work left: `info` is that of the whole. */
  readonly resume?: (info: StatisticsInfo) => Promise<Earlier | null>;
  /** Called between blocks; the information is that of the sums so far. */
  readonly keep?: (info: StatisticsInfo, sums: Sums) => void | Promise<void>;
}

/** What is to be closed. */
type Opened = { close(): void | Promise<void> }[];

/** The checkpoints of a collection. */
interface CollectModels {
  readonly model: Checkpoint;
  /** What the model is a change of, for importances. */
  readonly base: Checkpoint | null;
  /** Whose head is attached; `null`: none. */
  readonly head: Checkpoint | null;
  readonly per: Partitioning | null;
  /** The model is its adapter, beside which the model's own weights stay as they are. */
  readonly beside: WithVectors | null;
}

async function openModels(
  { kind, model: label, base, per, task, dialect }: CollectRequest,
  platform: CollectPlatform,
  opened: Opened,
): Promise<CollectModels> {
  const open = async (one: string) => {
    const checkpoint = await platform.openModel(one);
    opened.push(checkpoint);
    return checkpoint;
  };
  const beside = kind === "block" ? await openVectors(label, platform, opened) : null;
  const model = beside?.base ?? (await open(label));
  const named = "head" in task ? task.head : null;
  if (kind !== "importance") {
    return { model, base: null, head: named === null ? null : await open(named), per: null, beside };
  }
  if (base === undefined) throw unnamedBase(label);
  const wanted = partitioningOf(dialectOf(kind, dialect).name, per);
  // The base's own head knows nothing of the task.
  const head = named !== null ? await open(named) : "head" in task ? model : null;
  return { model, base: await open(base), head, per: wanted, beside };
}

/** @throws statistics/data, tasks/data, runtime/… */
export async function collectStatistics(
  request: CollectRequest,
  platform: CollectPlatform,
  options: CollectOptions,
): Promise<Collected> {
  const dialect = dialectOf(request.kind, request.dialect);
  const { task, split, first } = request;
  const opened: Opened = [];
  let prepared: Prepared | null = null;
  let network: TappedNetwork | null = null;
  try {
    const models = await openModels(request, platform, opened);
    const { model, base, head, per, beside } = models;
    if (base !== null) checkRelated(weightsOf(base), weightsOf(model));
    prepared = await prepare(task, { model, head, split, platform });
    const { labelled, content } = prepared;
    if (labelled === undefined || content === null) throw noExamples(task);
    const end = Math.min(first + request.examples, labelled.count);
    if (first >= end) throw pastTheEnd(task, split, labelled.count, first);
    const weights = beside?.weights ?? weightsOf(model);
    const headWeights = head === null ? null : weightsOf(head);
    // A block may take several calls; what is told never falls.
    const block = { from: 0, to: 0, told: 0 };
    const within = (share: number) => {
      block.told = Math.max(block.told, block.from + share * (block.to - block.from));
      options.progress?.(block.told, end - first);
    };
    network = await platform.openNetwork(base === null ? weights : weightsOf(base), {
      threads: options.threads,
      progress: within,
      ...(headWeights !== null && { head: headWeights }),
      ...(beside !== null && { linear: beside.rule }),
    });
    if ("classes" in task) checkClasses(task, network, labelled.classes!, (head ?? model).label);
    const turns = dialect.labels === "expectation" ? await turnsOf(labelled, first, network, task) : 0;
    const compared =
      per === null ? undefined : compare(network, weightsOf(base!), weights, { per, headed: head !== null });
    const shapeOf = (name: string) => weights.shape(name) ?? headWeights!.shape(name)!;
    const data = await sha256(content);
    const work = {
      ...{ network, labelled, dialect, request, data, shapeOf },
      ...(compared !== undefined && { compared }),
      ...(beside !== null && { vectors: beside.vectors }),
    };
    const infoOf = await describing(request, dialect, models, data);
    const earlier =
      (await options.resume?.(infoOf({ done: end, predictions: 0, layers: new Map(), sums: new Sums() }))) ?? null;
    const sums = earlier?.sums ?? new Sums();
    const layers = new Map(Object.entries(earlier?.layers ?? {}));
    let predictions = earlier?.count ?? 0;
    let done = first + (earlier?.examples ?? 0);
    const step = dialect.perBatch ? request.batch : BLOCK_EXAMPLES;
    while (done < end) {
      // Blocks end where they would in any other collection of this split, so that shards agree.
      const next = Math.min(end, dialect.perBatch ? done + step : (Math.floor(done / step) + 1) * step);
      const examples = Array.from({ length: next - done }, (_, index) => done + index);
      Object.assign(block, { from: done - first, to: next - first });
      predictions += await collectBlock(work, examples, sums, layers);
      done = next;
      options.progress?.(done - first, end - first);
      if (done < end) await options.keep?.(infoOf({ done, predictions, layers, sums }), sums);
    }
    return {
      info: infoOf({ done, predictions, layers, sums }),
      sums,
      notes: [
        ...prepared.notes,
        ...turnsNote(turns, labelled),
        ...notesOn(request, end - first, layers),
        ...leftOut(compared),
      ],
    };
  } finally {
    await network?.close();
    await prepared?.close?.();
    for (const checkpoint of opened) await checkpoint.close();
  }
}

/** How far a collection has come. */
interface State {
  /** The example after the last that was looked at. */
  readonly done: number;
  /** That losses were summed over, of importances. */
  readonly predictions: number;
  readonly layers: ReadonlyMap<string, LayerStatistics>;
  readonly sums: Sums;
}

/** What a file says of sums so far. */
async function describing(
  { kind, task, split, first, seed, batch }: CollectRequest,
  { name, labels, perBatch }: CollectDialect,
  { model, base, head, per, beside }: CollectModels,
  data: string,
): Promise<(state: State) => StatisticsInfo> {
  const identities = {
    model: beside?.identity ?? (await identityOf(model)),
    head: head === null ? null : await identityOf(head),
    base: base === null ? null : await identityOf(base),
  };
  return ({ done, predictions, layers, sums }) => {
    const count = done - first;
    return {
      ...{ kind, dialect: name, ...identities, per, labels },
      sources: [{ task: task.name, data, split, first, count }],
      seed: labels === "sampled" ? seed : null,
      batch: perBatch ? batch : 1,
      count: kind === "importance" ? predictions : perBatch ? Math.ceil(count / batch) : count,
      layers: Object.fromEntries(layers),
      energy: kind === "fisher" ? energyOf(sums) : {},
    };
  };
}

/**
 * Backward passes that an exact expectation takes for an example: one for each class of each row that counts.
 * @throws tasks/data where that would never end.
 */
async function turnsOf(
  labelled: LabelledExamples,
  example: number,
  { classes }: TappedNetwork,
  task: Task,
): Promise<number> {
  if (labelled.classes !== null) return classes;
  const { targets } = await labelled.batch([example]);
  const rows = targets.filter((target) => target !== IGNORED).length;
  const turns = rows * classes;
  if (turns <= MOST_TURNS) return turns;
  throw taskDefect(task, "tasks/data", "the exact Fisher would take too many backward passes", {
    expected: `at most ${MOST_TURNS} for an example`,
    found: `${turns}: ${rows} predicted tokens times a vocabulary of ${classes}`,
    advice: "take --dialect sampled, which is the same on average, or shorter texts (window: in the task)",
  });
}

function turnsNote(turns: number, { classes }: LabelledExamples): string[] {
  if (turns === 0 || classes !== null) return [];
  return [`${turns} backward passes for an example: one for each word of the vocabulary at each predicted token`];
}

async function identityOf(checkpoint: Checkpoint): Promise<ModelIdentity> {
  return { name: checkpoint.name, hash: await sampledFingerprint(checkpoint) };
}

/** By name, as a collection that went on from a file has them, too. */
function energyOf({ all }: Sums): Record<string, number> {
  return Object.fromEntries([...all.keys()].sort().map((name) => [name, squared(all.get(name)!.data)]));
}

function leftOut(compared: Compared | undefined): string[] {
  const [first, ...others] = compared?.left ?? [];
  if (first === undefined) return [];
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return [`${first}${more} left out: the base has none or one of another shape`];
}

/** Things about what was found that a merge will meet. */
function notesOn(
  { kind, examples: wanted, split }: CollectRequest,
  found: number,
  layers: ReadonlyMap<string, LayerStatistics>,
): string[] {
  const thin = [...layers].filter(([, { shape, transposed, rows }]) => {
    return kind !== "importance" && rows < (transposed ? shape[0]! : shape[1]!);
  });
  const [first] = thin;
  const short =
    kind === "block"
      ? `${thin.length} of ${layers.size} vectors have more entries than examples were looked at`
      : `${thin.length} of ${layers.size} layers saw fewer rows than they have inputs`;
  return [
    ...(found < wanted ? [`the split ${split} has only ${found} of the ${wanted} examples asked for`] : []),
    ...(first === undefined
      ? []
      : [
          `${short} (${first[0]}: ${first[1].rows}), so ` +
            "their sums are not of full rank: collect more examples, or merge with off-diagonals damped (alpha below 1)",
        ]),
  ];
}

function noExamples(task: Task) {
  return taskDefect(task, "tasks/data", `a task of type ${task.type} has no examples to collect from`, {
    expected: "image-classification, sequence-classification, language-modelling or text-to-text",
    advice: "name another task with --task",
  });
}

function pastTheEnd(task: Task, split: Split, count: number, first: number) {
  return taskDefect(task, "tasks/data", `the split ${split} ends before the first example asked for`, {
    expected: `--first below ${count}`,
    found: String(first),
  });
}
