/**
 * Times the runtime: products of matrices, and passes of the zoo's networks, in one process, medians over the rounds.
 *
 *   npm run bench:runtime                          one thread, and as many as there are processors
 *   npm run bench:runtime -- --rounds 9 --threads 2
 *   npm run bench:runtime -- --turns 5             back ends and PyTorch take so many turns, medians over them: what else
 *                                                  the machine does falls on all of them
 *   npm run bench:runtime -- --torch PYTHON        adds PyTorch with as many threads: a Python that has torch and
 *                                                  transformers (peers/setup.sh installs one)
 *   npm run bench:runtime -- --onnx                adds the back end onnx: onnxruntime-node must be installed
 *   npm run bench:runtime -- --only "4 x 512"      the networks whose names have this in them, and no products
 *
 * Logits are written into one piece of memory again and again, as allocators of PyTorch's kind re-use what was freed.
 * Ratios to PyTorch depend on the processor, whose name is printed; figures hold on an idle machine only.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openModel } from "../src/node.js";
import { openNetwork } from "../src/platform/node/network.js";
import { createMemory, PAGE_BYTES } from "../src/kernels/load.js";
import { SCRATCH_BYTES } from "../src/runtime/kernels/definitions.js";
import { loadRuntime } from "../src/runtime/kernels/load.js";
import type { BackendName, Batch, Loss, Network } from "../src/runtime/network.js";
import { weightsOf } from "../src/runtime/weights.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    turns: { type: "string", default: "3" },
    threads: { type: "string" },
    torch: { type: "string" },
    onnx: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    json: { type: "string", default: "out/bench-runtime.json" },
  },
});
const rounds = Number(options.rounds);
const turns = Number(options.turns);
const counts = options.threads === undefined ? [1, os.availableParallelism()] : [Number(options.threads)];

const median = (times: readonly number[]) => [...times].sort((a, b) => a - b)[times.length >> 1]!;

async function milliseconds(work: () => unknown): Promise<number> {
  await work();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return median(times);
}

/** Rows, columns, depth, and what they are of. */
const PRODUCTS = [
  [512, 512, 512, "512 cubed"],
  [1024, 1024, 1024, "1024 cubed"],
  [1600, 512, 128, "a ViT's intermediate layer, 32 images"],
  [1600, 128, 512, "a ViT's output layer, 32 images"],
  [50, 50, 32, "scores of an attention head"],
] as const;

async function products(): Promise<Record<string, number>> {
  const memory = createMemory(PAGE_BYTES + SCRATCH_BYTES + 3 * 4 * 1024 * 1024, false);
  const { gemm } = loadRuntime(memory, PAGE_BYTES);
  const a = PAGE_BYTES + SCRATCH_BYTES;
  const [b, c] = [a + 4 * 1024 * 1024, a + 8 * 1024 * 1024];
  new Float32Array(memory.buffer, a, 2 * 1024 * 1024).fill(0.5);
  const found: Record<string, number> = {};
  for (const [m, n, k, name] of PRODUCTS) {
    const again = Math.max(1, Math.round(5e8 / (2 * m * n * k)));
    for (const [transposed, ta, tb] of [
      ["", 0, 1],
      [", transposed", 1, 0],
    ] as const) {
      const time = await milliseconds(() => {
        for (let index = 0; index < again; index++) {
          gemm(m, n, k, a, ta === 1 ? m : k, ta, b, tb === 1 ? k : n, tb, c, n, 1, 0, 0);
        }
      });
      found[`${name}${transposed}`] = (2 * m * n * k * again) / time / 1e6;
    }
  }
  return found;
}

interface Workload {
  readonly name: string;
  readonly model: string;
  readonly batch: Batch;
  readonly goal: Loss;
}

function images(count: number): Workload {
  const pixels = Float32Array.from({ length: count * 784 }, (_, index) => Math.sin(index));
  const targets = Int32Array.from({ length: count }, (_, index) => index % 27);
  const batch = { kind: "images", count, channels: 1, height: 28, width: 28, pixels } as const;
  return { name: `ViT, ${count} images`, model: "vision/hebrew", batch, goal: { kind: "cross-entropy", targets } };
}

function texts(count: number, length: number): Workload {
  const ids = Int32Array.from({ length: count * length }, (_, index) => (index * 977) % 4096);
  const targets = ids.map((_, row) => (row % length === length - 1 ? -1 : ids[row + 1]!));
  const batch = { kind: "text", count, length, ids, lengths: new Int32Array(count).fill(length) } as const;
  return {
    name: `Llama, ${count} x ${length} tokens`,
    model: "language/base",
    batch,
    goal: { kind: "cross-entropy", targets },
  };
}

const WORKLOADS = [images(32), images(100), texts(1, 512), texts(4, 512)].filter(({ name }) =>
  name.includes(options.only),
);

async function passes(threads: number, backend: BackendName): Promise<Record<string, Times>> {
  const found: Record<string, Times> = {};
  for (const { name, model, batch, goal } of WORKLOADS) {
    const checkpoint = await openModel(path.join(root, "zoo", model));
    const network: Network = await openNetwork(weightsOf(checkpoint), { threads, backend });
    await checkpoint.close();
    const { values } = await network.logits(batch);
    found[name] = {
      forward: await milliseconds(() => network.logits(batch, values)),
      both: await milliseconds(() => network.gradients(batch, goal)),
    };
    await network.close();
  }
  return found;
}

function torch(python: string, threads: number): Record<string, Times> {
  const script = path.join(root, "peers/runtime_speed.py");
  const args = [script, path.join(root, "zoo"), String(threads), String(rounds), options.only];
  const { status, stdout, stderr } = spawnSync(python, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, Times>;
}

interface Times {
  readonly forward: number;
  readonly both: number;
}

/** Each workload's medians over the turns. */
function overTurns(found: readonly Record<string, Times>[]): Record<string, Times> {
  const over = (name: string, goal: keyof Times) => median(found.map((turn) => turn[name]![goal]));
  const names = Object.keys(found[0]!);
  return Object.fromEntries(names.map((name) => [name, { forward: over(name, "forward"), both: over(name, "both") }]));
}

/** Milliseconds, and how many times PyTorch's they are. */
function beside({ forward, both }: Times, peer: Times | undefined): string {
  const times = `${forward.toFixed(1).padStart(7)} ${both.toFixed(1).padStart(8)}`;
  if (peer === undefined) return times;
  return `${times}   ${(forward / peer.forward).toFixed(2)} and ${(both / peer.both).toFixed(2)} times PyTorch's`;
}

const processor = os.cpus()[0]?.model ?? "unknown";
process.stdout.write(`${processor}, Node ${process.versions.node}, medians of ${rounds}, over ${turns} turns\n`);
const rates = options.only === "" ? await products() : {};
if (options.only === "") process.stdout.write("\nGFLOP/s, one thread\n");
for (const [name, rate] of Object.entries(rates)) process.stdout.write(`  ${rate.toFixed(1).padStart(6)}  ${name}\n`);
const results: Record<string, unknown> = { processor, node: process.versions.node, rounds, turns, gflops: rates };
for (const threads of counts) {
  const own: Record<string, Times>[] = [];
  const peers: { onnx: Record<string, Times>[]; torch: Record<string, Times>[] } = { onnx: [], torch: [] };
  for (let turn = 0; turn < turns; turn++) {
    own.push(await passes(threads, "own"));
    if (options.onnx) peers.onnx.push(await passes(threads, "onnx"));
    if (options.torch !== undefined) peers.torch.push(torch(options.torch, threads));
  }
  const ours = overTurns(own);
  const onnx = options.onnx ? overTurns(peers.onnx) : undefined;
  const theirs = options.torch === undefined ? undefined : overTurns(peers.torch);
  process.stdout.write(
    `\nmilliseconds, ${threads} thread${threads === 1 ? "" : "s"} (forward, forward and backward)\n`,
  );
  for (const [name, times] of Object.entries(ours)) {
    const peer = theirs?.[name];
    process.stdout.write(`  ${name}\n    own      ${beside(times, peer)}\n`);
    if (onnx !== undefined) process.stdout.write(`    onnx     ${beside(onnx[name]!, peer)}\n`);
    if (peer !== undefined) process.stdout.write(`    PyTorch  ${beside(peer, undefined)}\n`);
  }
  results[`threads ${threads}`] = { ours, ...(onnx && { onnx }), ...(theirs && { torch: theirs }) };
}
const target = path.resolve(root, options.json);
mkdirSync(path.dirname(target), { recursive: true });
writeFileSync(target, `${JSON.stringify(results, null, 2)}\n`);
