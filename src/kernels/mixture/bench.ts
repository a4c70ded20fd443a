import { normals } from "../../../test/laws/support/random.js";
import { argumentsOf, weightedSum } from "../../methods/mixture.js";
import { narrow } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { bench, TILE } from "../bench.js";
import { KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";

const MODELS = 3;
const CONTEXT = 65_536;
const STREAM_BYTES = TILE * 4 + 960;
const STREAMS = CONTEXT + 8192;
const OUT = STREAMS + (MODELS + 1) * STREAM_BYTES;

const memory = createMemory(OUT + STREAM_BYTES, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, CONTEXT, MODELS);
const address = (stream: number) => STREAMS + stream * STREAM_BYTES;
const values = Array.from({ length: MODELS + 1 }, (_, stream) => normals(TILE, stream, 0.01));
const args = argumentsOf({ base: 0.7, models: [0.1, 0.1, 0.1] }, { base: "origin" });

context.setRows(MODELS);
context.setScalar(0, args.scalars.share!);
args.columns.weight!.forEach((weight, row) => context.setColumn(row, 0, weight));
for (let row = 0; row < MODELS; row++) context.setPointer(row, address(row));
context.setTile(TILE, OUT, address(MODELS), address(MODELS));
for (const dtype of ["BF16", "F16", "F32"] as const) {
  values.forEach((entries, stream) =>
    narrow(dtype, entries, new Uint8Array(memory.buffer, address(stream), TILE * DTYPE_BYTES[dtype])),
  );
  const run = kernels.get(`mixture_${dtype}_${dtype}`);
  bench("entries", TILE, { [`mixture ${dtype}`]: () => run(context.address) });
}
const byColumns = kernels.get("mixture_columns_F32_F32");
for (let row = 0; row < MODELS; row++) context.setColumnBits(row, 0, address(row));
context.setTile(TILE, OUT, 0, address(MODELS), address(MODELS));
bench("entries", TILE, { "mixture by columns": () => byColumns(context.address) });

const [a, b, c, base] = values as [Float32Array, Float32Array, Float32Array, Float32Array];
const tile = { count: TILE, base, inputs: [a, b, c], extra: {}, out: new Float32Array(TILE), counters: {} };
bench("entries", TILE, { "mixture, TypeScript": () => weightedSum.combine(tile, args) });
