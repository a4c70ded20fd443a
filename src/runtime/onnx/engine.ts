/**
 * Passes on an ONNX runtime that the user has installed: the same tapes, written out as graphs with the weights as inputs, so
 * that one session serves every model of an architecture. Results agree with those of the kernels to rounding, not to the
 * bit.
 */

import { MergewrightError } from "../../errors.js";
import type { Definition } from "../architectures/architecture.js";
import { batchPart, checkBatch, rowsPerExample } from "../batch.js";
import type { BatchPart } from "../batch.js";
import type { Batch, LayerInfo, WeightSource } from "../network.js";
import type { LinearRule } from "../operations/linear.js";
import type { Part } from "../parts.js";
import type { Tape } from "../tape.js";
import type { Progress } from "../team.js";
import { contentOf, Trace } from "../trace.js";
import type { RunBatch, RunPart } from "../run_parts.js";
import type { Engine, Goal, RowContent } from "../trace.js";
import { checkTensor } from "../weights.js";
import { gradientPort, inputPort, LARGEST_CONSTANT, lower, outputPort, weightDims, weightPort } from "./lower.js";
import type { Written } from "./lower.js";

/** What is asked of the runtime: the part of onnxruntime's interface that is used, so that others can stand in. */
export interface OnnxRuntime {
  /** Sessions that can run at the same time, with one thread each. */
  readonly lanes: number;
  /** @param lane where the session is to run, below `lanes`; `null`: by itself, with all threads. */
  open(file: Uint8Array, lane: number | null): Promise<OnnxSession>;
  close(): Promise<void>;
}

export interface OnnxSession {
  /**
   * Is under way, in a lane beyond the first, when this returns; the first may keep the caller's thread until it is done.
   * @param into every output of the graph, in f32: memory that the runtime writes to.
   */
  run(feeds: Readonly<Record<string, OnnxFeed>>, into: Readonly<Record<string, OnnxFeed>>): Promise<void>;
  close(): Promise<void>;
}

export interface OnnxFeed {
  readonly dims: readonly number[];
  /** In f32 or i32. */
  readonly data: Float32Array | Int32Array;
  /** Nothing is ever written to this array, and the same one will come under this name again. */
  readonly lasts?: boolean;
}

interface Opened {
  readonly session: OnnxSession;
  readonly written: Written;
  readonly inputs: Tape["inputs"];
  readonly outputs: Tape["outputs"];
}

/** Rows of activations and entries of logits that may be in work at a time, which bounds the memory of sessions. */
const ROWS = 8192;
const LOGITS = 2 ** 26;
/** Sessions of different part sizes and goals that a lane keeps. */
const SESSIONS_KEPT = 8;
/** Weights of which each lane has a copy: with more, in f32, memory is dearer than what lanes gain. */
const LANE_WEIGHTS = 2 ** 26;

export class OnnxEngine implements Engine {
  readonly #trace: Trace;
  readonly #runtime: OnnxRuntime;
  readonly #progress: Progress | undefined;
  readonly #weights: Float32Array[] = [];
  readonly #sessions = new Map<string, Opened>();

  /** @param progress told after each part of a batch. */
  constructor(definition: Definition, rule: LinearRule, runtime: OnnxRuntime, progress?: Progress) {
    this.#trace = new Trace(definition, rule);
    this.#runtime = runtime;
    this.#progress = progress;
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
    const { list } = this.#trace.table;
    for (const { name, shape } of list) checkTensor(weights, name, shape);
    for (const [number, { name }] of list.entries()) this.#weights[number] = await weights.tensor(name);
  }

  async run(batch: Batch, goal: Goal, content: RowContent, room?: Float32Array): Promise<RunBatch> {
    const { definition } = this.#trace;
    checkBatch(definition, batch);
    if (goal.squares !== undefined) throw noSquares();
    const lanes = this.#lanesFor(batch, goal);
    const all = cut(definition, batch, lanes).map((part) => batchPart(definition.rows, batch, part));
    const used = all.filter(({ rows }) => rows > 0);
    const gradients = new Map<number, Float32Array>();
    const parts: RunPart[] = [];
    for (let first = 0; first < used.length; first += lanes) {
      const group = used.slice(first, first + lanes);
      const opened: Opened[] = [];
      for (const [lane, part] of group.entries()) {
        opened.push(await this.#session(part, goal, lanes === 1 ? null : lane));
      }
      // The first lane is this thread, which is kept busy until it is done: the others begin before.
      const runs = group.map((part, lane) => () => this.#runPart(opened[lane]!, part, content, gradients, room));
      const begun = runs.reverse().map((run) => run());
      await Promise.allSettled(begun);
      parts.push(...(await Promise.all(begun)).reverse());
      this.#progress?.(parts.length / used.length);
    }
    return {
      rows: all.reduce((sum, { rows }) => sum + rows, 0),
      parts,
      gradient: (name) => gradients.get(this.#trace.numberOf(name)) ?? new Float32Array(this.#trace.entriesOf(name)),
    };
  }

  async close(): Promise<void> {
    for (const { session } of this.#sessions.values()) await session.close();
    this.#sessions.clear();
    await this.#runtime.close();
  }

  /**
   * In how many lanes a batch is run: single threads on parts of it do more than all threads on one product after the
   * other, where there are examples for each and little comes back.
   */
  #lanesFor({ count }: Batch, { wanted, taps }: Goal): number {
    const { lanes } = this.#runtime;
    const weights = this.#weights.reduce((sum, { length }) => sum + length, 0);
    return wanted === null && taps === undefined && count >= lanes && weights <= LANE_WEIGHTS ? lanes : 1;
  }

  /** @param gradients sums by parameter, which the part's are added to. @param room for the logits of all parts. */
  async #runPart(
    { session, written, inputs, outputs }: Opened,
    part: BatchPart,
    rows: RowContent,
    gradients: Map<number, Float32Array>,
    room: Float32Array | undefined,
  ): Promise<RunPart> {
    const content = contentOf(part, rows);
    const feeds: Record<string, OnnxFeed> = {};
    for (const [index, { name, entries, rows: length, content: fixed }] of inputs.entries()) {
      if (fixed !== null && fixed.length <= LARGEST_CONSTANT) continue;
      feeds[inputPort(index)] = { dims: [length, entries / length], data: fixed ?? content[name]! };
    }
    for (const number of written.weights) {
      feeds[weightPort(number)] = {
        dims: weightDims(this.#trace.table.list[number]!.shape),
        data: this.#weights[number]!,
        lasts: true,
      };
    }
    const { classes } = this.#trace.definition;
    const place = room?.subarray(part.firstRow * classes, (part.firstRow + part.rows) * classes);
    const logits = outputPort(outputs.findIndex(({ name }) => name === "logits"));
    const found = Object.fromEntries(
      written.outputs.map(({ name, dims }) => {
        return [name, { dims, data: (name === logits ? place : undefined) ?? roomFor(dims) }] as const;
      }),
    );
    await session.run(feeds, found);
    for (const number of written.gradients) {
      const own = found[gradientPort(number)]!.data;
      const sum = gradients.get(number);
      // The first part's memory is what the others are added to.
      if (sum === undefined) gradients.set(number, own);
      else for (let index = 0; index < sum.length; index++) sum[index]! += own[index]!;
    }
    return {
      rows: part.rows,
      firstRow: part.firstRow,
      names: outputs.map(({ name }) => name),
      handed: (name) => {
        const index = outputs.findIndex((output) => output.name === name);
        return { values: found[outputPort(index)]!.data, rows: outputs[index]!.rows };
      },
    };
  }

  async #session(part: BatchPart, goal: Goal, lane: number | null): Promise<Opened> {
    const key = `${lane} | ${this.#trace.key(part, goal)}`;
    const known = this.#sessions.get(key);
    if (known !== undefined) {
      // The one used last is given up last.
      this.#sessions.delete(key);
      this.#sessions.set(key, known);
      return known;
    }
    const tape = this.#trace.tape(part, goal);
    const written = lower(tape, this.#trace.table);
    const session = await this.#runtime.open(written.file, lane);
    const opened = { session, written, inputs: tape.inputs, outputs: tape.outputs };
    if (this.#sessions.size >= SESSIONS_KEPT * this.#runtime.lanes) {
      const [oldest, { session: old }] = this.#sessions.entries().next().value!;
      this.#sessions.delete(oldest);
      await old.close();
    }
    this.#sessions.set(key, opened);
    return opened;
  }
}

/** Parts of equal size as far as possible, so that few sessions are needed; as many of them as lanes run at a time. */
function cut({ classes, rows, tokens }: Definition, batch: Batch, lanes: number): Part[] {
  const length = batch.kind === "text" ? batch.length + (batch.decoder?.length ?? 0) : 0;
  const logits = classes * rowsPerExample(rows, batch);
  const most = Math.max(lanes, Math.min(Math.floor(ROWS / tokens(length)), Math.floor(LOGITS / logits)));
  const size = Math.ceil(batch.count / (lanes * Math.ceil(batch.count / most)));
  return Array.from({ length: Math.ceil(batch.count / size) }, (_, index) => ({
    from: index * size,
    to: Math.min(batch.count, (index + 1) * size),
  }));
}

const roomFor = (dims: readonly number[]) => new Float32Array(dims.reduce((total, size) => total * size, 1));

function noSquares(): MergewrightError {
  return new MergewrightError("squared gradients of single examples have no form in ONNX", {
    kind: "request",
    code: "runtime/backend",
    advice: "use the own back end, which is the default",
  });
}
