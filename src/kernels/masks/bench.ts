import { narrow } from "../../numbers/convert.js";
import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import { bench, TILE } from "../bench.js";
import { KernelContext } from "../context.js";
import { createMemory, loadKernels } from "../load.js";
import { MaskMaker } from "./binding.js";

const MODELS = 3;
const memory = createMemory(16 << 20, true);
const kernels = loadKernels(memory);
const context = new KernelContext(memory, 65_536, MODELS);
const streams = Array.from({ length: MODELS + 2 }, (_, index) => (1 << 20) + index * (TILE * 4 + 960));

for (const dtype of ["BF16", "F16", "F32"] as const) {
  for (const [index, address] of streams.entries()) {
    const values = Float32Array.from({ length: TILE }, (_, p) => Math.sin(p * (index + 1)) / 50);
    narrow(dtype, values, new Uint8Array(memory.buffer, address, TILE * DTYPE_BYTES[dtype]));
  }
  const [shared, subtract, ...inputs] = streams as [number, number, ...number[]];
  const tile = { format: dtype, count: TILE, padded: TILE, subtract, inputs, sharedFormat: dtype, shared };
  for (const kernel of ["agree", "within"]) {
    const run = () => {
      const maker = new MaskMaker(kernels, context, 131_072, {
        models: MODELS,
        entries: TILE,
        column: [0.4, 0.4, 0.4],
      });
      maker.add(kernel, tile);
    };
    bench("columns", TILE, { [`${kernel} ${dtype}, ${MODELS} models`]: run });
  }
}
