/**
 * Times what statistics cost: collecting the exact Fisher, K-FAC and importances of one of the zoo's networks, steps of AdaMerging over its
 * eight tasks, and the solves of RegMean and MaTS for layers of a model of 1.1 B parameters.
 *
 *   npm run bench:collect                        256 examples; 20 steps; layers of 2,048 inputs
 *   npm run bench:collect -- --examples 32       the time of a gradient hardly depends on how many there are
 *   npm run bench:collect -- --full              300 steps, and the layer of 5,632 inputs, which takes minutes
 *   npm run bench:collect -- --torch PYTHON      adds PyTorch with as many threads (peers/setup.sh installs one)
 *
 * A merge solves as many tensors at once as it has threads, each on one: solves are timed alone, and as many at once.
 * PyTorch has all threads for each. Figures hold on an idle machine only.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { collectStatistics } from "../src/collect/collect.js";
import { sumName } from "../src/collected/statistics.js";
import { parseTasks } from "../src/evaluate/read_tasks.js";
import { collectCoefficients } from "../src/node.js";
import { createAlgebraCrew } from "../src/platform/node/algebra_crew.js";
import { collectPlatform } from "../src/platform/node/statistics.js";
import { MODELS, solves, solveTask, STEPS } from "./solves.js";
import type { Solve, Span } from "./solves.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    examples: { type: "string", default: "256" },
    threads: { type: "string", default: String(os.availableParallelism()) },
    steps: { type: "string" },
    full: { type: "boolean", default: false },
    torch: { type: "string" },
    json: { type: "string", default: "out/bench-collect.json" },
  },
});
const examples = Number(options.examples);
const threads = Number(options.threads);
const steps = Number(options.steps ?? (options.full ? 300 : 20));
const LAYER = "vit.encoder.layer.1.output.dense";
const CLASSES = 10;

interface Timed {
  readonly seconds: number;
  readonly sum: number;
}

async function timed(work: () => Promise<number>): Promise<Timed> {
  const started = performance.now();
  const sum = await work();
  return { seconds: (performance.now() - started) / 1000, sum };
}

/** What is collected, and how many gradients that takes; `null`: none, but a loss for each part of the network. */
const COLLECTED = {
  fisher: { kind: "fisher", dialect: null, gradients: examples * CLASSES },
  kfac: { kind: "kfac", dialect: null, gradients: examples },
  "importance gradient": { kind: "importance", dialect: "gradient", gradients: examples },
  "importance restore": { kind: "importance", dialect: "restore", gradients: null },
} as const;

async function collecting(what: keyof typeof COLLECTED): Promise<{ readonly sum: number; readonly parts: number }> {
  const { kind, dialect } = COLLECTED[what];
  const data = path.join(root, "zoo/vision/mnist/data.safetensors");
  const [task] = parseTasks(
    JSON.stringify({ tasks: [{ name: "mnist", type: "image-classification", data }] }),
    "bench",
  );
  const request = {
    kind,
    model: path.join(root, "zoo/vision/mnist"),
    ...(kind === "importance" && { base: path.join(root, "zoo/vision/base") }),
    task: task!,
    split: "train",
    first: 0,
    examples,
  } as const;
  const { sums } = await collectStatistics({ ...request, dialect, seed: 0, batch: 4 }, collectPlatform, {
    threads,
  });
  const parts = sums.all.size;
  if (kind !== "kfac") {
    const found = sums.all.get(`${LAYER}.weight`) ?? sums.all.get(LAYER.split(".").slice(0, 4).join("."));
    return { sum: found!.data.reduce((a, b) => a + b, 0), parts };
  }
  const { data: gram, shape } = sums.all.get(sumName(LAYER, "output"))!;
  const diagonal = Array.from({ length: shape[0]! }, (_, index) => gram[index * (shape[0]! + 1)]!);
  return { sum: diagonal.reduce((a, b) => a + b, 0), parts };
}

/** As many of one kind at once as there are threads, as a merge solves tensors. @returns seconds for all of them. */
async function solved(solve: Solve, count: number): Promise<number> {
  const crew = createAlgebraCrew(count);
  const spans: Span[] = [];
  await crew.map(solveTask, count, { input: () => solve, done: (_, span) => void spans.push(span) });
  await crew.close();
  const began = Math.min(...spans.map((span) => span.began));
  return (Math.max(...spans.map((span) => span.ended)) - began) / 1000;
}

const NAMES = ["mnist", "fashion", "latin", "greek", "cyrillic", "hebrew", "georgian", "hiragana"];

/** Layer-wise AdaMerging of the eight vision tasks on test images, as the reference's. */
async function adamerging(steps: number): Promise<readonly number[]> {
  const model = (name: string) => path.join(root, "zoo/vision", name);
  const tasks = NAMES.map((name) => {
    return { name, type: "image-classification", data: `${model(name)}/data.safetensors`, head: model(name) };
  });
  const recipe = { method: "adamerging", base: model("base"), models: NAMES.map(model), exclude: ["classifier.*"] };
  const { history } = await collectCoefficients(recipe, { tasks: { tasks }, steps, split: "test", threads });
  return history.losses.map((losses) => losses.reduce((sum, loss) => sum + loss, 0));
}

function run(python: string, script: string, ...args: readonly string[]): unknown {
  const words = [path.join(root, "peers", script), path.join(root, "zoo"), String(threads), ...args];
  const { status, stdout, stderr } = spawnSync(python, words, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

function torch(python: string): Record<string, Timed> {
  const wanted = Object.fromEntries(
    [...solves(options.full)].map(([name, { method, inputs, outputs }]) => {
      return [name, [method, inputs, outputs, MODELS, ...(method === "mats" ? [STEPS] : [])]];
    }),
  );
  return run(python, "collect_speed.py", String(examples), JSON.stringify(wanted)) as Record<string, Timed>;
}

function line(name: string, seconds: number, more: string, peer: Timed | undefined): void {
  const beside =
    peer === undefined ? "" : `   PyTorch ${peer.seconds.toFixed(2)} s, ${(seconds / peer.seconds).toFixed(2)} times`;
  process.stdout.write(`  ${name.padEnd(42)} ${seconds.toFixed(2).padStart(8)} s  ${more}${beside}\n`);
}

const processor = os.cpus()[0]?.model ?? "unknown";
process.stdout.write(
  `${processor}, Node ${process.versions.node}, ${threads} threads, ${examples} examples of mnist\n`,
);
const theirs = options.torch === undefined ? undefined : torch(options.torch);
const results: Record<string, unknown> = { processor, node: process.versions.node, threads, examples };
for (const [kind, { gradients }] of Object.entries(COLLECTED) as [
  keyof typeof COLLECTED,
  { gradients: number | null },
][]) {
  let parts = 0;
  const ours = await timed(async () => {
    const found = await collecting(kind);
    parts = found.parts;
    return found.sum;
  });
  const peer = theirs?.[kind];
  const each = (1000 * ours.seconds) / (gradients ?? (parts + 1) * examples);
  line(`collect ${kind}`, ours.seconds, `${each.toFixed(2)} ms a ${gradients === null ? "loss" : "gradient"}`, peer);
  if (peer !== undefined && Math.abs(peer.sum / ours.sum - 1) > 1e-3) {
    throw new Error(`${kind}: the sum of ${LAYER} is ${ours.sum}, PyTorch's ${peer.sum}`);
  }
  results[kind] = { ours, ...(peer && { torch: peer }) };
}
{
  // Reading the models is not a step; PyTorch's script leaves it out, too.
  const opening = await timed(() => adamerging(0).then(() => 0));
  let losses: readonly number[] = [];
  const whole = await timed(async () => {
    losses = await adamerging(steps);
    return losses.at(-1)!;
  });
  const seconds = whole.seconds - opening.seconds;
  type Steps = { readonly cpu: number; readonly wall: number; readonly losses: readonly number[] };
  const theirSteps =
    options.torch === undefined ? undefined : (run(options.torch, "adamerging_speed.py", String(steps)) as Steps);
  const peer = theirSteps && { seconds: theirSteps.wall * steps, sum: theirSteps.losses[steps - 1]! };
  const each = `${((1000 * seconds) / steps).toFixed(0)} ms a step, 300 in ${((300 * seconds) / steps / 60).toFixed(1)} minutes`;
  line(`AdaMerging, 8 tasks, ${steps} steps`, seconds, each, peer);
  if (peer !== undefined && Math.abs(peer.sum / losses.at(-1)! - 1) > 1e-3) {
    throw new Error(`AdaMerging: the last loss is ${losses.at(-1)}, PyTorch's ${peer.sum}`);
  }
  results["adamerging"] = { steps, seconds, ...(peer && { torch: peer.seconds }) };
}
for (const [name, solve] of solves(options.full)) {
  const peer = theirs?.[name];
  for (const count of new Set([1, threads])) {
    const seconds = await solved(solve, count);
    const speed = ((count * solve.operations) / seconds / 1e9).toFixed(1);
    const what = count === 1 ? name : `${name}, ${count} at once`;
    // PyTorch has all threads for one; ours have them for several.
    const one = peer && { ...peer, seconds: peer.seconds * count };
    line(what, seconds, `${speed} GFLOP/s on ${count === 1 ? "one thread" : `${count} threads`}`, one);
    results[what] = { seconds, operations: count * solve.operations, ...(one && { torch: one.seconds }) };
  }
}
const target = path.resolve(root, options.json);
mkdirSync(path.dirname(target), { recursive: true });
writeFileSync(target, `${JSON.stringify(results, null, 2)}\n`);
