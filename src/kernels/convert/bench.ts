import { narrow, widen } from "../../numbers/convert.js";
import { bench, TILE } from "../bench.js";
import { createMemory, loadKernels } from "../load.js";
import { convertKernels } from "./binding.js";

const memory = createMemory(4 << 20, true);
const kernels = convertKernels(loadKernels(memory));
const [SMALL, WIDE, OTHER] = [1 << 16, 1 << 20, 2 << 20];
const values = new Float32Array(memory.buffer, WIDE, TILE);
for (let i = 0; i < TILE; i++) values[i] = Math.sin(i) / 50;
const small = (bytes: number): Uint8Array => new Uint8Array(memory.buffer, SMALL, bytes * TILE);

bench("entries", TILE, {
  "narrow BF16": () => kernels.narrow("BF16")(WIDE, SMALL, TILE),
  "narrow F16": () => kernels.narrow("F16")(WIDE, SMALL, TILE),
  "narrow F32": () => kernels.narrow("F32")(WIDE, OTHER, TILE),
  "narrow BF16, TypeScript": () => narrow("BF16", values, small(2)),
  "narrow F16, TypeScript": () => narrow("F16", values, small(2)),
  "narrow F8_E4M3, TypeScript": () => narrow("F8_E4M3", values, small(1)),
});
kernels.narrow("BF16")(WIDE, SMALL, TILE);
bench("entries", TILE, {
  "widen BF16": () => kernels.widen("BF16")(SMALL, OTHER, TILE),
  "widen BF16, TypeScript": () => widen("BF16", small(2), values),
});
values.forEach((_, i) => (values[i] = Math.sin(i) / 50));
kernels.narrow("F16")(WIDE, SMALL, TILE);
bench("entries", TILE, {
  "widen F16": () => kernels.widen("F16")(SMALL, OTHER, TILE),
  "widen F32": () => kernels.widen("F32")(WIDE, OTHER, TILE),
  "widen F16, TypeScript": () => widen("F16", small(2), values),
  "widen F8_E4M3, TypeScript": () => widen("F8_E4M3", small(1), values),
  change: () => kernels.change(WIDE, OTHER, OTHER, TILE),
});
