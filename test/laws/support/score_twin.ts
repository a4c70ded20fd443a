/** Runs the kernel of a method's score and its definition on the same stored entries, and compares them bit by bit. */

import assert from "node:assert/strict";
import { contextBytes, KernelContext } from "../../../src/kernels/context.js";
import type { KernelDtype } from "../../../src/kernels/convert/binding.js";
import { createMemory, loadKernels } from "../../../src/kernels/load.js";
import type { Arguments, TileMethod } from "../../../src/methods/method.js";
import { change, widen } from "../../../src/numbers/convert.js";
import { DTYPE_BYTES } from "../../../src/numbers/dtypes.js";
import { rowCount } from "../../../src/statistics/score_rows.js";
import { patterns } from "./random.js";

const MOST_STREAMS = 10;
const MOST_ENTRIES = 1024;
const MOST_ROWS = 64;
const CONTEXT = 65_536;
const STREAMS = CONTEXT + 4096;
const STREAM_BYTES = MOST_ENTRIES * 4 + 256;
const SCRATCH = STREAMS + MOST_STREAMS * STREAM_BYTES;
const STREAM = SCRATCH + 4096;
const SCORES = STREAM + STREAM_BYTES;

const memory = createMemory(SCORES + MOST_ROWS * STREAM_BYTES, false);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, CONTEXT, MOST_STREAMS);

export interface ScoreTwinCase {
  readonly method: TileMethod;
  readonly score: string;
  readonly args: Arguments;
  readonly kernel: string;
  readonly from: KernelDtype;
  /** As stored; a multiple of eight entries each. */
  readonly base: Uint8Array;
  readonly models: readonly Uint8Array[];
  /** Per entry the measure of its row, where rows are measured. */
  readonly rows?: Float32Array;
}

/** @returns the scores. */
export function checkScoreTwin({
  method,
  score,
  args,
  kernel,
  from,
  base,
  models,
  rows,
}: ScoreTwinCase): Float32Array[] {
  const definition = method.scores![score]!;
  assert.equal(definition.kernel(args), kernel);
  const count = base.length / DTYPE_BYTES[from];
  const floats = [...models, base].map((bytes) => {
    const values = new Float32Array(count);
    widen(from, bytes, values);
    return values;
  });
  const widened = floats.pop()!;
  if (method.inputs === "changes") for (const values of floats) change(values, widened, values);
  const scores = Array.from({ length: rowCount(definition.per, models.length) }, () => new Float32Array(count));
  definition.define({ count, base: widened, inputs: floats, extra: {}, ...(rows && { rows }), scores }, args);

  const addresses = [...models, base].map((bytes, index) => {
    const address = STREAMS + index * STREAM_BYTES;
    new Uint8Array(memory.buffer, address, bytes.length).set(bytes);
    return address;
  });
  const subtract = addresses.pop()!;
  new Uint8Array(memory.buffer, CONTEXT, contextBytes(MOST_STREAMS)).fill(0);
  context.setRows(models.length);
  Object.values(args.scalars).forEach((value, index) => context.setScalar(index, value));
  Object.values(args.columns).forEach((values, column) =>
    values.forEach((value, row) => context.setColumn(row, column, value)),
  );
  addresses.forEach((address, row) => context.setPointer(row, address));
  context.setTile(count, SCORES, subtract, subtract, SCRATCH, STREAM_BYTES);
  context.setStream(STREAM);
  if (args.table !== undefined) context.setTable(memory, SCRATCH, models.length, args.table);
  if (rows !== undefined) new Float32Array(memory.buffer, STREAM, count).set(rows);
  // For any number of models, and the one written out for this number where there is one.
  for (const run of new Set([kernels.get(kernel, `_${from}`), kernels.get(kernel, `_${from}`, models.length)])) {
    new Uint8Array(memory.buffer, SCORES, scores.length * STREAM_BYTES).fill(0x5a);
    run(context.address);
    for (const [row, expected] of scores.entries()) {
      const found = new Float32Array(memory.buffer, SCORES + row * STREAM_BYTES, count);
      assert.deepEqual(patterns(found), patterns(expected), `row ${row}`);
      const after = new Uint8Array(memory.buffer, SCORES + row * STREAM_BYTES + 4 * count, 64);
      assert.ok(
        after.every((byte) => byte === 0x5a),
        "wrote beyond the end",
      );
    }
  }
  if (definition.squares !== undefined) checkSquares(definition.squares, from, models.length, scores);
  return scores;
}

/** With the context as it was for the scores themselves. */
function checkSquares(kernel: string, from: KernelDtype, models: number, scores: readonly Float32Array[]): void {
  const sums = scores.map((values) => {
    const sum = new Float64Array(8).fill(0.5);
    for (const [p, value] of values.entries()) if (Number.isFinite(value)) sum[p % 8]! += value * value;
    return [...sum];
  });
  for (const run of new Set([kernels.get(kernel, `_${from}`), kernels.get(kernel, `_${from}`, models)])) {
    const found = scores.map((_, row) => new Float64Array(memory.buffer, SCORES + row * STREAM_BYTES, 8).fill(0.5));
    run(context.address);
    assert.deepEqual(
      found.map((sum) => [...sum]),
      sums,
    );
  }
}
