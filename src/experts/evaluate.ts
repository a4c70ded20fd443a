/** Scores of an artifact: every task with the experts that its inputs find, or with those that it is told. */
import { openArtifact } from "../artifacts/open.js";
import type { ArtifactPlatform, OpenArtifactOptions } from "../artifacts/open.js";
import { someOf } from "../formats/safetensors/text.js";
import { evaluateModel } from "../evaluate/evaluate.js";
import type { EvaluateOptions, Evaluation } from "../evaluate/evaluate.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import { taskDefect } from "../evaluate/defect.js";
import { Chooser } from "./chooser.js";
import type { RoutingMode } from "./chooser.js";
import { GateWatcher, meanEntropy } from "./watch.js";
import type { GateReport } from "./watch.js";
import type { Task } from "../evaluate/task.js";

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

/** @throws artifact/task, artifact/router and what opening and evaluating throw. */
export async function evaluateArtifact(
  label: string,
  tasks: readonly Task[],
  platform: EvaluatePlatform & ArtifactPlatform,
  { routing: asked, base, ...options }: EvaluateArtifactOptions,
): Promise<ArtifactEvaluation> {
  const artifact = await openArtifact(label, platform, base === undefined ? {} : { base });
  try {
    const chooser = await Chooser.open(artifact, platform, asked ?? null);
    const evaluations: Evaluation[] = [];
    const routed: RoutedTask[] = [];
    for (const [index, task] of tasks.entries()) {
      const { progress } = options;
      const tell =
        progress &&
        ((one: Parameters<typeof progress>[0]) =>
          progress({ ...one, done: one.done + index * one.total, total: one.total * tasks.length }));
      const own = { ...options, ...(tell && { progress: tell }) };
      const { evaluation, report } = await score(chooser, task, platform, own);
      evaluations.push(evaluation);
      if (report !== null) routed.push(report);
    }
    const how = { routing: chooser.mode, experts: artifact.tasks, routed: routed.length === 0 ? null : routed };
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

async function score(
  chooser: Chooser,
  task: Task,
  platform: EvaluatePlatform,
  options: Omit<EvaluateArtifactOptions, "routing" | "base">,
): Promise<{ readonly evaluation: Evaluation; readonly report: RoutedTask | null }> {
  const { artifact, mode, experts } = chooser;
  const own = artifact.tasks.indexOf(task.name);
  const headless = "head" in task && task.head === null && options.heads?.[task.name] === undefined;
  if (own < 0 && (mode === "oracle" || headless)) throw unknownTask(task, artifact);
  // Config, tokenizer and head are the task's; of a task that nobody trained, they are what the tasks file says.
  const checkpoint = await chooser.checkpointOf(artifact.tasks[Math.max(own, 0)]!);
  if (experts === null) {
    return { evaluation: await evaluateModel(checkpoint, [task], platform, { ...options, store: null }), report: null };
  }
  const seen: Float32Array[] = [];
  const watcher = new GateWatcher(artifact.tasks.length);
  const routing = chooser.routing(own, {
    inputs: (weights) => seen.push(weights),
    parts: (parts) => watcher.watch(parts),
  })!;
  const routed: EvaluatePlatform = {
    ...platform,
    openNetwork: async (weights, networkOptions) => {
      const network = await platform.openNetwork(experts.withStacks(weights), { ...networkOptions, routing });
      const load = network.load.bind(network);
      network.load = (next) => load(experts.withStacks(next));
      return network;
    },
  };
  const evaluation = await evaluateModel(checkpoint, [task], routed, { ...options, store: null });
  if (experts.tokens !== null) return { evaluation, report: { name: task.name, right: null, ...watcher.report() } };
  return { evaluation, report: mode === "oracle" ? null : inputReport(task.name, own, seen, artifact.tasks.length) };
}

function unknownTask(task: Task, { label, tasks }: Chooser["artifact"]) {
  return taskDefect(task, "tasks/model", "the artifact has no task of this name", {
    where: { file: label },
    expected: someOf(tasks, 10),
    found: task.name,
    advice:
      "name the task as the artifact does; of one that nobody trained give head: MODEL and --routing soft, top1 or tokens",
  });
}

function inputReport(name: string, own: number, seen: readonly Float32Array[], tasks: number): RoutedTask {
  const shares = Array.from(
    { length: tasks },
    (_, task) => seen.reduce((sum, weights) => sum + weights[task]!, 0) / seen.length,
  );
  const isOwn = (weights: Float32Array) => weights.indexOf(Math.max(...weights)) === own;
  return {
    ...{ name, shares, layers: null },
    entropy: meanEntropy(seen),
    right: own < 0 ? null : seen.filter(isOwn).length / seen.length,
  };
}
