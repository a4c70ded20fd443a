import { narrow, widen } from "../../numbers/convert.js";
import { streamKey } from "../../numbers/random.js";
import { bench } from "../bench.js";
import { createMemory, loadKernels } from "../load.js";
import { chanceBytesKernel } from "../random/binding.js";
import { pruneKernels, rankScratchBytes } from "./binding.js";
import { rankLine, rowRanks } from "./definition.js";

const ROW = 768;
const ROWS = 21;
const COUNT = ROW * ROWS;
const CHANGES = 65_536;
const RANKS = 2 * CHANGES + 960;
const BYTES = 3 * CHANGES + 1920;
const SCRATCH = 5 * CHANGES;

const memory = createMemory(SCRATCH + rankScratchBytes(COUNT), true);
const kernels = loadKernels(memory);
const prune = pruneKernels(kernels);
const { rowRanks: rank, rankThresholds, keepRanked, dropRanked, l1, band, noteKept, noteChosen, applyKept } = prune;
const keptChange = prune.keptChange("BF16");
const chanceBytes = chanceBytesKernel(kernels);
const key = streamKey(42, "model", "tensor");
const line = rankLine(0.35, 0.65, ROW);

/** Sums of twelve uniforms: near enough to normal. */
const normal = () => Array.from({ length: 12 }, Math.random).reduce((sum, x) => sum + x, -6);
const base = Float32Array.from({ length: COUNT }, () => 0.02 * normal());
const tuned = base.map((x) => x + 0.0006 * normal());
const exact = tuned.map((x, p) => x - base[p]!);
for (const values of [base, tuned]) {
  const stored = new Uint8Array(2 * COUNT);
  narrow("BF16", values, stored);
  widen("BF16", stored, values);
}
const coarse = tuned.map((x, p) => x - base[p]!);
const changes = new Float32Array(memory.buffer, CHANGES, COUNT);
const each = (run: (offset: number) => void) => () => {
  for (let row = 0; row < ROWS; row++) run(4 * row * ROW);
};

for (const [name, values] of Object.entries({ BF16: coarse, F32: exact })) {
  changes.set(values);
  bench("entries", COUNT, {
    [`row_ranks, ${name}`]: each((offset) => rank(CHANGES + offset, ROW, RANKS + offset, SCRATCH)),
    [`rank, TypeScript, ${name}`]: () => rowRanks(values.subarray(0, COUNT)),
  });
}
changes.set(coarse);
rankThresholds(RANKS, ROW, line);
bench("entries", COUNT, {
  keep_ranked: () => {
    const drawn = { bytes: BYTES, key, firstEntry: 0 };
    chanceBytes(BYTES, COUNT, 0, key);
    keepRanked(CHANGES, drawn, BYTES + COUNT, { row: ROW, rows: ROWS }, RANKS, SCRATCH);
  },
});
const drop = (inverse: boolean) =>
  each((offset) => {
    const drawn = { bytes: BYTES + offset / 4, key, firstEntry: offset / 4 };
    dropRanked(CHANGES + offset, drawn, RANKS + offset, ROW, line, inverse, 1);
  });
const bits = new Uint32Array(changes.buffer, CHANGES, 2);
bench("entries", COUNT, {
  chance_bytes: () => chanceBytes(BYTES, COUNT, 0, key),
  drop_ranked: drop(false),
  "drop_ranked, inverse": drop(true),
  note_kept: () => noteKept(CHANGES, COUNT, 0, SCRATCH),
  note_chosen: () => noteChosen(CHANGES, BYTES, COUNT, 0, SCRATCH, SCRATCH + 4096),
  kept_change: () => keptChange(BYTES, CHANGES, RANKS, COUNT, 0, SCRATCH, 2),
  apply_kept: () => applyKept(CHANGES, COUNT, 0, SCRATCH, 2),
  l1: () => l1(CHANGES, COUNT, 0, SCRATCH),
  band: () => band(CHANGES, COUNT, { low: bits[0]!, high: bits[1]! }, 1, SCRATCH),
});
