/**
 * Models scored one after the other on the same tasks. Data are read and networks opened by the first model; the next one
 * that is built like it only brings its weights.
 */

import type { Checkpoint } from "../models/model.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { BackendName, Network, WeightSource } from "../runtime/network.js";
import { weightsOf } from "../runtime/weights.js";
import { VERSION } from "../version.js";
import { taskDefect } from "./defect.js";
import { sha256, weightsFingerprint } from "./fingerprint.js";
import { type Outcomes, valueOf } from "./outcomes.js";
import type { EvaluatePlatform, ResultStore } from "./platform.js";
import { prepare } from "./scorers.js";
import type { Prepared } from "./scorer.js";
import { readOutcomes } from "./stored.js";
import type { Split, Task } from "./task.js";

export interface SeriesOptions {
  readonly split: Split;
  readonly threads: number;
  /** What networks run on; `own` where absent. */
  readonly backend?: BackendName;
  /** Models whose heads are attached, by the task's name; instead of what the tasks say. */
  readonly heads?: Readonly<Record<string, string>>;
  /** Outcomes of earlier evaluations; none are kept where absent. */
  readonly store?: ResultStore | null;
}

/** What a model did on one task. */
export interface Measured {
  readonly outcomes: Outcomes;
  readonly notes: readonly string[];
  readonly head: string | null;
  readonly cached: boolean;
  readonly seconds: number;
}

/** Told as work goes on. */
export interface SeriesWatcher {
  /** Before a task's data are read. */
  readonly begun: (task: Task) => void;
  /** Once they are. */
  readonly sized: (task: Task, examples: number) => void;
  readonly advanced: (task: Task, examples: number) => void;
  /** About so many examples of the call at hand, which `advanced` has not been told of, are done. */
  readonly within: (task: Task, examples: number) => void;
}

/** Files beside the weights on which data as a model takes them depend. */
const SHAPES_INPUT =
  /^(preprocessor_config|generation_config|tokenizer.*|special_tokens_map|added_tokens|vocab|merges)\.\w+$/;
/** Weights of networks that are kept open, in bytes; the one at work is kept in any case. */
const KEPT_BYTES = 2 ** 30;

interface KeptNetwork {
  readonly network: Network;
  readonly bytes: number;
  /** Whose weights it has. */
  loaded: Checkpoint;
}

interface KeptHead {
  readonly checkpoint: Checkpoint;
  readonly weights: WeightSource;
  readonly fingerprint: string | null;
}

export class EvaluationSeries {
  readonly #platform: EvaluatePlatform;
  readonly #options: SeriesOptions;
  readonly #models = new WeakMap<Checkpoint, Promise<Omit<Place, "task">>>();
  readonly #heads = new Map<string, KeptHead>();
  /** By the task's name; `build` is what of a model they were read for. */
  readonly #prepared = new Map<string, { readonly build: string; readonly prepared: Prepared }>();
  /** By how they are built; in the order of their last use. */
  readonly #networks = new Map<string, KeptNetwork>();
  /** Hears of the call at hand. */
  #within: (share: number) => void = () => {};

  constructor(platform: EvaluatePlatform, options: SeriesOptions) {
    this.#platform = platform;
    this.#options = options;
  }

  /** @param model stays open, and is kept in mind until another one is scored. */
  async score(model: Checkpoint, tasks: readonly Task[], watcher: SeriesWatcher): Promise<Measured[]> {
    const known = this.#models.get(model) ?? this.#look(model);
    this.#models.set(model, known);
    const measured: Measured[] = [];
    for (const task of tasks) measured.push(await this.#scoreOne({ task, ...(await known) }, watcher));
    return measured;
  }

  async #look(model: Checkpoint): Promise<Omit<Place, "task">> {
    const weights = weightsOf(model);
    const fingerprint = this.#options.store ? await weightsFingerprint(weights) : null;
    return { model, weights, fingerprint, build: await buildOf(model) };
  }

  async close(): Promise<void> {
    for (const { network } of this.#networks.values()) await network.close();
    for (const { prepared } of this.#prepared.values()) await prepared.close?.();
    for (const { checkpoint } of this.#heads.values()) await checkpoint.close();
    this.#networks.clear();
    this.#prepared.clear();
    this.#heads.clear();
  }

  async #scoreOne(at: Place, watcher: SeriesWatcher): Promise<Measured> {
    const started = performance.now();
    const { task, fingerprint } = at;
    watcher.begun(task);
    const store = this.#options.store ?? null;
    const named = this.#options.heads?.[task.name] ?? ("head" in task ? task.head : null);
    const head = named === null ? null : await this.#head(named);
    const prepared = await this.#prepare(at, head);
    watcher.sized(task, prepared.examples);
    const key = await keyOf(prepared, fingerprint, head, this.#options.backend ?? "own");
    const stored = key === null ? null : readOutcomes(await store!.get(key));
    let outcomes = stored;
    if (outcomes === null) {
      outcomes = await prepared.run(
        () => this.#network(at, named, head),
        async (examples, call) => {
          this.#within = (share) => watcher.within(task, share * examples);
          const result = await call.finally(() => (this.#within = () => {}));
          watcher.advanced(task, examples);
          return result;
        },
      );
      checkFinite(task, outcomes);
      if (key !== null) await store!.put(key, JSON.stringify(outcomes));
    } else watcher.advanced(task, prepared.examples);
    const seconds = (performance.now() - started) / 1000;
    return { outcomes, notes: prepared.notes, head: named, cached: stored !== null, seconds };
  }

  async #head(label: string): Promise<KeptHead> {
    const known = this.#heads.get(label);
    if (known !== undefined) return known;
    const checkpoint = await this.#platform.openModel(label);
    const weights = weightsOf(checkpoint);
    const fingerprint = this.#options.store ? await weightsFingerprint(weights) : null;
    const kept = { checkpoint, weights, fingerprint };
    this.#heads.set(label, kept);
    return kept;
  }

  async #prepare({ task, model, build }: Place, head: KeptHead | null): Promise<Prepared> {
    const known = this.#prepared.get(task.name);
    // What a program is given is the model itself.
    if (known?.build === build && task.type !== "command") return known.prepared;
    this.#prepared.delete(task.name);
    await known?.prepared.close?.();
    const { split } = this.#options;
    const prepared = await prepare(task, { model, head: head?.checkpoint ?? null, split, platform: this.#platform });
    this.#prepared.set(task.name, { build, prepared });
    return prepared;
  }

  async #network({ model, weights, build }: Place, headLabel: string | null, head: KeptHead | null): Promise<Network> {
    const key = JSON.stringify([build, headLabel]);
    const known = this.#networks.get(key);
    if (known !== undefined) {
      if (known.loaded !== model) {
        this.#networks.delete(key);
        // Half of the new weights over the old ones would be nobody's.
        await known.network.load(weights).catch(async (error: unknown) => {
          await known.network.close();
          throw error;
        });
        known.loaded = model;
      }
      this.#networks.delete(key);
      this.#networks.set(key, known);
      return known.network;
    }
    const bytes = [...model.tensors.values()].reduce((sum, { shape }) => sum + 4 * entriesOf(shape), 0);
    await this.#makeRoom(bytes);
    const network = await this.#platform.openNetwork(weights, {
      threads: this.#options.threads,
      backend: this.#options.backend ?? "own",
      progress: (share) => this.#within(share),
      ...(head !== null && { head: head.weights }),
    });
    this.#networks.set(key, { network, bytes, loaded: model });
    return network;
  }

  /** Closes the networks that were not used for the longest. */
  async #makeRoom(bytes: number): Promise<void> {
    let kept = [...this.#networks.values()].reduce((sum, network) => sum + network.bytes, bytes);
    for (const [key, { network, bytes: freed }] of this.#networks) {
      if (kept <= KEPT_BYTES) return;
      this.#networks.delete(key);
      kept -= freed;
      await network.close();
    }
  }
}

interface Place {
  readonly task: Task;
  readonly model: Checkpoint;
  readonly weights: WeightSource;
  readonly fingerprint: string | null;
  readonly build: string;
}

/** All of a model that its input and its network depend on, apart from the weights: its config, names, shapes, files. */
async function buildOf({ config, tensors, sideFiles }: Checkpoint): Promise<string> {
  const files = [];
  for (const file of sideFiles) {
    if (SHAPES_INPUT.test(file.name)) files.push([file.name, await sha256(await file.read())]);
  }
  const shapes = [...tensors].map(([name, { shape }]) => [name, shape]);
  return sha256(JSON.stringify([config, files, shapes]));
}

/** Of all that outcomes depend on; `null` where nothing is kept. */
async function keyOf(
  { content }: Prepared,
  fingerprint: string | null,
  head: KeptHead | null,
  backend: BackendName,
): Promise<string | null> {
  if (content === null || fingerprint === null) return null;
  return sha256(JSON.stringify([VERSION, backend, fingerprint, head?.fingerprint ?? null, content]));
}

function checkFinite(task: Task, outcomes: Outcomes): void {
  if (Number.isFinite(valueOf(outcomes))) return;
  throw taskDefect(task, "tasks/model", "the model's predictions are not finite", {
    expected: "a finite score",
    found: String(valueOf(outcomes)),
    advice: "look for NaN or infinity in its weights: mergewright inspect MODEL --norms",
  });
}
