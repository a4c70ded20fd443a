/** Scores of an artifact: every task with the experts that its inputs find, or with those that it is told. */
import { openArtifact } from "../artifacts/open.js";
import type { Artifact, ArtifactPlatform, OpenArtifactOptions } from "../artifacts/open.js";
import { defect } from "../artifacts/defect.js";
import { MergewrightError } from "../errors.js";
import { someOf } from "../formats/safetensors/text.js";
import { evaluateModel } from "../evaluate/evaluate.js";
import type { EvaluateOptions, Evaluation } from "../evaluate/evaluate.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import { taskDefect } from "../evaluate/defect.js";
import type { Checkpoint } from "../models/model.js";
import type { Choice, Routing } from "../runtime/routing.js";
import { readRouter, ROUTER_FILE, ROUTER_FOLDER } from "./router_file.js";
import { routerWeights } from "./router.js";
import { openExperts } from "./stacks.js";
import type { OpenedExperts } from "./stacks.js";
import { GateWatcher, meanEntropy } from "./watch.js";
import type { GateReport } from "./watch.js";
import type { Task } from "../evaluate/task.js";

/**
 * `soft`: by the router's weights. `top1`: the expert with the largest one. `oracle`: the task's own. `tokens`: by the
 * gates of the layers.
 */
export type RoutingMode = "soft" | "top1" | "oracle" | "tokens";
export const ROUTING_MODES: readonly RoutingMode[] = ["soft", "top1", "oracle", "tokens"];

export interface ArtifactEvaluation extends Evaluation {
  readonly routing: RoutingMode;
  /** Names of the artifact's tasks, in recipe order. */
  readonly experts: readonly string[];
  /** Per task how its inputs were routed; `null` where nothing was chosen. */
  readonly routed: readonly RoutedTask[] | null;
}

/** How the inputs of one task found their experts. */
export interface RoutedTask {
  readonly name: string;
  /** Mean share of each of the artifact's tasks: of inputs' weights, or of tokens and layers that chose it. */
  readonly shares: readonly number[];
  /** Mean entropy of the router's weights, or of the gates, over the largest possible one: 1 is uniform. */
  readonly entropy: number;
  /** Share of inputs whose largest weight is the task's own; `null` for gates, and for a task that the artifact has not. */
  readonly right: number | null;
  /** Of gates, per layer. */
  readonly layers: readonly GateReport[] | null;
}

export interface EvaluateArtifactOptions extends Omit<EvaluateOptions, "against" | "store">, OpenArtifactOptions {
  /** Default: by the artifact: `tokens` for gates, `soft` with a router, else `oracle`. */
  readonly routing?: RoutingMode;
}

/** @throws artifact/task, router/mismatch and what opening and evaluating throw. */
export async function evaluateArtifact(
  label: string,
  tasks: readonly Task[],
  platform: EvaluatePlatform & ArtifactPlatform,
  { routing: asked, base, ...options }: EvaluateArtifactOptions,
): Promise<ArtifactEvaluation> {
  const artifact = await openArtifact(label, platform, base === undefined ? {} : { base });
  try {
    const work = await Work.open(artifact, platform, asked ?? null);
    const evaluations: Evaluation[] = [];
    const routed: RoutedTask[] = [];
    for (const [index, task] of tasks.entries()) {
      const { progress } = options;
      const tell =
        progress &&
        ((one: Parameters<typeof progress>[0]) =>
          progress({ ...one, done: one.done + index * one.total, total: one.total * tasks.length }));
      const { evaluation, report } = await work.score(task, { ...options, ...(tell && { progress: tell }) });
      evaluations.push(evaluation);
      if (report !== null) routed.push(report);
    }
    const how = { routing: work.mode, experts: artifact.tasks, routed: routed.length === 0 ? null : routed };
    return { ...joined(evaluations, label), ...how };
  } finally {
    await artifact.close();
  }
}

function joined(evaluations: readonly Evaluation[], model: string): Evaluation {
  const tasks = evaluations.flatMap((one) => one.tasks);
  const metrics = new Set(tasks.map(({ metric }) => metric));
  const [metric = null] = metrics.size === 1 ? metrics : [];
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    ...{ model, split: evaluations[0]?.split ?? "test", tasks, metric, against: null },
    mean: metric === null ? null : sum(tasks.map(({ value }) => value)) / tasks.length,
    seconds: sum(evaluations.map(({ seconds }) => seconds)),
    notes: evaluations.flatMap(({ notes }) => notes),
  };
}

class Work {
  private constructor(
    readonly artifact: Artifact,
    readonly platform: EvaluatePlatform & ArtifactPlatform,
    readonly mode: RoutingMode,
    readonly experts: OpenedExperts | null,
    readonly route: ((embeddings: Float32Array, width: number) => Float32Array) | null,
  ) {}

  static async open(
    artifact: Artifact,
    platform: EvaluatePlatform & ArtifactPlatform,
    asked: RoutingMode | null,
  ): Promise<Work> {
    const by = artifact.manifest.routing?.by ?? null;
    const hasRouter = by === "inputs" && (await hasRouterFile(artifact, platform));
    const mode = asked ?? (by === "tokens" ? "tokens" : hasRouter ? "soft" : "oracle");
    const wrong = (mode === "tokens" && by !== "tokens") || ((mode === "soft" || mode === "top1") && by !== "inputs");
    if (wrong) {
      throw defect("artifact/task", `the artifact has no experts that are chosen by --routing ${mode}`, {
        where: { file: artifact.label },
        expected: by === null ? "oracle" : by === "tokens" ? "tokens or oracle" : "soft, top1 or oracle",
        found: mode,
        advice: "choose one of these",
      });
    }
    const experts = by === null || (by === "tokens" && mode === "oracle") ? null : await openExperts(artifact);
    const router = mode === "soft" || mode === "top1" ? await readRouter(artifact, platform) : null;
    const route = router && ((embeddings: Float32Array, width: number) => routerWeights(router, embeddings, width));
    return new Work(artifact, platform, mode, experts, route);
  }

  async score(task: Task, options: Omit<EvaluateArtifactOptions, "routing" | "base">) {
    const own = this.artifact.tasks.indexOf(task.name);
    if (own < 0 && this.mode === "oracle") throw this.#unknown(task);
    const headed = "head" in task && task.head === null && options.heads?.[task.name] === undefined && own < 0;
    if (headed) throw this.#unknown(task);
    // Config, tokenizer and head are the task's; of a task that nobody trained, they are what the tasks file says.
    const { checkpoint, tensors } = await this.artifact.openTask(this.artifact.tasks[Math.max(own, 0)]!);
    if (this.experts === null) {
      return {
        evaluation: await evaluateModel(checkpoint, [task], this.platform, { ...options, store: null }),
        report: null,
      };
    }
    const seen: Choice[] = [];
    const watcher = new GateWatcher(this.artifact.tasks.length);
    const { experts } = this;
    const routing: Routing = {
      examples:
        experts.stacks === null
          ? null
          : { experts: experts.stacks, choose: (batch, embed) => this.#choose(batch.count, embed, own, seen) },
      tokens: experts.tokens,
      observe: (parts) => watcher.watch(parts),
    };
    const shared = withoutExperts(checkpoint, this.artifact.base, new Set(tensors.map(({ name }) => name)));
    const platform: EvaluatePlatform = {
      ...this.platform,
      openNetwork: async (weights, networkOptions) => {
        const network = await this.platform.openNetwork(experts.withStacks(weights), { ...networkOptions, routing });
        const load = network.load.bind(network);
        network.load = (next) => load(experts.withStacks(next));
        return network;
      },
    };
    const evaluation = await evaluateModel(shared, [task], platform, { ...options, store: null });
    if (experts.tokens !== null) return { evaluation, report: { name: task.name, right: null, ...watcher.report() } };
    return {
      evaluation,
      report: this.mode === "oracle" ? null : inputReport(task.name, own, seen, experts.tasks.length),
    };
  }

  async #choose(
    count: number,
    embed: () => Promise<{ readonly width: number; readonly values: Float32Array }>,
    own: number,
    seen: Choice[],
  ): Promise<readonly Choice[]> {
    const tasks = this.artifact.tasks.length;
    if (this.mode === "oracle") {
      const weights = Float32Array.from({ length: tasks }, (_, task) => (task === own ? 1 : 0));
      return Array.from({ length: count }, () => ({ expert: own, weights }));
    }
    const { width, values } = await embed();
    const all = this.route!(values, width);
    return Array.from({ length: count }, (_, example): Choice => {
      const weights = all.slice(example * tasks, (example + 1) * tasks);
      seen.push({ expert: null, weights });
      return { expert: this.mode === "top1" ? weights.indexOf(Math.max(...weights)) : null, weights };
    });
  }

  #unknown(task: Task) {
    return taskDefect(task, "tasks/model", "the artifact has no task of this name", {
      where: { file: this.artifact.label },
      expected: someOf(this.artifact.tasks, 10),
      found: task.name,
      advice:
        "name the task as the artifact does; of one that nobody trained give head: MODEL and --routing soft or top1",
    });
  }
}

/** The task's checkpoint with the shared model's tensors in place of those that experts add to. */
function withoutExperts(task: Checkpoint, base: Checkpoint, made: ReadonlySet<string>): Checkpoint {
  const tensors = new Map(task.tensors);
  const shift = task.shards.length;
  for (const name of made) {
    const stored = base.tensors.get(name)!;
    tensors.set(name, { ...stored, shard: shift + stored.shard });
  }
  return { ...task, shards: [...task.shards, ...base.shards], tensors };
}

function inputReport(name: string, own: number, seen: readonly Choice[], tasks: number): RoutedTask {
  const shares = Array.from(
    { length: tasks },
    (_, task) => seen.reduce((sum, { weights }) => sum + weights[task]!, 0) / seen.length,
  );
  const isOwn = ({ weights }: Choice) => weights.indexOf(Math.max(...weights)) === own;
  return {
    ...{ name, shares, layers: null },
    entropy: meanEntropy(seen.map(({ weights }) => weights)),
    right: own < 0 ? null : seen.filter(isOwn).length / seen.length,
  };
}

async function hasRouterFile(artifact: Artifact, platform: ArtifactPlatform): Promise<boolean> {
  try {
    const { files } = await platform.openFolder(`${artifact.label}/${ROUTER_FOLDER}`).list();
    return files.some(({ name }) => name === ROUTER_FILE);
  } catch (error) {
    if (error instanceof MergewrightError && error.code === "checkpoint/missing-file") return false;
    throw error;
  }
}
