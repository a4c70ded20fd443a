/** A model's score on every task, from outcomes that are computed once for the same weights and data. */

import type { Checkpoint } from "../models/model.js";
import type { BackendName } from "../runtime/network.js";
import { type Comparison, comparePaired, type Interval, intervalOf } from "./intervals.js";
import { betterOf, correctOf, type Outcomes, sum, valueOf } from "./outcomes.js";
import type { EvaluatePlatform, ResultStore } from "./platform.js";
import { EvaluationSeries, type Measured, type SeriesWatcher } from "./series.js";
import type { Better, Split, Task } from "./task.js";

export interface EvaluateOptions {
  /** Default: test. */
  readonly split?: Split;
  readonly threads: number;
  /** What networks run on; `own` where absent. The other gives the same to rounding, faster. */
  readonly backend?: BackendName;
  /** Models whose heads are attached, by the task's name; instead of what the tasks say. */
  readonly heads?: Readonly<Record<string, string>>;
  /** Outcomes of earlier evaluations; none are kept where absent. */
  readonly store?: ResultStore | null;
  /** A model to compare with, example by example. */
  readonly against?: string | Checkpoint;
  readonly progress?: (progress: EvaluateProgress) => void;
}

/** Told from time to time. */
export interface EvaluateProgress {
  readonly task: string;
  /** Examples of all tasks; part of one where a call is under way. */
  readonly done: number;
  readonly total: number;
}

export interface Evaluation {
  /** As the user wrote it. */
  readonly model: string;
  readonly split: Split;
  readonly tasks: readonly TaskResult[];
  /** The mean of the tasks' values; `null` where they are of different metrics. */
  readonly mean: number | null;
  /** The metric of all tasks, or `null`. */
  readonly metric: string | null;
  /** The label of the model that was compared with. */
  readonly against: string | null;
  readonly seconds: number;
  readonly notes: readonly string[];
}

export interface TaskResult {
  readonly name: string;
  readonly type: Task["type"];
  readonly metric: string;
  readonly value: number;
  /** Examples answered rightly; `null` where nothing is right or wrong. */
  readonly correct: number | null;
  /** Examples: images, texts, predicted tokens; 1 for a command. */
  readonly total: number;
  readonly better: Better;
  readonly interval: Interval | null;
  /** exp of the mean −log p per token. */
  readonly perplexity: number | null;
  /** UTF-8 bytes of the predicted text. */
  readonly bytes: number | null;
  /** Whose head was attached. */
  readonly head: string | null;
  readonly comparison: Comparison | null;
  /** Whether the outcomes were known from an earlier evaluation. */
  readonly cached: boolean;
  readonly seconds: number;
}

/** @param model opened by its label, or open; an open one stays so. */
export async function evaluateModel(
  model: string | Checkpoint,
  tasks: readonly Task[],
  platform: EvaluatePlatform,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { split = "test", against } = options;
  const series = new EvaluationSeries(platform, { ...options, split });
  try {
    return await evaluateIn(series, model, tasks, platform, { split, against, progress: options.progress });
  } finally {
    await series.close();
  }
}

/** The same with data and networks that are open already. */
export async function evaluateIn(
  series: EvaluationSeries,
  model: string | Checkpoint,
  tasks: readonly Task[],
  platform: Pick<EvaluatePlatform, "openModel">,
  {
    split,
    against,
    progress,
  }: {
    readonly split: Split;
    readonly against?: string | Checkpoint | undefined;
    readonly progress?: EvaluateOptions["progress"];
  },
): Promise<Evaluation> {
  const started = performance.now();
  const watcher = watch(tasks.length * (against === undefined ? 1 : 2), progress);
  const scoreAll = async (one: string | Checkpoint) => {
    const checkpoint = typeof one === "string" ? await platform.openModel(one) : one;
    try {
      return { label: checkpoint.label, tasks: await series.score(checkpoint, tasks, watcher) };
    } finally {
      if (typeof one === "string") await checkpoint.close();
    }
  };
  const measured = await scoreAll(model);
  const others = against === undefined ? null : await scoreAll(against);
  const results = tasks.map((task, index) =>
    resultOf(task, measured.tasks[index]!, others?.tasks[index]?.outcomes ?? null),
  );
  const metrics = new Set(results.map(({ metric }) => metric));
  const [metric = null] = metrics.size === 1 ? metrics : [];
  return {
    model: measured.label,
    split,
    tasks: results,
    mean: metric === null ? null : sum(results.map(({ value }) => value)) / results.length,
    metric,
    against: others?.label ?? null,
    seconds: (performance.now() - started) / 1000,
    notes: measured.tasks.flatMap(({ notes }, index) => notes.map((note) => `${tasks[index]!.name}: ${note}`)),
  };
}

/** @param rounds times that a task is run. */
function watch(rounds: number, progress: EvaluateOptions["progress"]): SeriesWatcher {
  /** Examples by task, once its data are read. */
  const sizes = new Map<string, number>();
  let done = 0;
  const tell = (task: string, reached: number) => {
    // Tasks whose data are not read yet are taken to be as large as the others.
    const mean = sizes.size === 0 ? 1 : sum([...sizes.values()]) / sizes.size;
    progress?.({ task, done: reached, total: Math.max(reached, Math.round(mean * rounds)) });
  };
  return {
    begun: ({ name }) => tell(name, done),
    sized({ name }, examples) {
      sizes.set(name, examples);
      tell(name, done);
    },
    advanced({ name }, examples) {
      done += examples;
      tell(name, done);
    },
    within: ({ name }, examples) => tell(name, done + examples),
  };
}

function resultOf(task: Task, measured: Measured, other: Outcomes | null): TaskResult {
  const { outcomes, head, cached, seconds } = measured;
  const windows = outcomes.kind === "windows" ? outcomes : null;
  const tokens = windows === null ? 0 : sum(windows.tokens);
  return {
    name: task.name,
    type: task.type,
    metric: outcomes.metric,
    value: valueOf(outcomes),
    correct: outcomes.kind === "answers" ? correctOf(outcomes) : null,
    total: outcomes.kind === "answers" ? outcomes.labels.length : outcomes.kind === "windows" ? tokens : 1,
    better: betterOf(outcomes),
    interval: intervalOf(outcomes),
    perplexity: windows === null ? null : Math.exp(sum(windows.nats) / tokens),
    bytes: windows === null ? null : sum(windows.bytes),
    head,
    comparison: other === null ? null : comparePaired(outcomes, other),
    cached,
    seconds,
  };
}
