/**
 * Passes over whole batches. Memory from the team's first free entry on: the weights, the sums of gradients of each lane,
 * each thread's arena, then what is handed to and by each part.
 */

import { MergewrightError } from "../errors.js";
import { PAGE_BYTES } from "../kernels/load.js";
import type { Definition } from "./architectures/architecture.js";
import { batchPart, checkBatch, partContent, partKey, partTensors, rowsPerExample } from "./batch.js";
import type { BatchPart } from "./batch.js";
import type { Batch, LayerInfo, WeightSource } from "./network.js";
import { shapeOf, watching, weightOf } from "./operations/linear.js";
import type { LinearRule, Passed } from "./operations/linear.js";
import { expectation, loss } from "./operations/loss.js";
import type { LossKind } from "./operations/loss.js";
import { cutBatch, gradientLanes } from "./parts.js";
import { compile } from "./program.js";
import type { Program } from "./program.js";
import { padded, ParameterTable, Tape } from "./tape.js";
import type { Tensor } from "./tape.js";
import type { Lane, Task, Team } from "./team.js";
import { checkTensor } from "./weights.js";

/** What a pass is to end in. */
export interface Goal {
  /** `null`: the logits, or nothing but what is tapped. */
  readonly loss: LossKind | null;
  /**
   * Gradients are squared before they are summed: those of each example's loss, or of log p of every class of each
   * example, weighted with p (`expectation`; then there is no loss).
   */
  readonly squares?: "loss" | "expectation";
  /** Parameters whose gradients are wanted; `null` where nothing runs backward. */
  readonly wanted: ReadonlySet<string> | "all" | null;
  /** Layers of which something is handed out. */
  readonly taps?: { readonly layers: readonly string[]; readonly form: "rows" | "grams" };
}

/** A part that has been run. Its memory is good until the next pass. */
export interface RunPart {
  /** Rows of logits, and where the first of them is among all. */
  readonly rows: number;
  readonly firstRow: number;
  /** What was handed out under a name, and the rows that it has or is a sum over. */
  readonly handed: (name: string) => { readonly values: Float32Array; readonly rows: number };
}

export interface RunBatch {
  readonly rows: number;
  readonly parts: readonly RunPart[];
  /** A parameter's gradient, summed over the parts. */
  readonly gradient: (name: string) => Float32Array;
}

/** Values per row of logits that come with a batch. */
export type RowContent = Readonly<Record<string, Float32Array | Int32Array>>;

interface PlannedPart {
  readonly part: BatchPart;
  readonly program: Program;
  readonly inputs: number;
  readonly outputs: number;
}

/** Programs of different part sizes and goals that are kept. */
const PROGRAMS_KEPT = 32;

export class Passes {
  readonly layers: readonly LayerInfo[];
  readonly #definition: Definition;
  readonly #team: Team;
  readonly #rule: LinearRule;
  readonly #table = new ParameterTable();
  /** Entries from the beginning of the weights, by parameter; the same for sums of gradients. */
  readonly #places: readonly number[];
  readonly #parameterEntries: number;
  readonly #programs = new Map<string, Program>();

  /** @param rule how linear layers are run. */
  constructor(definition: Definition, team: Team, rule: LinearRule) {
    this.#definition = definition;
    this.#team = team;
    this.#rule = rule;
    // A first pass over the definition finds parameters and layers.
    const tape = new Tape(this.#table, null);
    const passed: Passed[] = [];
    const part = batchPart(definition.rows, smallestBatch(definition), { from: 0, to: 1 });
    definition.build({ tape, linear: watching(rule, null, passed), whole: true }, partTensors(tape, part));
    this.layers = passed.map(({ layer }) => {
      const { name, inputs, outputs, transposed = false } = layer;
      return { name, inputs, outputs, weight: weightOf(layer), shape: shapeOf(layer), transposed };
    });
    const places: number[] = [];
    let entries = 0;
    for (const parameter of this.#table.list) {
      places.push(entries);
      entries += padded(parameter.entries);
    }
    this.#places = places;
    this.#parameterEntries = entries;
  }

  get parameters(): readonly string[] {
    return this.#table.list.map(({ name }) => name);
  }

  entriesOf(parameter: string): number {
    return this.#table.list[this.#numberOf(parameter)]!.entries;
  }

  /** Nothing is loaded unless all tensors are there and have the right shapes. */
  async load(weights: WeightSource): Promise<void> {
    for (const { name, shape } of this.#table.list) checkTensor(weights, name, shape);
    this.#reserve(this.#team.free + this.#parameterEntries);
    for (const [number, { name, entries }] of this.#table.list.entries()) {
      this.#floats(this.#team.free + this.#places[number]!, entries).set(await weights.tensor(name));
    }
  }

  /** @param content the targets and weights that the goal needs, a value per row of the whole batch's logits. */
  async run(batch: Batch, goal: Goal, content: RowContent): Promise<RunBatch> {
    const team = this.#team;
    const { rows: kind, classes, tokens } = this.#definition;
    checkBatch(this.#definition, batch);
    const length = batch.kind === "text" ? batch.length + (batch.decoder?.length ?? 0) : 0;
    const cut =
      goal.squares === undefined
        ? cutBatch(batch.count, tokens(length), classes * rowsPerExample(kind, batch))
        : Array.from({ length: batch.count }, (_, from) => ({ from, to: from + 1 }));
    const all = cut.map((part) => batchPart(kind, batch, part));
    const used = all.filter(({ rows }) => rows > 0);

    const programs = used.map((part) => this.#program(part, goal));
    const lanes = goal.wanted === null ? 0 : gradientLanes(used.length, this.#parameterEntries);
    const sums = team.free + this.#parameterEntries;
    // Behind its sums of gradients a lane has its sums of squares.
    const laneEntries = this.#parameterEntries * (goal.squares === undefined ? 1 : 2);
    const arenas = sums + lanes * laneEntries;
    const arenaEntries = Math.max(...programs.map(({ sizes }) => sizes.arena));
    let next = arenas + team.threads * arenaEntries;
    const parts = used.map((part, index): PlannedPart => {
      const program = programs[index]!;
      const inputs = next;
      const outputs = inputs + program.sizes.inputs;
      next = outputs + program.sizes.outputs;
      return { part, program, inputs, outputs };
    });
    this.#reserve(next);
    for (const planned of parts) this.#write(planned, content);
    if (lanes > 0) team.kernels.fill(4 * sums, lanes * laneEntries, 0);

    const beginnings = Array.from({ length: team.threads }, (_, thread) => arenas + thread * arenaEntries);
    await team.run(this.#lanes(parts, lanes, sums, laneEntries), team.free, beginnings);
    const result = sums + laneEntries - this.#parameterEntries;
    for (let lane = 1; lane < lanes; lane++) {
      const other = result + lane * laneEntries;
      team.kernels.add(4 * result, 4 * other, 4 * result, this.#parameterEntries);
    }
    return {
      rows: all.reduce((sum, { rows }) => sum + rows, 0),
      parts: parts.map((planned) => this.#runPart(planned)),
      gradient: (name) => this.#floats(result + this.#places[this.#numberOf(name)]!, this.entriesOf(name)).slice(),
    };
  }

  close(): Promise<void> {
    return this.#team.close();
  }

  /** Forward every part is on its own; backward part i adds to the sums of lane i modulo their number. */
  #lanes(parts: readonly PlannedPart[], lanes: number, sums: number, laneEntries: number): readonly Lane[] {
    const tasks = parts.map(({ program, inputs, outputs }, index): Task => {
      const lane = lanes === 0 ? 0 : index % lanes;
      return { program, inputs, outputs, gradients: sums + lane * laneEntries };
    });
    if (lanes === 0) return tasks.map((task) => [task]);
    return Array.from({ length: lanes }, (_, lane) => tasks.filter((_task, index) => index % lanes === lane));
  }

  #program(part: BatchPart, goal: Goal): Program {
    const { loss: kind, wanted, taps, squares } = goal;
    const names = wanted === null || wanted === "all" ? wanted : [...wanted].join(" ");
    const key = `${partKey(part)} | ${kind} ${squares} | ${names} | ${taps?.form} ${taps?.layers.join(" ")}`;
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const compiled = compile(this.#tape(part, goal), this.#places);
    const program = squares === undefined ? compiled : this.#squaring(compiled);
    if (this.#programs.size >= PROGRAMS_KEPT) this.#programs.delete(this.#programs.keys().next().value!);
    this.#programs.set(key, program);
    return program;
  }

  /** The program with a last step that squares what the lane's sums of gradients hold by then, and empties them. */
  #squaring(program: Program): Program {
    const count = this.#parameterEntries;
    const args = [{ area: "gradients", at: 0 } as const, { area: "gradients", at: count } as const, count];
    return { ...program, steps: [...program.steps, { kernel: "square_sum", args }] };
  }

  #tape(part: BatchPart, { loss: kind, squares, wanted, taps }: Goal): Tape {
    const tape = new Tape(this.#table, wanted);
    const passed: Passed[] = [];
    const linear = taps === undefined ? this.#rule : watching(this.#rule, new Set(taps.layers), passed);
    const logits = this.#definition.build({ tape, linear, whole: taps !== undefined }, partTensors(tape, part));
    if (squares === "expectation") expectation(tape, logits);
    else if (kind !== null) {
      const targets = kind === "cross-entropy" ? tape.input("targets", part.rows, 1) : null;
      const weights = wanted === null ? null : tape.input("weights", part.rows, 1);
      loss(tape, kind, logits, targets, weights);
    } else if (taps === undefined) tape.handOut("logits", logits);
    if (taps !== undefined) handOutPassed(tape, passed, taps.form);
    return tape;
  }

  #write({ part, program, inputs }: PlannedPart, rows: RowContent): void {
    const content: Record<string, Float32Array | Int32Array> = { ...partContent(part) };
    for (const [name, values] of Object.entries(rows)) {
      content[name] = values.subarray(part.firstRow, part.firstRow + part.rows);
    }
    for (const { name, at, entries, content: fixed } of program.inputs) {
      const values = fixed ?? content[name]!;
      const View = values instanceof Int32Array ? Int32Array : Float32Array;
      new View(this.#team.memory.buffer, 4 * (inputs + at), entries).set(values);
    }
  }

  #runPart({ part: { rows, firstRow }, program, outputs }: PlannedPart): RunPart {
    return {
      rows,
      firstRow,
      handed: (name) => {
        const found = program.outputs.find((output) => output.name === name)!;
        return { values: this.#floats(outputs + found.at, found.entries), rows: found.rows };
      },
    };
  }

  #numberOf(parameter: string): number {
    return this.#table.list.findIndex(({ name }) => name === parameter);
  }

  #floats(at: number, entries: number): Float32Array {
    return new Float32Array(this.#team.memory.buffer, 4 * at, entries);
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

/** A batch of one, for finding parameters. */
function smallestBatch({ input }: Definition): Batch {
  if (input.kind === "images") {
    const { channels, height, width } = input;
    return { kind: "images", count: 1, channels, height, width, pixels: new Float32Array(0) };
  }
  const one = new Int32Array(1);
  const decoder = input.decoder ? { decoder: { length: 1, ids: one } } : {};
  return { kind: "text", count: 1, length: 1, ids: one, lengths: Int32Array.of(1), ...decoder };
}
