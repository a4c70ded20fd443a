/**
 * Passes over whole batches. Memory from the team's first free entry on: the weights, the sums of gradients of each lane,
 * each thread's arena, then what is handed to and by each part.
 */

import { MergewrightError } from "../errors.js";
import { PAGE_BYTES } from "../kernels/load.js";
import type { Definition } from "./architectures/architecture.js";
import { batchPart, checkBatch, rowsPerExample } from "./batch.js";
import type { BatchPart } from "./batch.js";
import type { Batch, LayerInfo, WeightSource } from "./network.js";
import type { LinearRule } from "./operations/linear.js";
import { cutBatch, gradientLanes } from "./parts.js";
import { compile } from "./program.js";
import type { Program } from "./program.js";
import { padded } from "./tape.js";
import type { Lane, Task, Team } from "./team.js";
import { contentOf, Trace } from "./trace.js";
import type { Engine, Goal, RowContent, RunBatch, RunPart } from "./trace.js";
import { checkTensor } from "./weights.js";

interface PlannedPart {
  readonly part: BatchPart;
  readonly program: Program;
  readonly inputs: number;
  readonly outputs: number;
}

/** Programs of different part sizes and goals that are kept. */
const PROGRAMS_KEPT = 32;

export class Passes implements Engine {
  readonly #trace: Trace;
  readonly #team: Team;
  /** Entries from the beginning of the weights, by parameter; the same for sums of gradients. */
  readonly #places: readonly number[];
  readonly #parameterEntries: number;
  readonly #programs = new Map<string, Program>();

  /** @param rule how linear layers are run. */
  constructor(definition: Definition, rule: LinearRule, team: Team) {
    this.#team = team;
    this.#trace = new Trace(definition, rule);
    const places: number[] = [];
    let entries = 0;
    for (const parameter of this.#trace.table.list) {
      places.push(entries);
      entries += padded(parameter.entries);
    }
    this.#places = places;
    this.#parameterEntries = entries;
  }

  get layers(): readonly LayerInfo[] {
    return this.#trace.layers;
  }

  get parameters(): readonly string[] {
    return this.#trace.parameters;
  }

  entriesOf(parameter: string): number {
    return this.#trace.entriesOf(parameter);
  }

  async load(weights: WeightSource): Promise<void> {
    for (const { name, shape } of this.#trace.table.list) checkTensor(weights, name, shape);
    this.#reserve(this.#team.free + this.#parameterEntries);
    for (const [number, { name, entries }] of this.#trace.table.list.entries()) {
      this.#floats(this.#team.free + this.#places[number]!, entries).set(await weights.tensor(name));
    }
  }

  async run(batch: Batch, goal: Goal, content: RowContent): Promise<RunBatch> {
    const team = this.#team;
    const { rows: kind, classes, tokens } = this.#trace.definition;
    checkBatch(this.#trace.definition, batch);
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
      gradient: (name) =>
        this.#floats(result + this.#places[this.#trace.numberOf(name)]!, this.entriesOf(name)).slice(),
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
    const key = this.#trace.key(part, goal);
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const compiled = compile(this.#trace.tape(part, goal), this.#places);
    const program = goal.squares === undefined ? compiled : this.#squaring(compiled);
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

  #write({ part, program, inputs }: PlannedPart, rows: RowContent): void {
    const content = contentOf(part, rows);
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
