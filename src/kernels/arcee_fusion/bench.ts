import { bench } from "../bench.js";
import { normals } from "../../../test/laws/support/random.js";
import { arceeFusion } from "../../methods/arcee_fusion.js";
import { createMemory, loadKernels } from "../load.js";

const ENTRIES = 16_384;
const [BASE, MODEL, STATE] = [65_536, 131_072, 196_608];
const memory = createMemory(262_144, true);
const kernels = loadKernels(memory);
new Float32Array(memory.buffer, BASE, ENTRIES).set(normals(ENTRIES, 1, 0.05));
new Float32Array(memory.buffer, MODEL, ENTRIES).set(normals(ENTRIES, 2, 0.05));
const measure = arceeFusion.rows!({ scalars: { epsilon: 0 }, columns: {} });
type Step = (base: number, model: number, at: number, count: number, state: number) => number;
const steps = measure.steps.map((_, step) => kernels.exports[`${measure.kernel}_${step}`] as Step);

bench("entries", ENTRIES, {
  divergence: () => {
    new Float64Array(memory.buffer, STATE, measure.state.length).set(measure.state);
    for (const step of steps) step(BASE, MODEL, 0, ENTRIES, STATE);
  },
});
