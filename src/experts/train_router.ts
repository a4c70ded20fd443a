/** Trains an artifact's router on examples of its tasks, of which nothing but the task is looked at. */
import { openAlgebra } from "../algebra/algebra.js";
import { openArtifact } from "../artifacts/open.js";
import type { Artifact, ArtifactPlatform, OpenArtifactOptions } from "../artifacts/open.js";
import { defect } from "../artifacts/defect.js";
import { taskDefect } from "../evaluate/defect.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import { prepare } from "../evaluate/scorers.js";
import type { Split, Task } from "../evaluate/task.js";
import type { TappedNetwork } from "../runtime/network.js";
import type { Team } from "../runtime/team.js";
import { openNetworkWith } from "../runtime/opened_network.js";
import { weightsOf } from "../runtime/weights.js";
import { rightByTask, trainLogistic, trainMlp } from "./router.js";
import type { RouterData, RouterKind } from "./router.js";
import { routerBytes } from "./router_file.js";
import type { RouterScore } from "./router_file.js";

export interface TrainRouterOptions extends OpenArtifactOptions {
  /** What is learnt from. Default: train. */
  readonly split?: Split;
  /** By which the perceptron's epoch is chosen, reported for both kinds; `null`: none. Default: val. */
  readonly select?: Split | null;
  /** Reported and nothing else; `null`: none. Default: test. */
  readonly report?: Split | null;
  /** Default: mlp, the paper's. */
  readonly kind?: RouterKind;
  /** Examples of each task, the first ones; `null`: all. */
  readonly examples?: number | null;
  readonly epochs?: number;
  readonly seed?: number;
  readonly progress?: (progress: { readonly name: string; readonly done: number; readonly total: number }) => void;
}

export interface TrainedRouter {
  readonly kind: RouterKind;
  readonly tasks: readonly string[];
  readonly scores: readonly RouterScore[];
  /** Of router/model.safetensors. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly seconds: number;
}

/** Examples that pass through the network at once. */
const BATCH = 64;

/**
 * @param label the artifact's folder.
 * @param openTeam for the shared model; closed here.
 * @throws artifact/task where the artifact takes no router or a task has no data; what opening and reading data throw.
 */
export async function trainRouter(
  label: string,
  tasks: readonly Task[],
  platform: EvaluatePlatform & ArtifactPlatform & { readonly openTeam: () => Team },
  options: TrainRouterOptions = {},
): Promise<TrainedRouter> {
  const started = performance.now();
  const { split = "train", select = "val", report = "test", kind = "mlp", seed = 0 } = options;
  const artifact = await openArtifact(label, platform, options);
  try {
    const own = tasksOf(artifact, tasks);
    const { checkpoint } = await artifact.openTask(artifact.tasks[0]!);
    const shared = {
      ...checkpoint,
      tensors: new Map([...checkpoint.tensors, ...artifact.base.tensors]),
      shards: artifact.base.shards,
    };
    const head = weightsOf(checkpoint);
    const network = await openNetworkWith(weightsOf(shared), { head }, platform.openTeam());
    try {
      const embed = (one: Split, most: number | null) =>
        embedTasks(one, most, { own, artifact, network, platform, options });
      const data = await embed(split, options.examples ?? null);
      const validation = select === null ? null : await embed(select, null);
      const { epochs, progress } = options;
      const router =
        kind === "logistic"
          ? trainLogistic(data, own.length)
          : trainMlp(openAlgebra(), data, validation, own.length, {
              seed,
              ...(epochs !== undefined && { epochs }),
              ...(progress && { progress: (done, total) => progress({ name: "training", done, total }) }),
            });
      const test = report === null ? null : await embed(report, null);
      const scores = [[split, data] as const, [select, validation] as const, [report, test] as const].flatMap(
        ([name, one]): RouterScore[] => {
          if (name === null || one === null) return [];
          const of = own.map((_, task) => one.tasks.reduce((sum, other) => sum + (other === task ? 1 : 0), 0));
          return [{ split: name, right: rightByTask(router, one, own.length), of }];
        },
      );
      const record = { kind, shared: artifact.manifest.base.fingerprint, tasks: [...artifact.tasks], seed, scores };
      const bytes = routerBytes(router, record);
      return { kind, tasks: artifact.tasks, scores, bytes, seconds: (performance.now() - started) / 1000 };
    } finally {
      await network.close();
    }
  } finally {
    await artifact.close();
  }
}

/** The tasks in the artifact's order. */
function tasksOf(artifact: Artifact, tasks: readonly Task[]): Task[] {
  if (artifact.manifest.routing?.by !== "inputs") {
    throw defect("artifact/task", "the artifact takes no router", {
      where: { file: artifact.label },
      expected: "an artifact of twin",
      found: `one of ${artifact.manifest.method}`,
      advice: "smile's gates need no training, and the tasks of other artifacts are named by hand",
    });
  }
  return artifact.tasks.map((name) => {
    const task = tasks.find((candidate) => candidate.name === name);
    if (task !== undefined) return task;
    throw defect("artifact/task", "a task of the artifact has no data", {
      where: { file: artifact.label },
      expected: `a task ${name} in the tasks file`,
      found: tasks.map((candidate) => candidate.name).join(", "),
      advice: "a router knows no task that it has seen nothing of",
    });
  });
}

interface EmbedWork {
  readonly own: readonly Task[];
  readonly artifact: Artifact;
  readonly network: TappedNetwork;
  readonly platform: EvaluatePlatform;
  readonly options: TrainRouterOptions;
}

async function embedTasks(
  split: Split,
  most: number | null,
  { own, artifact, network, platform, options: { progress } }: EmbedWork,
): Promise<RouterData> {
  const values: Float32Array[] = [];
  const labels: number[] = [];
  let width = 0;
  for (const [index, task] of own.entries()) {
    const { checkpoint: model } = await artifact.openTask(task.name);
    const prepared = await prepare(task, { model, head: null, split, platform, labels: "unused" });
    try {
      if (prepared.labelled === undefined) {
        throw taskDefect(task, "tasks/model", `a task of type ${task.type} has no inputs that a router could look at`, {
          expected: "a task of type image-classification, sequence-classification or language-modelling",
        });
      }
      const count = Math.min(prepared.labelled.count, most ?? Number.POSITIVE_INFINITY);
      for (let first = 0; first < count; first += BATCH) {
        const examples = Array.from({ length: Math.min(BATCH, count - first) }, (_, at) => first + at);
        const { batch } = await prepared.labelled.batch(examples);
        const found = await network.embeddings(batch);
        width = found.width;
        values.push(found.values);
        for (let row = 0; row < found.rows; row++) labels.push(index);
        const total = count * own.length;
        progress?.({ name: `looking at ${split}`, done: index * count + first + examples.length, total });
      }
    } finally {
      await prepared.close?.();
    }
  }
  const all = new Float32Array(labels.length * width);
  let at = 0;
  for (const one of values) {
    all.set(one, at);
    at += one.length;
  }
  return { width, count: labels.length, values: all, tasks: Int32Array.from(labels) };
}
