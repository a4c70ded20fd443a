import { narrow } from "../../numbers/convert.js";
import { bench, TILE } from "../bench.js";
import { KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { ColumnGramSum, GramSum } from "./binding.js";

const memory = createMemory(16 << 20, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, 65_536, 8);
const results = 65_536 + 4096;
const streams = Array.from({ length: 9 }, (_, index) => (8 << 20) + index * (TILE * 4 + 960));
const width = 2048;

for (const dtype of ["BF16", "F16", "F32"] as const) {
  for (const [index, address] of streams.entries()) {
    const values = Float32Array.from({ length: TILE }, (_, p) => Math.sin(p * (index + 1)) / 50);
    narrow(dtype, values, new Uint8Array(memory.buffer, address, TILE * (dtype === "F32" ? 4 : 2)));
  }
  for (const vectors of [2, 3, 8]) {
    const sum = new GramSum(kernels, context, results, vectors);
    const tile = { format: dtype, count: TILE, subtract: streams[8]!, inputs: streams.slice(0, vectors) };
    bench("entries", TILE, { [`gram ${dtype}, ${vectors} vectors`]: () => sum.add(tile) });
    if (dtype !== "F32") continue;
    const columns = new ColumnGramSum(kernels, context, results, vectors, width);
    const inputs = streams.slice(0, vectors);
    bench("entries", width, { [`gram by columns, ${vectors} vectors`]: () => columns.add(0, width, inputs) });
  }
}
