import { MergewrightError } from "../errors.js";
import { PAGE_BYTES } from "../kernels/load.js";
import type { Definition } from "./architectures/architecture.js";
import { defineNetwork } from "./architectures/known.js";
import { batchPart, checkBatch, partContent, partKey, partTensors, rowsPerExample } from "./batch.js";
import type { BatchPart } from "./batch.js";
import { IGNORED } from "./network.js";
import type {
  Batch,
  Gradients,
  Grams,
  LayerInfo,
  Logits,
  Loss,
  NetworkOptions,
  Rows,
  TappedNetwork,
  WeightSource,
} from "./network.js";
import { linear, watching } from "./operations/linear.js";
import type { LinearRule, Passed } from "./operations/linear.js";
import { loss, lossOf } from "./operations/loss.js";
import type { LossKind } from "./operations/loss.js";
import { cutBatch, gradientLanes } from "./parts.js";
import { compile } from "./program.js";
import type { HandedAt, Program } from "./program.js";
import { padded, ParameterTable, Tape } from "./tape.js";
import type { Tensor } from "./tape.js";
import type { Lane, Task, Team } from "./team.js";
import { readTensor, tensorsOf, withHead } from "./weights.js";

/** What a pass is to end in. */
interface Goal {
  readonly loss: LossKind | null;
  /** Parameters whose gradients are wanted. */
  readonly wanted: ReadonlySet<string> | "all" | null;
  /** Layers of which something is handed out. */
  readonly taps?: { readonly layers: readonly string[]; readonly form: "rows" | "grams" };
}

interface PlannedPart {
  readonly part: BatchPart;
  readonly program: Program;
  readonly inputs: number;
  readonly outputs: number;
}

/**
 * Opens a network over weights with a team of threads, which is closed with the network.
 * @throws MergewrightError where the architecture is unknown or tensors do not fit.
 */
export async function openNetworkWith(
  weights: WeightSource,
  options: Omit<NetworkOptions, "threads">,
  team: Team,
): Promise<TappedNetwork> {
  try {
    // What belongs to the head is known once the architecture is, its class count only with the head.
    const { head } = options;
    const overlay = (source: WeightSource) =>
      head === undefined ? source : withHead(source, head, headNames(source, head));
    const source = overlay(weights);
    const { name, definition } = defineNetwork(source, tensorsOf(source));
    const network = new OpenedNetwork(name, definition, team, { overlay, rule: options.linear ?? linear });
    await network.load(weights);
    return network;
  } catch (error) {
    await team.close();
    throw error;
  }
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
  readonly #definition: Definition;
  readonly #team: Team;
  readonly #overlay: (weights: WeightSource) => WeightSource;
  readonly #rule: LinearRule;
  readonly layers: readonly LayerInfo[];
  readonly #table = new ParameterTable();
  /** Entries from the beginning of the weights, by parameter; the same for sums of gradients. */
  readonly #places: number[] = [];
  readonly #parameterEntries: number;
  readonly #programs = new Map<string, Program>();
  #turn: Promise<unknown> = Promise.resolve();

  /** @param how overlay: the weights as the network reads them; rule: how linear layers are run. */
  constructor(
    name: string,
    definition: Definition,
    team: Team,
    how: { readonly overlay: (weights: WeightSource) => WeightSource; readonly rule: LinearRule },
  ) {
    this.architecture = name;
    this.#definition = definition;
    this.#team = team;
    this.#overlay = how.overlay;
    this.#rule = how.rule;
    // A first pass over the definition finds the parameters.
    const probe = new Tape(this.#table, null);
    const part = batchPart(definition.rows, probeBatch(definition), { from: 0, to: 1 });
    const passed: Passed[] = [];
    definition.build({ tape: probe, linear: watching(this.#rule, null, passed) }, partTensors(probe, part));
    this.layers = passed.map(({ layer: { name, inputs, outputs } }) => ({ name, inputs, outputs }));
    let entries = 0;
    for (const parameter of this.#table.list) {
      this.#places.push(entries);
      entries += padded(parameter.entries);
    }
    this.#parameterEntries = entries;
  }

  get parameters(): readonly string[] {
    return this.#table.list.map(({ name }) => name);
  }

  get classes(): number {
    return this.#definition.classes;
  }

  load(weights: WeightSource): Promise<void> {
    return this.#inTurn(async () => {
      const source = this.#overlay(weights);
      this.#reserve(this.#team.free + this.#parameterEntries);
      for (const [number, { name, shape }] of this.#table.list.entries()) {
        const values = await readTensor(source, name, shape);
        this.#floats(this.#team.free + this.#places[number]!, values.length).set(values);
      }
    });
  }

  async logits(batch: Batch): Promise<Logits> {
    const { classes } = this.#definition;
    return this.#inTurn(async () => {
      const { rows, parts } = await this.#run(batch, { loss: null, wanted: null }, {});
      const values = new Float32Array(rows * classes);
      for (const planned of parts) values.set(this.#read(planned, "logits"), planned.part.firstRow * classes);
      return { rows, classes, values };
    });
  }

  async losses(batch: Batch, targets: Int32Array): Promise<Float32Array> {
    this.#checkTargets(batch, targets);
    return this.#inTurn(async () => {
      const { chosen, places } = this.#choose(batch, (row) => targets[row]! >= 0);
      const all = new Float32Array(targets.length);
      if (places !== null && places.length === 0) return all;
      const picked = places === null ? targets : Int32Array.from(places, (row) => targets[row]!);
      const { parts } = await this.#run(chosen, { loss: "cross-entropy", wanted: null }, { targets: picked });
      for (const planned of parts) {
        const stats = this.#read(planned, "stats");
        for (let row = 0; row < planned.part.rows; row++) {
          const at = planned.part.firstRow + row;
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

  activations(batch: Batch, layers: readonly string[], goal?: Loss): Promise<ReadonlyMap<string, Rows>> {
    return this.#taps(batch, { layers, form: "rows" }, goal, (found) => {
      const values = new Float32Array(found.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const part of found) {
        values.set(part, at);
        at += part.length;
      }
      return values;
    });
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
      const { parts } = await this.#run(batch, { loss: goal?.kind ?? null, wanted, taps }, content);
      const all = (name: string) => parts.map((planned) => this.#read(planned, name));
      return new Map(
        taps.layers.map((name) => {
          const handed = parts.map(({ program }) => program.outputs.find((output) => output.name === `x ${name}`)!);
          const rows = handed.reduce((sum, output) => sum + output.rows, 0);
          const outputGradients = goal === undefined ? null : join(all(`g ${name}`));
          return [name, { rows, inputs: join(all(`x ${name}`)), outputGradients }] as const;
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
      const zeros = names.map((name) => [name, new Float32Array(this.#entriesOf(name))] as const);
      return { loss: 0, parameters: new Map(zeros) };
    }
    const pick = <T extends Float32Array | Int32Array>(values: T): T =>
      (places === null ? values : places.map((row) => values[row]!)) as T;
    const kept = places === null ? weights : Float32Array.from(places, (row) => weights[row]!);
    const rowTargets = targets === null ? null : pick(targets);
    const content = { weights: kept, ...(rowTargets !== null && { targets: rowTargets }) };
    const { parts, sums } = await this.#run(chosen, { loss: goal.kind, wanted }, content);
    let total = 0;
    for (const planned of parts) {
      const stats = this.#read(planned, "stats");
      for (let row = 0; row < planned.part.rows; row++) {
        const weight = kept[planned.part.firstRow + row]!;
        if (weight !== 0) total += weight * lossOf(goal.kind, stats, row);
      }
    }
    const gradients = names.map((name) => {
      const number = this.#table.list.findIndex((parameter) => parameter.name === name);
      return [name, this.#floats(sums + this.#places[number]!, this.#entriesOf(name)).slice()] as const;
    });
    return { loss: total, parameters: new Map(gradients) };
  }

  async close(): Promise<void> {
    await this.#inTurn(() => this.#team.close());
  }

  /** Runs a batch in parts and leaves what they hand out in memory. @returns `sums`, the place of the gradients. */
  async #run(
    batch: Batch,
    goal: Goal,
    content: Readonly<Record<string, Float32Array | Int32Array>>,
  ): Promise<{ rows: number; parts: readonly PlannedPart[]; sums: number }> {
    const { definition, team } = { definition: this.#definition, team: this.#team };
    checkBatch(definition, batch);
    const tokens = definition.tokens(batch.kind === "text" ? batch.length + (batch.decoder?.length ?? 0) : 0);
    const logits = definition.classes * rowsPerExample(definition.rows, batch);
    const cut = cutBatch(batch.count, tokens, logits).map((part) => batchPart(definition.rows, batch, part));
    const used = cut.filter(({ rows }) => rows > 0);
    const programs = used.map((part) => this.#program(part, goal));

    const lanes = goal.wanted === null ? 0 : gradientLanes(used.length, this.#parameterEntries);
    const sums = team.free + this.#parameterEntries;
    const arenas = sums + lanes * this.#parameterEntries;
    const arenaEntries = Math.max(...programs.map(({ sizes }) => sizes.arena));
    let next = arenas + team.threads * arenaEntries;
    const parts = used.map((part, index): PlannedPart => {
      const { sizes } = programs[index]!;
      const inputs = next;
      const outputs = inputs + sizes.inputs;
      next = outputs + sizes.outputs;
      return { part, program: programs[index]!, inputs, outputs };
    });
    this.#reserve(next);
    for (const planned of parts) this.#write(planned, content);
    if (lanes > 0) team.kernels.fill(4 * sums, lanes * this.#parameterEntries, 0);

    const tasks = parts.map(({ program, inputs, outputs }, index): Task => {
      return { program, inputs, outputs, gradients: sums + (lanes === 0 ? 0 : index % lanes) * this.#parameterEntries };
    });
    const work: Lane[] =
      lanes === 0
        ? tasks.map((task) => [task])
        : Array.from({ length: lanes }, (_, lane) => tasks.filter((_task, index) => index % lanes === lane));
    const beginnings = Array.from({ length: team.threads }, (_, thread) => arenas + thread * arenaEntries);
    await team.run(work, team.free, beginnings);
    for (let lane = 1; lane < lanes; lane++) {
      const other = sums + lane * this.#parameterEntries;
      team.kernels.add(4 * sums, 4 * other, 4 * sums, this.#parameterEntries);
    }
    return { rows: cut.reduce((sum, { rows }) => sum + rows, 0), parts, sums };
  }

  #program(part: BatchPart, { loss: kind, wanted, taps }: Goal): Program {
    const names = wanted === null || wanted === "all" ? wanted : [...wanted].join(" ");
    const key = `${partKey(part)} | ${kind} | ${names} | ${taps?.form} ${taps?.layers.join(" ")}`;
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const tape = new Tape(this.#table, wanted);
    const passed: Passed[] = [];
    const rule = taps === undefined ? this.#rule : watching(this.#rule, new Set(taps.layers), passed);
    const logits = this.#definition.build({ tape, linear: rule }, partTensors(tape, part));
    if (kind === null) {
      if (taps === undefined) tape.handOut("logits", logits);
    } else {
      const targets = kind === "cross-entropy" ? tape.input("targets", part.rows, 1) : null;
      const weights = wanted === null ? null : tape.input("weights", part.rows, 1);
      loss(tape, kind, logits, targets, weights);
    }
    if (taps !== undefined) handOutPassed(tape, passed, taps.form);
    const program = compile(tape, this.#places);
    if (this.#programs.size >= PROGRAMS_KEPT) this.#programs.delete(this.#programs.keys().next().value!);
    this.#programs.set(key, program);
    return program;
  }

  #write({ part, program, inputs }: PlannedPart, rows: Readonly<Record<string, Float32Array | Int32Array>>): void {
    const content: Record<string, Float32Array | Int32Array> = { ...partContent(part) };
    for (const [name, values] of Object.entries(rows)) {
      content[name] = values.subarray(part.firstRow, part.firstRow + part.rows);
    }
    for (const { name, at, entries, content: fixed } of program.inputs) {
      const values = fixed ?? content[name]!;
      const { buffer } = this.#team.memory;
      const View = values instanceof Int32Array ? Int32Array : Float32Array;
      new View(buffer, 4 * (inputs + at), entries).set(values);
    }
  }

  #read({ program, outputs }: PlannedPart, name: string): Float32Array {
    const { at, entries }: HandedAt = program.outputs.find((output) => output.name === name)!;
    return this.#floats(outputs + at, entries);
  }

  #floats(at: number, entries: number): Float32Array {
    return new Float32Array(this.#team.memory.buffer, 4 * at, entries);
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

  /** Grows the memory to so many entries. */
  #reserve(entries: number): void {
    const { memory } = this.#team;
    const missing = 4 * entries - memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      memory.grow(Math.ceil(missing / PAGE_BYTES));
    } catch (cause) {
      throw new MergewrightError("the network and its batch do not fit into memory", {
        kind: "environment",
        code: "runtime/memory",
        expected: "at most 4 GiB for weights, activations and gradients",
        found: `${((4 * entries) / 2 ** 30).toFixed(1)} GiB`,
        advice: "use smaller batches, shorter texts or fewer threads",
        cause,
      });
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  #entriesOf(name: string): number {
    return this.#table.list.find((parameter) => parameter.name === name)!.entries;
  }
}

/** Hands out what passed linear layers, `x name` and `g name`, as it is or as its sums of products. */
function handOutPassed(tape: Tape, passed: readonly Passed[], form: "rows" | "grams"): void {
  const handOut = (name: string, rows: Tensor) => {
    if (form === "rows") {
      tape.handOut(name, rows);
      return;
    }
    const { rows: depth, columns } = rows;
    const gram = tape.output(name, columns, columns, depth);
    tape.call("gemm", columns, columns, depth, rows, columns, 1, rows, columns, 0, gram, columns, 1, null, 0);
  };
  for (const { layer, x, y } of passed) {
    handOut(`x ${layer.name}`, x);
    const gradient = tape.gradient(y);
    if (gradient !== undefined) handOut(`g ${layer.name}`, gradient);
  }
}

/** Programs of different part sizes and goals that are kept. */
const PROGRAMS_KEPT = 32;

/** The smallest batch, for finding parameters. */
function probeBatch({ input }: Definition): Batch {
  if (input.kind === "images") {
    const { channels, height, width } = input;
    return { kind: "images", count: 1, channels, height, width, pixels: new Float32Array(0) };
  }
  const one = new Int32Array(1);
  const decoder = input.decoder ? { decoder: { length: 1, ids: one } } : {};
  return { kind: "text", count: 1, length: 1, ids: one, lengths: Int32Array.of(1), ...decoder };
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

function wrongRows(what: string, expected: number, found: number): MergewrightError {
  return new MergewrightError(`there are not as many ${what} as rows of logits`, {
    kind: "request",
    code: "runtime/batch",
    expected: String(expected),
    found: String(found),
  });
}
