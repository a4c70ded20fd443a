import { MergewrightError } from "../errors.js";
import { joined } from "../numbers/joined.js";
import type { Definition } from "./architectures/architecture.js";
import { architectureOf } from "../models/related.js";
import { defineNetwork, haveSameArchitecture } from "./architectures/known.js";
import { checkBatch, rowsPerExample } from "./batch.js";
import { IGNORED, MOST_TURNS } from "./network.js";
import type {
  Batch,
  Gradients,
  Grams,
  LayerInfo,
  Logits,
  Loss,
  NetworkOptions,
  Rows,
  Squared,
  TappedNetwork,
  WeightSource,
} from "./network.js";
import { linear } from "./operations/linear.js";
import { lossOf } from "./operations/loss.js";
import { Passes } from "./passes.js";
import type { Embeddings } from "./routing.js";
import type { Team } from "./team.js";
import type { RunBatch } from "./run_parts.js";
import type { Backend, Engine, Goal } from "./trace.js";
import { tensorsOf, withHead } from "./weights.js";

/** Opens a network over weights with the kernels and a team of threads, which is closed with the network. */
export const openNetworkWith = (
  weights: WeightSource,
  options: Omit<NetworkOptions, "threads">,
  team: Team,
): Promise<TappedNetwork> =>
  openNetworkOn(weights, options, {
    open: (definition, rule, routing) => new Passes(definition, rule, team, routing, options.progress),
    routes: true,
    close: () => team.close(),
  });

/**
 * Opens a network over weights with a back end, which is closed with the network.
 * @throws MergewrightError where the architecture is unknown or tensors do not fit.
 */
export async function openNetworkOn(
  weights: WeightSource,
  options: Omit<NetworkOptions, "threads">,
  backend: Backend,
): Promise<TappedNetwork> {
  try {
    // What belongs to the head is known once the architecture is, its class count only with the head.
    const { head } = options;
    if (head !== undefined && !haveSameArchitecture(weights.config, head.config)) throw otherHead(weights, head);
    const overlay = (source: WeightSource) =>
      head === undefined ? source : withHead(source, head, headNames(source, head));
    const source = overlay(weights);
    const { name, definition } = defineNetwork(source, tensorsOf(source));
    const { routing = null } = options;
    if (routing !== null && backend.routes !== true) throw notRouted();
    const engine = backend.open(definition, options.linear ?? linear, routing);
    const network = new OpenedNetwork(name, definition, engine, overlay);
    await network.load(weights);
    return network;
  } catch (error) {
    await backend.close();
    throw error;
  }
}

function otherHead(weights: WeightSource, head: WeightSource): MergewrightError {
  return new MergewrightError("the head that is to be attached is of another architecture than the model", {
    kind: "request",
    code: "runtime/architecture",
    where: { file: head.label },
    expected: `${architectureOf(weights.config)}, as ${weights.label} is`,
    found: architectureOf(head.config),
    advice:
      "name a checkpoint of the task whose architecture is the model's, or leave the head out to take the model's own",
  });
}

function notRouted(): MergewrightError {
  return new MergewrightError("this back end runs no networks that choose experts per input", {
    kind: "request",
    code: "runtime/architecture",
    advice: "leave out --backend: the kernels do",
  });
}

/** The head's beginnings of names; an architecture is asked with all of the head's tensors in sight. */
function headNames(weights: WeightSource, head: WeightSource): readonly string[] {
  const both = tensorsOf({
    ...weights,
    shape: (name) => weights.shape(name) ?? head.shape(name),
  });
  return defineNetwork(weights, both).definition.head;
}

class OpenedNetwork implements TappedNetwork {
  readonly architecture: string;
  readonly parameters: readonly string[];
  readonly layers: readonly LayerInfo[];
  readonly classes: number;
  readonly #definition: Definition;
  readonly #engine: Engine;
  readonly #overlay: (weights: WeightSource) => WeightSource;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param overlay the weights as the network reads them. */
  constructor(name: string, definition: Definition, engine: Engine, overlay: (weights: WeightSource) => WeightSource) {
    this.architecture = name;
    this.parameters = engine.parameters;
    this.layers = engine.layers;
    this.classes = definition.classes;
    this.#definition = definition;
    this.#engine = engine;
    this.#overlay = overlay;
  }

  load(weights: WeightSource): Promise<void> {
    return this.#inTurn(() => this.#engine.load(this.#overlay(weights)));
  }

  async logits(batch: Batch, into?: Float32Array): Promise<Logits> {
    const { classes } = this;
    checkBatch(this.#definition, batch);
    const entries = this.#rowsOf(batch) * classes;
    if (into !== undefined && into.length < entries) throw wrongRoom(entries, into.length);
    return this.#inTurn(async () => {
      const values = into?.subarray(0, entries) ?? new Float32Array(entries);
      const { rows, parts } = await this.#engine.run(batch, { loss: null, wanted: null }, {}, values);
      for (const { firstRow, handed } of parts) {
        const found = handed("logits").values;
        if (found.buffer !== values.buffer) values.set(found, firstRow * classes);
      }
      return { rows, classes, values };
    });
  }

  embeddings(batch: Batch): Promise<Embeddings> {
    return this.#inTurn(() => {
      if (this.#engine.embeddings === undefined) throw notRouted();
      return this.#engine.embeddings(batch);
    });
  }

  async losses(batch: Batch, targets: Int32Array): Promise<Float32Array> {
    this.#checkTargets(batch, targets);
    return this.#inTurn(async () => {
      const { chosen, places } = this.#choose(batch, (row) => targets[row]! >= 0);
      const all = new Float32Array(targets.length);
      if (places !== null && places.length === 0) return all;
      const picked = places === null ? targets : Int32Array.from(places, (row) => targets[row]!);
      const { parts } = await this.#engine.run(chosen, { loss: "cross-entropy", wanted: null }, { targets: picked });
      for (const part of parts) {
        const stats = part.handed("stats").values;
        for (let row = 0; row < part.rows; row++) {
          const at = part.firstRow + row;
          if (picked[at]! >= 0) all[places === null ? at : places[at]!] = lossOf("cross-entropy", stats, row);
        }
      }
      return all;
    });
  }

  async gradients(batch: Batch, goal: Loss, parameters?: readonly string[]): Promise<Gradients> {
    const rows = this.#rowsOf(batch);
    const targets = goal.kind === "cross-entropy" ? goal.targets : null;
    if (targets !== null) this.#checkTargets(batch, targets);
    if (goal.weights !== undefined && goal.weights.length !== rows) {
      throw wrongRows("weights", rows, goal.weights.length);
    }
    const unknown = parameters?.find((name) => !this.parameters.includes(name));
    if (unknown !== undefined) throw notThere("parameter", unknown);
    const wanted = parameters === undefined ? "all" : new Set(parameters);
    return this.#inTurn(() => this.#gradients(batch, goal, targets, wanted));
  }

  async squaredGradients(batch: Batch, of: Squared, parameters?: readonly string[]) {
    const rows = this.#rowsOf(batch);
    if (of.targets !== undefined) this.#checkTargets(batch, of.targets);
    const unknown = parameters?.find((name) => !this.parameters.includes(name));
    if (unknown !== undefined) throw notThere("parameter", unknown);
    const wanted = parameters === undefined ? ("all" as const) : new Set(parameters);
    return this.#inTurn(async () => {
      const names = this.parameters.filter((name) => wanted === "all" || wanted.has(name));
      const collect = async (run: Promise<RunBatch>) => {
        const { gradient } = await run;
        return new Map(names.map((name) => [name, gradient(name)] as const));
      };
      if (of.kind === "expectation") {
        const { chosen, places } = this.#choose(batch, (row) => of.targets?.[row] !== IGNORED);
        if (places?.length === 0) {
          return new Map(names.map((name) => [name, new Float32Array(this.#engine.entriesOf(name))]));
        }
        this.#checkTurns(chosen);
        return collect(this.#engine.run(chosen, { loss: null, squares: "expectation", wanted }, {}));
      }
      const { targets } = of;
      const weights = Float32Array.from({ length: rows }, (_, row) => (targets[row] === IGNORED ? 0 : 1));
      const goal = { loss: "cross-entropy", squares: "loss", wanted } as const;
      return collect(this.#engine.run(batch, goal, { weights, targets }));
    });
  }

  activations(batch: Batch, layers: readonly string[], goal?: Loss): Promise<ReadonlyMap<string, Rows>> {
    return this.#taps(batch, { layers, form: "rows" }, goal, (found) => joined(Float32Array, found));
  }

  grams(batch: Batch, layers: readonly string[], goal?: Loss): Promise<ReadonlyMap<string, Grams>> {
    return this.#taps(batch, { layers, form: "grams" }, goal, (found) => {
      const sums = new Float64Array(found[0]!.length);
      for (const part of found) {
        for (let index = 0; index < sums.length; index++) sums[index]! += part[index]!;
      }
      return sums;
    });
  }

  /** @param join what all parts hand out of one thing, to one. */
  async #taps<T>(
    batch: Batch,
    taps: NonNullable<Goal["taps"]>,
    goal: Loss | undefined,
    join: (parts: readonly Float32Array[]) => T,
  ): Promise<ReadonlyMap<string, { rows: number; inputs: T; outputGradients: T | null }>> {
    const unknown = taps.layers.find((name) => !this.layers.some((layer) => layer.name === name));
    if (unknown !== undefined) throw notThere("linear layer", unknown);
    const targets = goal?.kind === "cross-entropy" ? goal.targets : null;
    if (targets !== null) this.#checkTargets(batch, targets);
    const weights = goal === undefined ? null : rowWeights(this.#rowsOf(batch), targets, goal.weights);
    const content = { ...(weights !== null && { weights }), ...(targets !== null && { targets }) };
    const wanted = goal === undefined ? null : new Set<string>();
    return this.#inTurn(async () => {
      const { parts } = await this.#engine.run(batch, { loss: goal?.kind ?? null, wanted, taps }, content);
      return new Map(
        taps.layers.map((name) => {
          const inputs = parts.map(({ handed }) => handed(`x ${name}`));
          const all = {
            rows: inputs.reduce((sum, { rows }) => sum + rows, 0),
            inputs: join(inputs.map(({ values }) => values)),
            outputGradients: goal === undefined ? null : join(parts.map(({ handed }) => handed(`g ${name}`).values)),
          };
          return [name, all] as const;
        }),
      );
    });
  }

  async #gradients(
    batch: Batch,
    goal: Loss,
    targets: Int32Array | null,
    wanted: ReadonlySet<string> | "all",
  ): Promise<Gradients> {
    const rows = this.#rowsOf(batch);
    const weights = rowWeights(rows, targets, goal.weights);
    const { chosen, places } = this.#choose(batch, (row) => weights[row] !== 0);
    const names = this.parameters.filter((name) => wanted === "all" || wanted.has(name));
    if (places !== null && places.length === 0) {
      const zeros = names.map((name) => [name, new Float32Array(this.#engine.entriesOf(name))] as const);
      return { loss: 0, parameters: new Map(zeros) };
    }
    const pick = <T extends Float32Array | Int32Array>(values: T): T =>
      (places === null ? values : places.map((row) => values[row]!)) as T;
    const kept = places === null ? weights : Float32Array.from(places, (row) => weights[row]!);
    const rowTargets = targets === null ? null : pick(targets);
    const content = { weights: kept, ...(rowTargets !== null && { targets: rowTargets }) };
    const { parts, gradient } = await this.#engine.run(chosen, { loss: goal.kind, wanted }, content);
    let total = 0;
    for (const part of parts) {
      const stats = part.handed("stats").values;
      for (let row = 0; row < part.rows; row++) {
        const weight = kept[part.firstRow + row]!;
        if (weight !== 0) total += weight * lossOf(goal.kind, stats, row);
      }
    }
    return { loss: total, parameters: new Map(names.map((name) => [name, gradient(name)] as const)) };
  }

  async close(): Promise<void> {
    await this.#inTurn(() => this.#engine.close());
  }

  /** Of a language model only the rows that count are computed. @returns their places; `null` for all. */
  #choose(batch: Batch, counts: (row: number) => boolean): { chosen: Batch; places: Int32Array | null } {
    const rows = this.#rowsOf(batch);
    if (batch.kind !== "text" || this.#definition.rows === "examples") return { chosen: batch, places: null };
    const places = Int32Array.from(Array.from({ length: rows }, (_, row) => row).filter(counts));
    if (places.length === rows) return { chosen: batch, places: null };
    const given = batch.positions;
    return { chosen: { ...batch, positions: given === undefined ? places : places.map((row) => given[row]!) }, places };
  }

  #rowsOf(batch: Batch): number {
    if (batch.kind === "text" && batch.positions !== undefined) return batch.positions.length;
    return batch.count * rowsPerExample(this.#definition.rows, batch);
  }

  #checkTargets(batch: Batch, targets: Int32Array): void {
    const rows = this.#rowsOf(batch);
    if (targets.length !== rows) throw wrongRows("targets", rows, targets.length);
    const wrong = targets.find((target) => target !== IGNORED && (target < 0 || target >= this.classes));
    if (wrong === undefined) return;
    throw new MergewrightError("a label is not among the model's classes", {
      kind: "request",
      code: "runtime/batch",
      expected: `0 to ${this.classes - 1}`,
      found: String(wrong),
      advice: "check that the head belongs to the data",
    });
  }

  /** An expectation runs backward for every class of every row of an example. */
  #checkTurns(batch: Batch): void {
    const rows = batch.kind === "text" ? (batch.positions?.length ?? this.#rowsOf(batch)) : batch.count;
    const turns = Math.ceil(rows / batch.count) * this.classes;
    if (turns <= MOST_TURNS) return;
    throw new MergewrightError("the expectation over all classes would take too many backward passes", {
      kind: "request",
      code: "runtime/batch",
      expected: `at most ${MOST_TURNS} for an example: its rows of logits times ${this.classes} classes`,
      found: String(turns),
      advice: "use labels drawn from the model, whose squares are the same on average, or shorter texts",
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }
}

/** Weights of the rows; by default equal for those that have a target, and one in all. */
function rowWeights(rows: number, targets: Int32Array | null, given: Float32Array | undefined): Float32Array {
  const counts = (row: number) => targets === null || targets[row] !== IGNORED;
  const counting = Array.from({ length: rows }, (_, row) => row).filter(counts).length;
  return Float32Array.from({ length: rows }, (_, row) => (counts(row) ? (given?.[row] ?? 1 / counting) : 0));
}

function notThere(what: "parameter" | "linear layer", name: string): MergewrightError {
  return new MergewrightError(`the network has no such ${what}`, {
    kind: "request",
    code: "runtime/tensor",
    where: { tensor: name },
    expected: "a name of the network's own list",
  });
}

function wrongRoom(expected: number, found: number): MergewrightError {
  return new MergewrightError("the logits do not fit where they are to go", {
    kind: "request",
    code: "runtime/batch",
    expected: `at least ${expected} entries`,
    found: String(found),
    advice: "make room for rows x classes, or leave it out",
  });
}

function wrongRows(what: string, expected: number, found: number): MergewrightError {
  return new MergewrightError(`there are not as many ${what} as rows of logits`, {
    kind: "request",
    code: "runtime/batch",
    expected: String(expected),
    found: String(found),
  });
}
