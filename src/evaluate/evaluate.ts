/** A model's score on every task, from outcomes that are computed once for the same weights and data. */

import type { Checkpoint } from "../models/model.js";
import type { Network, WeightSource } from "../runtime/network.js";
import { VERSION } from "../version.js";
import { taskDefect } from "./defect.js";
import { sha256, weightsFingerprint } from "./fingerprint.js";
import { type Comparison, comparePaired, type Interval, intervalOf } from "./intervals.js";
import { betterOf, correctOf, type Outcomes, sum, valueOf } from "./outcomes.js";
import type { EvaluatePlatform, ResultStore } from "./platform.js";
import { prepare } from "./scorers.js";
import type { Prepared } from "./scorer.js";
import { readOutcomes } from "./stored.js";
import { weightsOf } from "../runtime/weights.js";
import type { Better, Split, Task } from "./task.js";

export interface EvaluateOptions {
  /** Default: test. */
  readonly split?: Split;
  readonly threads: number;
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
  /** Examples of all tasks whose data are known. */
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
  const started = performance.now();
  const { split = "test", against } = options;
  const run = new Run(tasks, platform, options);
  const measured = await run.scoreAll(model);
  const others = against === undefined ? null : await run.scoreAll(against);
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

interface Measured {
  readonly outcomes: Outcomes;
  readonly notes: readonly string[];
  readonly head: string | null;
  readonly cached: boolean;
  readonly seconds: number;
}

/** The evaluation of one model or two on the same tasks. */
class Run {
  readonly #tasks: readonly Task[];
  readonly #platform: EvaluatePlatform;
  readonly #options: EvaluateOptions;
  readonly #models: number;
  /** Examples by task, once its data are read. */
  readonly #sizes = new Map<string, number>();
  #done = 0;

  constructor(tasks: readonly Task[], platform: EvaluatePlatform, options: EvaluateOptions) {
    this.#tasks = tasks;
    this.#platform = platform;
    this.#options = options;
    this.#models = options.against === undefined ? 1 : 2;
  }

  #advance(task: string, examples: number): void {
    this.#done += examples;
    // Tasks whose data are not read yet are taken to be as large as the others.
    const mean = sum([...this.#sizes.values()]) / this.#sizes.size;
    const total = Math.max(this.#done, Math.round(mean * this.#tasks.length * this.#models));
    this.#options.progress?.({ task, done: this.#done, total });
  }

  async scoreAll(model: string | Checkpoint): Promise<{ label: string; tasks: Measured[] }> {
    const checkpoint = typeof model === "string" ? await this.#platform.openModel(model) : model;
    try {
      const weights = weightsOf(checkpoint);
      const fingerprint = this.#options.store ? await weightsFingerprint(weights) : null;
      const measured: Measured[] = [];
      for (const task of this.#tasks) measured.push(await this.#scoreOne(task, checkpoint, weights, fingerprint));
      return { label: checkpoint.label, tasks: measured };
    } finally {
      if (typeof model === "string") await checkpoint.close();
    }
  }

  async #scoreOne(task: Task, model: Checkpoint, weights: WeightSource, fingerprint: string | null): Promise<Measured> {
    const started = performance.now();
    const [platform, options] = [this.#platform, this.#options];
    const named = options.heads?.[task.name] ?? ("head" in task ? task.head : null);
    const head = named === null ? null : await platform.openModel(named);
    let prepared: Prepared | null = null;
    try {
      prepared = await prepare(task, { model, head, split: options.split ?? "test", platform });
      this.#sizes.set(task.name, prepared.examples);
      const headWeights = head === null ? null : weightsOf(head);
      const key = await keyOf(prepared, fingerprint, headWeights);
      const stored = key === null ? null : readOutcomes(await options.store!.get(key));
      const outcomes = stored ?? (await this.#run(task, prepared, weights, headWeights));
      if (stored !== null) this.#advance(task.name, prepared.examples);
      else if (key !== null) await options.store!.put(key, JSON.stringify(outcomes));
      const seconds = (performance.now() - started) / 1000;
      return { outcomes, notes: prepared.notes, head: named, cached: stored !== null, seconds };
    } finally {
      await prepared?.close?.();
      await head?.close();
    }
  }

  async #run(task: Task, prepared: Prepared, weights: WeightSource, head: WeightSource | null): Promise<Outcomes> {
    const opened: Network[] = [];
    try {
      const outcomes = await prepared.run(
        async () => {
          const network = await this.#platform.openNetwork(weights, {
            threads: this.#options.threads,
            ...(head !== null && { head }),
          });
          opened.push(network);
          return network;
        },
        (examples) => this.#advance(task.name, examples),
      );
      checkFinite(task, outcomes);
      return outcomes;
    } finally {
      for (const network of opened) await network.close();
    }
  }
}

/** Of all that outcomes depend on; `null` where nothing is kept. */
async function keyOf(
  { content }: Prepared,
  fingerprint: string | null,
  head: WeightSource | null,
): Promise<string | null> {
  if (content === null || fingerprint === null) return null;
  const headKey = head === null ? null : await weightsFingerprint(head);
  return sha256(JSON.stringify([VERSION, fingerprint, headKey, content]));
}

function checkFinite(task: Task, outcomes: Outcomes): void {
  if (Number.isFinite(valueOf(outcomes))) return;
  throw taskDefect(task, "tasks/model", "the model's predictions are not finite", {
    expected: "a finite score",
    found: String(valueOf(outcomes)),
    advice: "look for NaN or infinity in its weights: mergewright inspect MODEL --norms",
  });
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
