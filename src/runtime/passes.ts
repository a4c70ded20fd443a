/**
 * Passes over whole batches. Memory from the team's first free entry on: the weights, the sums of gradients of each lane,
 * each thread's arena, then what is handed to and by each part.
 */

import { MergewrightError } from "../errors.js";
import { PAGE_BYTES } from "../kernels/load.js";
import type { Definition } from "./architectures/architecture.js";
import { batchPart, checkBatch, rowsPerExample } from "./batch.js";
import type { BatchPart } from "./batch.js";
import type { Batch, LayerInfo, TextBatch, WeightSource } from "./network.js";
import type { LinearRule } from "./operations/linear.js";
import { cutBatch, gradientLanes } from "./parts.js";
import { compile } from "./program.js";
import type { Program } from "./program.js";
import type { Choice, Embeddings, Routing } from "./routing.js";
import { padded } from "./tape.js";
import type { Lane, Progress, Task, Team } from "./team.js";
import { contentOf, Trace } from "./trace.js";
import type { RunBatch, RunPart } from "./run_parts.js";
import type { Engine, Goal, RowContent } from "./trace.js";
import { checkTensor } from "./weights.js";

interface PlannedPart {
  readonly part: BatchPart;
  readonly choice: Choice | null;
  readonly program: Program;
  readonly inputs: number;
  readonly outputs: number;
}

/** Programs of different part sizes and goals that are kept. */
const PROGRAMS_KEPT = 32;

export class Passes implements Engine {
  readonly #trace: Trace;
  readonly #team: Team;
  readonly #routing: Routing | null;
  readonly #progress: Progress | undefined;
  /** Entries from the beginning of the weights, by parameter; the same for sums of gradients. */
  readonly #places: readonly number[];
  readonly #parameterEntries: number;
  readonly #programs = new Map<string, Program>();

  /** @param rule how linear layers are run. @param progress told while a batch is run. */
  constructor(definition: Definition, rule: LinearRule, team: Team, routing: Routing | null, progress?: Progress) {
    this.#team = team;
    this.#routing = routing;
    this.#progress = progress;
    this.#trace = new Trace(definition, rule, routing);
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

  /** Mean last hidden states of the network without experts. */
  async #embed(batch: Batch): Promise<Embeddings> {
    const whole = batch.kind === "text" ? { ...withoutPositions(batch) } : batch;
    const { parts } = await this.run(whole, { loss: null, wanted: null, hidden: true }, {});
    return meanStates(
      whole,
      parts.map(({ handed }) => handed("hidden")),
    );
  }

  /** Of each example; @throws runtime/architecture where the network does not show its last hidden state. */
  embeddings(batch: Batch): Promise<Embeddings> {
    if (this.#trace.definition.hidden === true) return this.#embed(batch);
    throw new MergewrightError("the last hidden state of this architecture cannot be looked at", {
      kind: "request",
      code: "runtime/architecture",
      advice: "routers are trained for ViT and for Llama, Mistral and Qwen models",
    });
  }

  /** Parts of one choice each. */
  async #cut(batch: Batch, goal: Goal, most: number, tokens: number) {
    const examples = this.#routing?.examples ?? null;
    const plain = (count: number, from: number, choice: Choice | null) =>
      cutBatch(count, tokens, most).map((part) => ({ from: part.from + from, to: part.to + from, choice }));
    if (examples === null || goal.hidden === true) return plain(batch.count, 0, null);
    const choices = await examples.choose(batch, () => this.embeddings(batch));
    const parts: { from: number; to: number; choice: Choice | null }[] = [];
    for (let from = 0; from < batch.count; ) {
      const choice = choices[from]!;
      let to = from + 1;
      while (to < batch.count && sameChoice(choice, choices[to]!)) to++;
      parts.push(...plain(to - from, from, choice));
      from = to;
    }
    return parts;
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
    if (this.#routing !== null && goal.wanted !== null) throw notDifferentiable();
    const most = classes * rowsPerExample(kind, batch);
    const cut =
      goal.squares === undefined
        ? await this.#cut(batch, goal, most, tokens(length))
        : Array.from({ length: batch.count }, (_, from) => ({ from, to: from + 1, choice: null }));
    const all = cut.map((part) => ({ part: batchPart(kind, batch, part), choice: part.choice }));
    const used = all.filter(({ part }) => part.rows > 0);

    const programs = used.map(({ part, choice }) => this.#program(part, goal, choice));
    const lanes = goal.wanted === null ? 0 : gradientLanes(used.length, this.#parameterEntries);
    const sums = team.free + this.#parameterEntries;
    // Behind its sums of gradients a lane has its sums of squares.
    const laneEntries = this.#parameterEntries * (goal.squares === undefined ? 1 : 2);
    const arenas = sums + lanes * laneEntries;
    const arenaEntries = Math.max(...programs.map(({ sizes }) => sizes.arena));
    let next = arenas + team.threads * arenaEntries;
    const parts = used.map(({ part, choice }, index): PlannedPart => {
      const program = programs[index]!;
      const inputs = next;
      const outputs = inputs + program.sizes.inputs;
      next = outputs + program.sizes.outputs;
      return { part, choice, program, inputs, outputs };
    });
    this.#reserve(next);
    for (const planned of parts) this.#write(planned, content);
    if (lanes > 0) team.kernels.fill(4 * sums, lanes * laneEntries, 0);

    const beginnings = Array.from({ length: team.threads }, (_, thread) => arenas + thread * arenaEntries);
    await team.run(this.#lanes(parts, lanes, sums, laneEntries), team.free, beginnings, this.#progress);
    const result = sums + laneEntries - this.#parameterEntries;
    for (let lane = 1; lane < lanes; lane++) {
      const other = result + lane * laneEntries;
      team.kernels.add(4 * result, 4 * other, 4 * result, this.#parameterEntries);
    }
    const done = parts.map((planned) => this.#runPart(planned));
    if (goal.hidden !== true) this.#routing?.observe?.(done);
    return {
      rows: all.reduce((sum, { part }) => sum + part.rows, 0),
      parts: done,
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

  #program(part: BatchPart, goal: Goal, choice: Choice | null): Program {
    const key = this.#trace.key(part, goal, choice);
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const compiled = compile(this.#trace.tape(part, goal, choice), this.#places);
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

  #write({ part, choice, program, inputs }: PlannedPart, rows: RowContent): void {
    const content: ReturnType<typeof contentOf> = {
      ...contentOf(part, rows),
      ...(choice !== null && { "expert weights": choice.weights }),
    };
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
      names: program.outputs.map(({ name }) => name),
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

function withoutPositions(batch: TextBatch): TextBatch {
  const { kind, count, length, ids, lengths, segments, decoder } = batch;
  return { kind, count, length, ids, lengths, ...(segments && { segments }), ...(decoder && { decoder }) };
}

/** @param parts of the batch's examples in their order. */
function meanStates(
  batch: Batch,
  parts: readonly { readonly values: Float32Array; readonly rows: number }[],
): Embeddings {
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const each = rows / batch.count;
  const width = parts[0]!.values.length / parts[0]!.rows;
  const means = new Float32Array(batch.count * width);
  const sums = new Float64Array(width);
  let example = 0;
  for (const { values, rows: own } of parts) {
    for (let first = 0; first < own; first += each, example++) {
      const length = batch.kind === "text" ? batch.lengths[example]! : each;
      sums.fill(0);
      for (let at = first * width; at < (first + length) * width; at++) sums[at % width]! += values[at]!;
      for (let c = 0; c < width; c++) means[example * width + c] = sums[c]! / length;
    }
  }
  return { rows: batch.count, width, values: means };
}

function sameChoice(a: Choice, b: Choice): boolean {
  if (a.expert !== null || b.expert !== null) return a.expert === b.expert;
  return a.weights.every((weight, index) => weight === b.weights[index]);
}

function notDifferentiable(): MergewrightError {
  return new MergewrightError("a network that chooses experts per input has no gradients here", {
    kind: "request",
    code: "runtime/batch",
    advice: "take them of the shared model, or of a task's model: ARTIFACT#TASK",
  });
}
