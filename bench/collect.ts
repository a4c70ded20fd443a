/**
 * Times what statistics cost: collecting the exact Fisher and K-FAC of one of the zoo's networks, and the solves of RegMean and
 * MaTS for layers of a model of 1.1 B parameters.
 *
 *   npm run bench:collect                        256 examples; layers of 2,048 inputs
 *   npm run bench:collect -- --examples 32       the time of a gradient hardly depends on how many there are
 *   npm run bench:collect -- --full              also the layer of 5,632 inputs, which takes minutes
 *   npm run bench:collect -- --torch PYTHON      adds PyTorch with as many threads (peers/setup.sh installs one)
 *
 * Solves run on one thread each, as a merge's do: it solves as many tensors at once as it has threads. PyTorch has all
 * threads for each. Figures hold on an idle
 * machine only.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openAlgebra } from "../src/algebra/algebra.js";
import type { Matrix, Matrix64 } from "../src/algebra/algebra.js";
import { collectStatistics } from "../src/collect/collect.js";
import { sumName } from "../src/collected/statistics.js";
import { parseTasks } from "../src/evaluate/read_tasks.js";
import { mats } from "../src/methods/mats.js";
import type { MatrixMethod, MatrixTask, ParameterValue, Settings } from "../src/methods/method.js";
import { regmean } from "../src/methods/regmean.js";
import { collectPlatform } from "../src/platform/node/statistics.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    examples: { type: "string", default: "256" },
    threads: { type: "string", default: String(os.availableParallelism()) },
    full: { type: "boolean", default: false },
    torch: { type: "string" },
    json: { type: "string", default: "out/bench-collect.json" },
  },
});
const examples = Number(options.examples);
const threads = Number(options.threads);
const LAYER = "vit.encoder.layer.1.output.dense";
const CLASSES = 10;
const MODELS = 2;
const STEPS = 10;

interface Timed {
  readonly seconds: number;
  readonly sum: number;
}

async function timed(work: () => Promise<number>): Promise<Timed> {
  const started = performance.now();
  const sum = await work();
  return { seconds: (performance.now() - started) / 1000, sum };
}

async function collecting(kind: "fisher" | "kfac"): Promise<number> {
  const data = path.join(root, "zoo/vision/mnist/data.safetensors");
  const [task] = parseTasks(
    JSON.stringify({ tasks: [{ name: "mnist", type: "image-classification", data }] }),
    "bench",
  );
  const request = {
    kind,
    model: path.join(root, "zoo/vision/mnist"),
    task: task!,
    split: "train",
    first: 0,
    examples,
  } as const;
  const { sums } = await collectStatistics({ ...request, dialect: null, seed: 0, batch: 4 }, collectPlatform, {
    threads,
  });
  if (kind === "fisher") return sums.all.get(`${LAYER}.weight`)!.data.reduce((a, b) => a + b, 0);
  const { data: gram, shape } = sums.all.get(sumName(LAYER, "output"))!;
  return Array.from({ length: shape[0]! }, (_, index) => gram[index * (shape[0]! + 1)]!).reduce((a, b) => a + b, 0);
}

interface Solve {
  readonly method: MatrixMethod;
  readonly inputs: number;
  readonly outputs: number;
  /** Of multiplications and additions. */
  readonly operations: number;
}

function solves(): Map<string, Solve> {
  const shapes = [[2048, 256], [2048, 2048], ...(options.full ? [[5632, 2048]] : [])] as [number, number][];
  return new Map(
    shapes.flatMap(([inputs, outputs]) => {
      const applied = 2 * inputs * outputs * (inputs + outputs) * MODELS;
      const size = `${inputs} inputs, ${outputs} outputs`;
      return [
        [
          `RegMean, ${size}`,
          { method: regmean, inputs, outputs, operations: inputs ** 3 / 3 + 2 * inputs ** 2 * outputs * (MODELS + 1) },
        ],
        [`MaTS, ${size}, ${STEPS} steps`, { method: mats, inputs, outputs, operations: applied * (STEPS + 2) }],
      ] as [string, Solve][];
    }),
  );
}

/** Positive definite without a product of its own: smooth, with ones added to its diagonal. */
function positive(size: number): Matrix64 {
  const data = Float64Array.from({ length: size * size }, (_, at) => {
    const [row, column] = [Math.floor(at / size), at % size];
    return Math.exp(-(((row - column) / 8) ** 2)) + (row === column ? 1 : 0);
  });
  return { rows: size, columns: size, data };
}

async function solved({ method, inputs, outputs }: Solve): Promise<number> {
  const weight: Matrix = {
    ...{ rows: outputs, columns: inputs },
    data: Float32Array.from({ length: inputs * outputs }, (_, index) => Math.sin(index)),
  };
  const sums = { input: positive(inputs), output: positive(outputs) };
  const task: MatrixTask = {
    ...{ name: "bench", shape: [outputs, inputs], models: MODELS, transposed: false },
    base: () => Promise.resolve(weight),
    model: () => Promise.resolve(weight),
    statistic: (_, role) => Promise.resolve({ sum: sums[role as keyof typeof sums], count: 1 }),
  };
  const values: Record<string, ParameterValue> = Object.fromEntries(
    Object.entries(method.parameters).map(([name, { default: value }]) => [name, value]),
  );
  const own = { ...values, iterations: STEPS, tolerance: 0, init: "zero" };
  const settings: Settings = { global: own, models: Array.from({ length: MODELS }, () => own) };
  const algebra = openAlgebra();
  const started = performance.now();
  await method.solve(task, settings, algebra);
  return (performance.now() - started) / 1000;
}

function torch(python: string): Record<string, Timed> {
  const wanted = Object.fromEntries(
    [...solves()].map(([name, { method, inputs, outputs }]) => {
      return [name, [method.name, inputs, outputs, MODELS, ...(method === mats ? [STEPS] : [])]];
    }),
  );
  const args = [path.join(root, "peers/collect_speed.py"), path.join(root, "zoo"), String(threads), String(examples)];
  const { status, stdout, stderr } = spawnSync(python, [...args, JSON.stringify(wanted)], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, Timed>;
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
for (const kind of ["fisher", "kfac"] as const) {
  const ours = await timed(() => collecting(kind));
  const gradients = kind === "fisher" ? examples * CLASSES : examples;
  const peer = theirs?.[kind];
  line(`collect ${kind}`, ours.seconds, `${((1000 * ours.seconds) / gradients).toFixed(2)} ms a gradient`, peer);
  if (peer !== undefined && Math.abs(peer.sum / ours.sum - 1) > 1e-3) {
    throw new Error(`${kind}: the sum of ${LAYER} is ${ours.sum}, PyTorch's ${peer.sum}`);
  }
  results[kind] = { ours, ...(peer && { torch: peer }) };
}
for (const [name, solve] of solves()) {
  const seconds = await solved(solve);
  const peer = theirs?.[name];
  line(name, seconds, `${(solve.operations / seconds / 1e9).toFixed(1)} GFLOP/s on one thread`, peer);
  results[name] = { seconds, operations: solve.operations, ...(peer && { torch: peer.seconds }) };
}
const target = path.resolve(root, options.json);
mkdirSync(path.dirname(target), { recursive: true });
writeFileSync(target, `${JSON.stringify(results, null, 2)}\n`);
