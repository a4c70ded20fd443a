/** Jobs that make the method's scores of a block and count, sum or sample them. */
import { SCORE_STATE_BYTES, scoreKernels, ScoreStates } from "../kernels/scores/binding.js";
import type { ScoreKernels } from "../kernels/scores/binding.js";
import { selectRanksKernel } from "../kernels/select/binding.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Score } from "../methods/method.js";
import { LARGEST_KEY } from "../statistics/order.js";
import { bracketFromSample } from "../statistics/threshold.js";
import type { Bracket } from "../statistics/threshold.js";
import type { Bench } from "./bench.js";
import { measureRows, spreadRows } from "./measure_rows.js";
import { setArguments } from "./combine_jobs.js";
import type { ScoreArgs, ScoreBlock, ScorePart, SelectScoresArgs, SelectScoresBlock } from "./job_types.js";
import { SAMPLE_RUN } from "./sample_runs.js";
import type { PreparedTile, Workbench } from "./workbench.js";

export async function score({ work, method }: Bench, block: ScoreBlock, args: ScoreArgs): Promise<ScorePart> {
  if (method.grain !== "tile") throw new RangeError(`${method.name} has no scores`);
  const definition = method.scores![args.score]!;
  const variant = args.variants[block.variant]!;
  const kernel = definition.kernel(variant.args);
  const { inputs } = work.setup.tensors[block.tensor]!;
  if (kernel !== null) setArguments(work, variant.args, inputs.length);
  const measure = method.rows?.(variant.args) ?? null;
  const rows = new RowCounts(work, args, variant.rows);
  const squares = kernel !== null && measure === null && asksForSquares(args) ? (definition.squares ?? null) : null;
  const { runs, slots } = block.sampled ?? { runs: [block], slots: null };
  let taken = 0;
  for (const run of runs) {
    const measures = measure === null ? null : await measureRows(work, run, measure);
    await work.forEachTile(run, { changes: method.inputs === "changes", floats: kernel === null }, (tile) => {
      if (squares !== null) return addSquares(work, squares, tile, rows);
      if (measures !== null) spreadRows(work, measures, tile);
      for (let at = 0; at < tile.count; at += work.scores.entries) {
        const count = Math.min(work.scores.entries, tile.count - at);
        if (kernel === null) defineScores(work, definition, tile, at, count, variant);
        else runKernel(work, kernel, tile, at, count);
        rows.take(count, slots?.map((slot) => slot + taken + tile.start - run.start + at) ?? null);
      }
    });
    taken += run.count;
  }
  return rows.part();
}

/** On threads because it takes as long as reading the sample did. */
export async function selectScores(
  { work }: Bench,
  { address, count, ranks, entries }: SelectScoresBlock,
  { complete }: SelectScoresArgs,
): Promise<readonly Bracket[]> {
  const keys = new Uint32Array(work.kernels.memory.buffer, address, count);
  const find = selectRanksKernel(work.kernels, work.blockOut, keys);
  if (!complete) return ranks.map((rank) => bracketFromSample(keys, rank, entries, SAMPLE_RUN, LARGEST_KEY, find));
  return ranks.map(find).map(({ bits }) => ({ high: bits, guess: bits, low: bits - 1, shift: 0 }));
}

function asksForSquares({ sum, range, brackets, buffers }: ScoreArgs): boolean {
  return sum === "squares" && !range && brackets === null && buffers === null;
}

/** Padding has no square: its changes are zero. */
function addSquares(work: Workbench, kernel: string, tile: PreparedTile, { sums, stride }: RowCounts): void {
  const { context, kernels } = work;
  for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address);
  context.setTile(tile.padded, sums, tile.subtract, tile.add, work.scratch, stride);
  kernels.get(kernel, `_${tile.format}`, tile.inputs.length)(context.address);
}

function runKernel(work: Workbench, kernel: string, tile: PreparedTile, at: number, count: number): void {
  const { context, scores, kernels } = work;
  const offset = at * DTYPE_BYTES[tile.format];
  for (const [row, address] of tile.inputs.entries()) context.setPointer(row, address + offset);
  const { address, stride } = scores;
  context.setStream(work.rowStream + 4 * at);
  context.setTile(padded(count), address, tile.subtract + offset, tile.add + offset, work.scratch, stride);
  kernels.get(kernel, `_${tile.format}`, tile.inputs.length)(context.address);
}

function defineScores(
  work: Workbench,
  definition: Score,
  tile: PreparedTile,
  at: number,
  count: number,
  { args, rows }: ScoreArgs["variants"][number],
): void {
  const floats = (address: number) => work.floatsAt(address + 4 * at, count);
  const { address, stride } = work.scores;
  const scores = rows.map((_, row) => work.floatsAt(address + row * stride, count));
  const extra = Object.fromEntries(Object.entries(tile.extra).map(([role, from]) => [role, floats(from)]));
  const measured = work.setup.measured ? { rows: floats(work.rowStream) } : {};
  definition.define(
    { count, base: floats(tile.add), inputs: tile.inputs.map(floats), extra, ...measured, scores },
    args,
  );
}

/** What is counted, row by row, of the scores that lie in a workbench's buffers. */
class RowCounts {
  readonly #work: Workbench;
  readonly #args: ScoreArgs;
  /** Of the group, per row of the tensor. */
  readonly #rows: readonly number[];
  readonly #kernels: ScoreKernels;
  readonly #states: ScoreStates;
  readonly #perRow: number;

  constructor(work: Workbench, args: ScoreArgs, rows: readonly number[]) {
    this.#work = work;
    this.#args = args;
    this.#rows = rows;
    this.#kernels = scoreKernels(work.kernels);
    this.#states = new ScoreStates(work.kernels.memory, work.scores.state, work.scores.states);
    this.#perRow = 2 + work.setup.scores.ranks;
    for (const [row, group] of rows.entries()) {
      const state = row * this.#perRow;
      this.#states.startRange(state);
      this.#states.startSum(state + 1);
      for (const [rank, bracket] of this.#brackets(group)) this.#states.startCount(state + 2 + rank, bracket);
    }
  }

  /** Address of the first row's sum, eight f64. */
  get sums(): number {
    return this.#work.scores.state + SCORE_STATE_BYTES;
  }

  /** Bytes from a row's states to the next one's. */
  get stride(): number {
    return SCORE_STATE_BYTES * this.#perRow;
  }

  /** The brackets of a row that are counted in, by rank. */
  #brackets(group: number) {
    const brackets = this.#args.brackets?.[group] ?? [];
    return [...brackets.entries()].flatMap(([rank, bracket]) => (bracket === null ? [] : [[rank, bracket] as const]));
  }

  /** @param slots per row, where a sample is drawn: the place of the first score in the sample. */
  take(count: number, slots: readonly number[] | null): void {
    const { address, stride, state } = this.#work.scores;
    const { range, sum, buffers } = this.#args;
    const stateAt = (row: number, index: number) => state + SCORE_STATE_BYTES * (row * this.#perRow + index);
    for (const [row, group] of this.#rows.entries()) {
      const scores = address + row * stride;
      const whole = padded(count);
      const padding = this.#work.floatsAt(scores + 4 * count, whole - count);
      if (sum !== "none") {
        padding.fill(0);
        (sum === "values" ? this.#kernels.sum : this.#kernels.squares)(scores, whole, stateAt(row, 1));
      }
      // A NaN is passed over by the range and below what is counted.
      padding.fill(Number.NaN);
      if (range) this.#kernels.range(scores, whole, stateAt(row, 0));
      for (const [rank] of this.#brackets(group)) this.#kernels.count(scores, whole, stateAt(row, 2 + rank));
      if (buffers === null) continue;
      this.#kernels.keys(scores, whole);
      const keys = new Uint32Array(this.#work.kernels.memory.buffer, scores, count);
      new Uint32Array(this.#work.kernels.memory.buffer, buffers[group]! + 4 * slots![row]!, count).set(keys);
    }
  }

  part(): ScorePart {
    return this.#rows.map((group, row) => {
      const state = row * this.#perRow;
      const counts = (this.#args.brackets?.[group] ?? []).map((bracket, rank) =>
        bracket === null ? null : this.#states.counts(state + 2 + rank),
      );
      return { ...this.#states.range(state), sum: this.#states.sum(state + 1), counts };
    });
  }
}

function padded(count: number): number {
  return Math.ceil(count / 8) * 8;
}
