/**
 * Times whole merges as a user runs them, beside raw input and output measured in the same run.
 *
 *   npm run bench                            the 1,100 M family; needs 10 GB in the temporary folder and 3 GB of /dev/shm
 *   npm run bench -- --family small          the 134 M family
 *   npm run bench -- --rounds 5 --only ties  more rounds, some rows
 *   npm run bench -- --mergekit FILE         adds mergekit: the path of its mergekit-yaml (peers/setup.sh installs one)
 *   npm run bench -- --peft PYTHON           adds PEFT's merge_and_unload to the rows of adapters: a Python that has it
 *
 * The floor is `cat` of every input plus `cp` of one model to the place of the output. Inputs are warm in the page cache,
 * outputs go to memory. Figures are medians over the rounds.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { LARGE, makeAdapter, makeFamily, SMALL } from "./family.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    family: { type: "string", default: "large" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    mergekit: { type: "string" },
    peft: { type: "string" },
    json: { type: "string", default: "out/bench.json" },
    threads: { type: "string" },
  },
});

const shape = options.family === "small" ? SMALL : LARGE;
const rounds = Number(options.rounds);
const memory = existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
const out = path.join(memory, "mergewright-bench-out");
const bin = path.join(root, "bin/mergewright.js");

interface Row {
  readonly name: string;
  readonly models: number;
  readonly base: boolean;
  /** One LoRA is folded into the base. */
  readonly adapter?: true;
  /** A native recipe without its checkpoints; without one, the recipe of mergekit is what Mergewright runs too. */
  readonly recipe?: Readonly<Record<string, unknown>>;
  /** A recipe of mergekit without its checkpoints, which it runs if there is one; `each` are parameters of every model. */
  readonly mergekit?: {
    readonly method: string;
    readonly each?: Readonly<Record<string, number>>;
    readonly parameters?: Readonly<Record<string, number | boolean>>;
    /** dtype of the recipe; bfloat16 if absent. */
    readonly dtype?: string;
  };
}

const ROWS: readonly Row[] = [
  {
    name: "average",
    models: 3,
    base: false,
    recipe: { method: "average" },
    mergekit: { method: "linear", each: { weight: 1 } },
  },
  { name: "task_arithmetic", models: 3, base: true, recipe: { method: "task_arithmetic" } },
  { name: "ties, global trim", models: 3, base: true, recipe: { method: "ties" } },
  { name: "ties, trim per tensor", models: 3, base: true, recipe: { method: "ties", parameters: { trim: "tensor" } } },
  {
    name: "ties/mergekit",
    models: 3,
    base: true,
    recipe: { method: "ties/mergekit", parameters: { density: 0.2 } },
    mergekit: { method: "ties", each: { weight: 1, density: 0.2 } },
  },
  { name: "dare + task_arithmetic", models: 3, base: true, recipe: { method: "task_arithmetic", dare: { drop: 0.9 } } },
  { name: "ties, global trim, 8 models", models: 8, base: true, recipe: { method: "ties" } },
  {
    name: "model_stock by rows",
    models: 3,
    base: true,
    recipe: { method: "model_stock", parameters: { filter_wise: true } },
  },
  { name: "pcb", models: 3, base: true, recipe: { method: "pcb" } },
  { name: "emr", models: 3, base: true, recipe: { method: "emr" } },
  { name: "adapter fold, LoRA r=16", models: 0, base: true, adapter: true, recipe: { method: "passthrough" } },
  // Recipes of mergekit, which both run unchanged.
  { name: "mergekit linear", models: 3, base: false, mergekit: { method: "linear", each: { weight: 1 } } },
  { name: "mergekit slerp", models: 1, base: true, mergekit: { method: "slerp", parameters: { t: 0.4 } } },
  { name: "mergekit model_stock", models: 3, base: true, mergekit: { method: "model_stock" } },
  {
    name: "mergekit dare_ties",
    models: 3,
    base: true,
    mergekit: { method: "dare_ties", each: { weight: 1, density: 0.2 } },
  },
  {
    name: "mergekit breadcrumbs",
    models: 3,
    base: true,
    mergekit: { method: "breadcrumbs", each: { weight: 1, density: 0.9, gamma: 0.01 } },
  },
  {
    name: "mergekit della",
    models: 3,
    base: true,
    mergekit: { method: "della", each: { weight: 1, density: 0.5, epsilon: 0.1 } },
  },
  { name: "mergekit sce", models: 3, base: true, mergekit: { method: "sce", parameters: { select_topk: 0.2 } } },
  { name: "mergekit ties", models: 3, base: true, mergekit: { method: "ties", each: { weight: 1, density: 0.2 } } },
];

interface Result {
  readonly name: string;
  readonly seconds: number;
  readonly floorSeconds: number;
  readonly timesFloor: number;
  readonly peakMegabytes: number;
  /** mergekit, or PEFT for the rows of adapters. */
  readonly peer?: { readonly seconds: number; readonly peakMegabytes: number; readonly timesFaster: number };
}

const family = makeFamily(shape, 3);
const adapter = makeAdapter(shape);
const scratch = path.join(root, "out/bench");
mkdirSync(scratch, { recursive: true });

/** More models than the family has are the same folders again. */
function modelsOf(count: number): string[] {
  return Array.from({ length: count }, (_, index) => family[1 + (index % 3)]!);
}

function weightFiles(folders: Iterable<string>): string[] {
  return [...folders].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".safetensors"))
      .map((name) => path.join(folder, name)),
  );
}

const modelBytes = weightFiles([family[0]!]).reduce((sum, file) => sum + statSync(file).size, 0);

/**
 * Holds as much memory as a run will write and frees it in the moment the run writes its first bytes. Virtual machines
 * give memory that has been free for a while back to their host, and get it again at a tenth of its speed; a merge that
 * reads first and writes later would be charged for that, a copy would not.
 */
const POOL = `
const fs = require("node:fs"), path = require("node:path");
const [pool, bytes, ...folders] = process.argv.slice(1);
const chunk = Buffer.alloc(1 << 20, 1);
const file = fs.openSync(pool, "w");
for (let at = 0; at < Number(bytes); at += chunk.length) fs.writeSync(file, chunk);
const written = (folder) => {
  try { return fs.readdirSync(folder).some((name) => fs.statSync(path.join(folder, name)).blocks > 1024); } catch { return false; }
};
process.stdout.write("ready");
const timer = setInterval(() => {
  if (!folders.some(written)) return;
  fs.closeSync(file);
  fs.unlinkSync(pool);
  clearInterval(timer);
}, 2);
`;

async function withPool<T>(work: () => T): Promise<T> {
  const pool = path.join(memory, "mergewright-bench-pool");
  const folders = [out, path.join(memory, `.${path.basename(out)}.mergewright-partial`)];
  const keeper = spawn(process.execPath, ["-e", POOL, pool, String(modelBytes), ...folders], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => keeper.stdout.once("data", resolve));
  try {
    return work();
  } finally {
    keeper.kill();
    rmSync(pool, { force: true });
  }
}

function run(command: string, args: readonly string[]): { seconds: number; stdout: string } {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  const seconds = (performance.now() - started) / 1000;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed\n${stderr}`);
  return { seconds, stdout };
}

/** Runs a command that writes one model to `out`. */
function runWriting(command: string, args: readonly string[]): Promise<{ seconds: number; stdout: string }> {
  rmSync(out, { recursive: true, force: true });
  return withPool(() => run(command, args));
}

/** Reading every input of a row once and writing one model once. */
async function floor({ models, base, adapter: isAdapter }: Row): Promise<number> {
  const inputs = new Set(modelsOf(models));
  if (base) inputs.add(family[0]!);
  if (isAdapter) inputs.add(adapter);
  const read = run("sh", ["-c", 'cat "$@" > /dev/null', "cat", ...weightFiles(inputs)]);
  const write = await runWriting("sh", [
    "-c",
    `mkdir -p '${out}' && cp "$@" '${out}'`,
    "cp",
    ...weightFiles([family[0]!]),
  ]);
  return read.seconds + write.seconds;
}

async function ours(row: Row): Promise<{ seconds: number; peakMegabytes: number }> {
  const recipe = path.join(scratch, "recipe.yaml");
  const native = row.adapter
    ? { ...row.recipe, models: [`${family[0]}+${adapter}`] }
    : {
        ...row.recipe,
        ...(row.base && { base: family[0] }),
        models: modelsOf(row.models),
        allow_duplicates: true,
      };
  writeFileSync(recipe, JSON.stringify(row.recipe === undefined ? mergekitRecipe(row) : native));
  const threads = options.threads === undefined ? [] : ["--threads", options.threads];
  const { seconds, stdout } = await runWriting(process.execPath, [
    bin,
    "merge",
    recipe,
    "-o",
    out,
    "--json",
    ...threads,
  ]);
  const { cost } = JSON.parse(stdout) as { cost: { peakMemoryBytes: number } };
  return { seconds, peakMegabytes: cost.peakMemoryBytes / 1e6 };
}

function mergekitRecipe({ models, base, mergekit }: Row): Record<string, unknown> {
  const { method, each, parameters, dtype = "bfloat16" } = mergekit!;
  return {
    merge_method: method,
    ...(base && { base_model: family[0] }),
    models: modelsOf(models).map((model) => ({ model, ...(each && { parameters: each }) })),
    ...(parameters && { parameters }),
    dtype,
  };
}

/** Python says how much memory its child took; Node does not. */
const MEASURE = `
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
`;

const PEFT = `
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
`;

async function peft(python: string): Promise<{ seconds: number; peakMegabytes: number }> {
  const command = [python, "-c", PEFT, family[0]!, adapter, out];
  const { seconds, stdout } = await runWriting("python3", ["-c", MEASURE, ...command]);
  return { seconds, peakMegabytes: Number(stdout.trim().split("\n").at(-1)) / 1e6 };
}

async function theirs(row: Row, command: string): Promise<{ seconds: number; peakMegabytes: number }> {
  const recipe = path.join(scratch, "mergekit.yaml");
  writeFileSync(recipe, JSON.stringify(mergekitRecipe(row)));
  const { seconds, stdout } = await runWriting("python3", [
    "-c",
    MEASURE,
    command,
    recipe,
    out,
    "--no-copy-tokenizer",
    "--quiet",
  ]);
  return { seconds, peakMegabytes: Number(stdout.trim().split("\n").at(-1)) / 1e6 };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function startUp(): number {
  return median(Array.from({ length: 7 }, () => run(process.execPath, [bin, "--version"]).seconds));
}

async function measure(row: Row): Promise<Result> {
  const floors: number[] = [];
  const runs: { seconds: number; peakMegabytes: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    floors.push(await floor(row));
    runs.push(await ours(row));
  }
  const seconds = median(runs.map((each) => each.seconds));
  const floorSeconds = median(floors);
  const other =
    options.mergekit !== undefined && row.mergekit !== undefined ? await theirs(row, options.mergekit) : null;
  const peer = row.adapter && options.peft !== undefined ? await peft(options.peft) : other;
  return {
    name: row.name,
    seconds,
    floorSeconds,
    timesFloor: median(runs.map((each, round) => each.seconds / floors[round]!)),
    peakMegabytes: Math.max(...runs.map((each) => each.peakMegabytes)),
    ...(peer !== null && { peer: { ...peer, timesFaster: peer.seconds / seconds } }),
  };
}

const wanted = ROWS.filter(({ name }) => options.only === undefined || name.includes(options.only));
const cpu = os.cpus()[0]?.model.trim() ?? "unknown";
process.stdout.write(
  `${shape.name}, ${(modelBytes / 1e9).toFixed(2)} GB a model; ${cpu} x ${os.availableParallelism()}, Node ${process.version}\n`,
);
const startUpSeconds = startUp();
process.stdout.write(`start-up (--version): ${startUpSeconds.toFixed(3)} s\n\n`);
process.stdout.write(
  "row                           seconds   floor  x floor  peak MB       peer s (MB)  times faster\n",
);
const results: Result[] = [];
for (const row of wanted) {
  const result = await measure(row);
  results.push(result);
  const { name, seconds, floorSeconds, timesFloor, peakMegabytes, peer: beside } = result;
  const peer = beside === undefined ? "" : `${beside.seconds.toFixed(1)} (${beside.peakMegabytes.toFixed(0)})`;
  const faster = beside === undefined ? "" : beside.timesFaster.toFixed(0);
  const figures = [seconds.toFixed(2), floorSeconds.toFixed(2), timesFloor.toFixed(2), peakMegabytes.toFixed(0)];
  const columns = [name.padEnd(28), ...figures.map((text) => text.padStart(8)), peer.padStart(18), faster.padStart(13)];
  process.stdout.write(`${columns.join(" ")}\n`);
}
rmSync(out, { recursive: true, force: true });
const json = path.resolve(options.json);
mkdirSync(path.dirname(json), { recursive: true });
const machine = { cpu, processors: os.availableParallelism(), memoryBytes: os.totalmem(), node: process.version };
writeFileSync(
  json,
  `${JSON.stringify({ family: shape.name, modelBytes, rounds, machine, startUpSeconds, rows: results }, null, 2)}\n`,
);
process.stdout.write(`\nwritten to ${options.json}\n`);
