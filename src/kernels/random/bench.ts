import { dropChanges, dropThreshold, streamKey } from "../../numbers/random.js";
import { bench, TILE } from "../bench.js";
import { createMemory, loadKernels } from "../load.js";
import { chanceBytesKernel, chanceKeptKernel, dropKernel } from "./binding.js";

const memory = createMemory(1 << 20, true);
const kernels = loadKernels(memory);
const drop = dropKernel(kernels);
const chanceBytes = chanceBytesKernel(kernels);
const chanceKept = chanceKeptKernel(kernels);
const changes = new Float32Array(memory.buffer, 65_536, TILE);
const key = streamKey(42, "model", "tensor");

bench("entries", TILE, {
  drop: () => drop(65_536, TILE, 0, key, 0.9, 10),
  chance_bytes: () => chanceBytes(65_536, TILE, 0, key),
  chance_kept: () => chanceKept(65_536, TILE, 0, key, dropThreshold(0.9)),
  "drop, TypeScript": () => dropChanges(changes, 0, key, 0.9, 10),
});
