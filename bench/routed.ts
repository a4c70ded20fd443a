/**
 * Times SMILE on the vision zoo: building its eight experts, and a pass of 600 images beside the base's own.
 *
 *   npm run bench:routed
 *   npm run bench:routed -- --rounds 9 --threads 2
 *
 * Figures hold on an idle machine only; the ratio of processor time holds on a busy one, too.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { inspectArtifact, merge, openModel, openNetwork, openRouted, weightsOf } from "../src/node.js";
import type { Batch } from "../src/node.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: String(os.availableParallelism()) },
    json: { type: "string", default: "out/bench-routed.json" },
  },
});
const rounds = Number(options.rounds);
const threads = Number(options.threads);
const TASKS = ["mnist", "fashion", "latin", "greek", "cyrillic", "hebrew", "georgian", "hiragana"];
const IMAGES = 600;
/** As many as an evaluation hands over at once. */
const BATCH = 100;
const vision = (name: string) => path.join(root, "zoo/vision", name);

interface Times {
  readonly seconds: number;
  /** Of all threads together. */
  readonly processor: number;
}

async function timed(work: () => Promise<unknown>): Promise<Times> {
  const [started, before] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return { seconds: (performance.now() - started) / 1000, processor: (user + system) / 1e6 };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

async function medians(work: () => Promise<unknown>): Promise<Times> {
  await work();
  const times: Times[] = [];
  for (let round = 0; round < rounds; round++) times.push(await timed(work));
  return { seconds: median(times.map((one) => one.seconds)), processor: median(times.map((one) => one.processor)) };
}

/** Batches of the first test images of mnist. */
async function images(): Promise<Batch[]> {
  const file = await openModel(vision("mnist/data.safetensors"));
  const stored = file.tensors.get("test.images")!;
  const bytes = new Uint8Array(IMAGES * 784);
  await file.shards[stored.shard]!.source.read(stored.offset, bytes);
  await file.close();
  const pixels = Float32Array.from(bytes, (value) => (value / 255 - 0.5) / 0.5);
  return Array.from({ length: IMAGES / BATCH }, (_, at): Batch => {
    const own = pixels.subarray(at * BATCH * 784, (at + 1) * BATCH * 784);
    return { kind: "images", count: BATCH, channels: 1, height: 28, width: 28, pixels: own };
  });
}

const scratch = mkdtempSync(path.join(os.tmpdir(), "mergewright-bench-"));
try {
  const out = path.join(scratch, "smile");
  const parameters = { gate_rank: 16, rank: 32 };
  const recipe = { method: "smile", base: vision("base"), models: TASKS.map(vision), parameters };
  const rest = { exclude: ["classifier.*"], heads: "separate" } as const;
  const building = await timed(() => merge({ ...recipe, ...rest }, { out, threads }));
  const batches = await images();
  const all = (network: { readonly logits: (batch: Batch) => Promise<unknown> }) => async () => {
    for (const batch of batches) await network.logits(batch);
  };
  const [base, head] = [await openModel(vision("base")), await openModel(vision("mnist"))];
  const plain = await openNetwork(weightsOf(base), { threads, head: weightsOf(head) });
  const routed = await openRouted(out, { task: "mnist", threads });
  const [own, experts] = [await medians(all(plain)), await medians(all(routed))];
  await Promise.all([plain.close(), routed.close(), base.close(), head.close()]);
  const { upscaling } = await inspectArtifact(out);
  const ratios = { seconds: experts.seconds / own.seconds, processor: experts.processor / own.processor };
  const lines = [
    `${os.cpus()[0]?.model ?? "unknown"}, Node ${process.versions.node}, ${threads} threads, medians of ${rounds}`,
    "",
    `SMILE 16/32 of eight models: built in ${building.seconds.toFixed(1)} s (processor ${building.processor.toFixed(1)} s)`,
    `${IMAGES} images: plain ${own.seconds.toFixed(2)} s, routed ${experts.seconds.toFixed(2)} s, ${ratios.seconds.toFixed(2)} times`,
    `  processor time ${own.processor.toFixed(2)} s and ${experts.processor.toFixed(2)} s, ${ratios.processor.toFixed(2)} times`,
    `  multiply-adds of the linear layers, by formula: ${upscaling!.ways[0]!.ratio.toFixed(2)} times`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  const target = path.resolve(root, options.json);
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(
    target,
    `${JSON.stringify({ threads, rounds, building, plain: own, routed: experts, ratios }, null, 2)}\n`,
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
