import { narrow } from "../../numbers/convert.js";
import { bench, TILE } from "../bench.js";
import { contextBytes, KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { RelationsSum } from "./binding.js";

const memory = createMemory(16 << 20, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, 65_536, 8);
const results = 65_536 + 2 * contextBytes(8);
const streams = Array.from({ length: 9 }, (_, index) => (1 << 20) + index * (TILE * 4 + 960));

for (const dtype of ["F16", "F32"] as const) {
  for (const [index, address] of streams.entries()) {
    const values = Float32Array.from({ length: TILE }, (_, p) => Math.sin(p * (index + 1)) / 50);
    narrow(dtype, values, new Uint8Array(memory.buffer, address, TILE * (dtype === "F16" ? 2 : 4)));
  }
  for (const models of [2, 3, 8]) {
    const sum = new RelationsSum(
      kernels,
      context,
      results,
      Array.from({ length: models }, () => 0.015),
    );
    const tile = { format: dtype, count: TILE, padded: TILE, subtract: streams[8]!, inputs: streams.slice(0, models) };
    bench("columns", TILE, { [`relations ${dtype}, ${models} models`]: () => sum.add(tile) });
  }
}
