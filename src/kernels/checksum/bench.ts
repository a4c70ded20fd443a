import { xxh64 } from "../../numbers/checksum.js";
import { bench } from "../bench.js";
import { createMemory, loadKernels } from "../load.js";
import { checksumKernel } from "./binding.js";

const BLOCK = 524_288;
const memory = createMemory(2 << 20, true);
const checksum = checksumKernel(loadKernels(memory));
const bytes = new Uint8Array(memory.buffer, 1 << 20, BLOCK);
for (let i = 0; i < BLOCK; i++) bytes[i] = Math.imul(i, 0x9e3779b1) >>> 24;

bench("bytes", BLOCK, {
  xxh64: () => checksum(1 << 20, BLOCK),
  "xxh64, TypeScript": () => xxh64(bytes),
});
