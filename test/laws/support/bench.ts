/** The benches of the kernels that combine models: three of them, a tile at a time. */

import { bench, TILE } from "../../../src/kernels/bench.js";
import { KernelContext } from "../../../src/kernels/context.js";
import { createMemory, loadKernels } from "../../../src/kernels/load.js";
import type { Known, ParameterValue, TileMethod } from "../../../src/methods/method.js";
import { narrow } from "../../../src/numbers/convert.js";
import { DTYPE_BYTES } from "../../../src/numbers/dtypes.js";
import { normals } from "./random.js";
import { PAIRS, settingsOf } from "./twin.js";

const MODELS = 3;
const CONTEXT = 65_536;
const SCRATCH = CONTEXT + 4096;
const STREAM_BYTES = TILE * 4 + 960;
const OUT = CONTEXT + 8192 + (MODELS + 1) * STREAM_BYTES;
const SUMS = OUT + STREAM_BYTES;

export function benchMethod(
  method: TileMethod,
  given: Readonly<Record<string, ParameterValue>>,
  known: Known = {},
): void {
  const memory = createMemory(SUMS + MODELS * STREAM_BYTES, true);
  const kernels = loadKernels(memory);
  const context = new KernelContext(memory, CONTEXT, MODELS);
  const args = method.bind(settingsOf(method, given, [{}, {}, {}]), known);
  const kernel = method.kernel(args)!;
  const values = Array.from({ length: MODELS + 1 }, (_, stream) => normals(TILE, stream, 0.01));
  const address = (stream: number) => CONTEXT + 8192 + stream * STREAM_BYTES;
  context.setRows(MODELS);
  Object.values(args.scalars).forEach((value, index) => context.setScalar(index, value));
  Object.values(args.columns).forEach((column, index) =>
    column.forEach((value, row) => context.setColumn(row, index, value)),
  );
  const sums =
    known.collected?.counts.map((_, row) => normals(TILE, 9 + row, 0.01).map((value) => value * value)) ?? [];
  for (let row = 0; row < MODELS; row++) context.setPointer(row, address(row));
  for (const [row, values] of sums.entries()) {
    const at = SUMS + row * STREAM_BYTES;
    new Float32Array(memory.buffer, at, TILE).set(values);
    context.setSums(row, at);
  }
  context.setTile(TILE, OUT, address(MODELS), address(MODELS), SCRATCH);
  if (args.table !== undefined) context.setTable(memory, SCRATCH, MODELS, args.table);
  context.setEntries(TILE);
  // Tiles with sums beside them are widened before a kernel sees them.
  for (const [from, to] of PAIRS.filter(([one]) => sums.length === 0 || one === "F32")) {
    values.forEach((entries, stream) =>
      narrow(from, entries, new Uint8Array(memory.buffer, address(stream), TILE * DTYPE_BYTES[from])),
    );
    const run = kernels.get(`${kernel}_${from}_${to}`);
    bench("entries", TILE, { [`${kernel} ${from} ${to}`]: () => run(context.address) });
  }
  const extra = Object.fromEntries(sums.map((entries, row) => [`statistics.${row}`, entries]));
  const [a, b, c, base] = values as [Float32Array, Float32Array, Float32Array, Float32Array];
  const tile = { count: TILE, base, inputs: [a, b, c], extra, out: new Float32Array(TILE), counters: {} };
  bench("entries", TILE, { [`${kernel}, TypeScript`]: () => method.combine(tile, args) });
}
