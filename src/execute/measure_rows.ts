/** The measures of rows that a block's entries belong to. */
import type { RowMeasure } from "../methods/method.js";
import type { Block } from "./blocks.js";
import { MEASURED_ROWS, ROW_STATE_BYTES } from "./workbench.js";
import type { PreparedTile, Workbench } from "./workbench.js";

export interface RowMeasures {
  /** Entries of a row. */
  readonly length: number;
  /** Index of the first row measured. */
  readonly first: number;
  readonly values: Float32Array;
}

/** What a thread measured last: runs of a sample and blocks often share their rows. */
const last = new WeakMap<Workbench, { readonly key: string; readonly measures: RowMeasures }>();

type StepKernel = (base: number, model: number, at: number, count: number, state: number) => void;

/**
 * Measures all rows that a block touches, whole, so that blocks that share a row find the same. Rows are read in runs of
 * a tile: no row needs to fit anywhere.
 */
export async function measureRows(work: Workbench, block: Block, measure: RowMeasure): Promise<RowMeasures> {
  const length = Math.max(1, work.setup.tensors[block.tensor]!.shape.at(-1) ?? 1);
  const first = Math.floor(block.start / length);
  const end = Math.ceil((block.start + block.count) / length);
  const key = `${block.tensor} ${measure.kernel} ${measure.state.join()}`;
  const known = last.get(work);
  if (
    known?.key === key &&
    known.measures.first <= first &&
    end <= known.measures.first + known.measures.values.length
  ) {
    return known.measures;
  }
  const values = new Float32Array(end - first);
  const together = Math.max(1, Math.min(MEASURED_ROWS, Math.floor(work.setup.tileEntries / length)));
  const kernels = measure.steps.map(
    (_, step) => work.kernels.get(`${measure.kernel}_${step}`) as unknown as StepKernel,
  );
  for (let row = first; row < end; row += together) {
    const rows = Math.min(together, end - row);
    const group = { tensor: block.tensor, start: row * length, count: rows * length };
    const states = new Float64Array(work.kernels.memory.buffer, work.rowStates, (rows * ROW_STATE_BYTES) / 8);
    for (let one = 0; one < rows; one++) states.set(measure.state, (one * ROW_STATE_BYTES) / 8);
    for (const kernel of kernels) {
      await work.forEachTile(group, { changes: false, floats: true }, ({ start, count, add, inputs }) => {
        forEachRow(start, count, length, (index, at, run) => {
          const place = start + at - index * length;
          kernel(add + 4 * at, inputs[0]! + 4 * at, place, run, work.rowStates + (index - row) * ROW_STATE_BYTES);
        });
      });
    }
    for (let one = 0; one < rows; one++) {
      const at = (one * ROW_STATE_BYTES) / 8;
      values[row - first + one] = measure.result(states.subarray(at, at + ROW_STATE_BYTES / 8), length);
    }
  }
  const measures = { length, first, values };
  last.set(work, { key, measures });
  return measures;
}

/** Puts the measure of each entry's row where kernels and definitions find it. */
export function spreadRows(work: Workbench, { length, first, values }: RowMeasures, tile: PreparedTile): void {
  const stream = work.floatsAt(work.rowStream, tile.padded);
  forEachRow(tile.start, tile.count, length, (index, at, run) => stream.fill(values[index - first]!, at, at + run));
  stream.fill(0, tile.count);
}

/** The parts of rows in a run of entries. @param use index of the row, where its part begins in the run, and its length. */
function forEachRow(
  start: number,
  count: number,
  length: number,
  use: (index: number, at: number, run: number) => void,
): void {
  for (let at = 0; at < count; ) {
    const index = Math.floor((start + at) / length);
    const run = Math.min(count - at, (index + 1) * length - start - at);
    use(index, at, run);
    at += run;
  }
}
