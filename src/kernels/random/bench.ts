import { dropChanges, streamKey } from "../../numbers/random.js";
import { bench, TILE } from "../bench.js";
import { createMemory, loadKernels } from "../load.js";
import { dropKernel } from "./binding.js";

const memory = createMemory(1 << 20, true);
const drop = dropKernel(loadKernels(memory));
const changes = new Float32Array(memory.buffer, 65_536, TILE);
const key = streamKey(42, "model", "tensor");

bench("entries", TILE, {
  drop: () => drop(65_536, TILE, 0, key, 0.9, 10),
  "drop, TypeScript": () => dropChanges(changes, 0, key, 0.9, 10),
});
