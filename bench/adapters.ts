/**
 * Times merges of adapters as a user runs them: rank-16 LoRAs on every linear layer, to rank 16 by SVD of their weighted sum.
 *
 *   npm run bench:adapters                    three of a 1.1 B shape, and eight of a 7 B shape (1.3 GB in the temporary folder)
 *   npm run bench:adapters -- --only 1.1B     one of the two
 *   npm run bench:adapters -- --peft PYTHON   adds PEFT's add_weighted_adapter(combination_type="svd") on the 1.1 B shape;
 *                                             PYTHON has torch and peft (peers/setup.sh installs them); takes minutes
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { draftTensor, loraConfig, peftKey } from "../src/adapters/draft.js";
import { peftFiles } from "../src/adapters/write.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    peft: { type: "string" },
    json: { type: "string", default: "out/bench-adapters.json" },
  },
});
const RANK = 16;

interface Shape {
  readonly name: string;
  readonly adapters: number;
  readonly layers: number;
  readonly hidden: number;
  readonly keys: number;
  readonly inner: number;
}

const SHAPES: readonly Shape[] = [
  { name: "1.1B", adapters: 3, layers: 22, hidden: 2048, keys: 256, inner: 5632 },
  { name: "7B", adapters: 8, layers: 32, hidden: 4096, keys: 4096, inner: 11008 },
];

/** [path, out, in] of every linear layer. */
function linears({ layers, hidden, keys, inner }: Shape): (readonly [string, number, number])[] {
  return Array.from({ length: layers }, (_, layer) => `model.layers.${layer}`).flatMap((at) => [
    [`${at}.self_attn.q_proj`, hidden, hidden] as const,
    [`${at}.self_attn.k_proj`, keys, hidden] as const,
    [`${at}.self_attn.v_proj`, keys, hidden] as const,
    [`${at}.self_attn.o_proj`, hidden, hidden] as const,
    [`${at}.mlp.gate_proj`, inner, hidden] as const,
    [`${at}.mlp.up_proj`, inner, hidden] as const,
    [`${at}.mlp.down_proj`, hidden, inner] as const,
  ]);
}

function makeAdapter(shape: Shape, folder: string, seed: number): void {
  let state = seed;
  const noise = (count: number) =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state / 2 ** 32 - 0.5) / 50;
    });
  const modules = linears(shape);
  const tensors = modules.flatMap(([name, out, width]) => [
    draftTensor(peftKey(name, "lora_A.weight"), [RANK, width], noise(RANK * width)),
    draftTensor(peftKey(name, "lora_B.weight"), [out, RANK], noise(out * RANK)),
  ]);
  const config = loraConfig(modules.map(([name]) => ({ path: name, rank: RANK, alpha: 2 * RANK })));
  const files = peftFiles({ config, tensors }, { action: "bench", summary: "", inputs: [], details: {} });
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of files) writeFileSync(path.join(folder, name), bytes);
}

interface Measured {
  readonly row: string;
  readonly tool: string;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/** Runs a command under a wrapper that tells what it used. */
function measure(row: string, tool: string, command: string, words: readonly string[]): Measured {
  const wrapper =
    "import resource,subprocess,sys,time;t=time.time();c=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL).returncode;" +
    "u=resource.getrusage(resource.RUSAGE_CHILDREN);print(c,time.time()-t,u.ru_utime+u.ru_stime,u.ru_maxrss)";
  const { stdout, stderr } = spawnSync("python3", ["-c", wrapper, command, ...words], { encoding: "utf8" });
  const [code, seconds, cpuSeconds, kilobytes] = stdout.trim().split(" ").map(Number);
  if (code !== 0) throw new Error(`${row} by ${tool}: exit code ${code}\n${stderr}`);
  return { row, tool, seconds: seconds!, cpuSeconds: cpuSeconds!, peakBytes: kilobytes! * 1024 };
}

const place = mkdtempSync(path.join(os.tmpdir(), "mergewright-bench-"));
const results: Measured[] = [];
try {
  for (const shape of SHAPES) {
    if (options.only !== undefined && options.only !== shape.name) continue;
    const folders = Array.from({ length: shape.adapters }, (_, index) => path.join(place, `${shape.name}-${index}`));
    for (const [index, folder] of folders.entries()) makeAdapter(shape, folder, index + 1);
    const row = `${shape.adapters} adapters of rank ${RANK}, ${shape.name} shape, to rank ${RANK}`;
    const weights = folders.map((_, index) => 0.5 + index / 10).join(",");
    const words = [path.join(root, "bin/mergewright.js"), "adapter", "merge", ...folders, "--weights", weights];
    const out = path.join(place, `out-${shape.name}`);
    const asked = [...words, "--method", "svd", "--rank", String(RANK), "-o", out, "--quiet"];
    results.push(measure(row, "mergewright", process.execPath, asked));
    if (options.peft !== undefined && shape.name === "1.1B") {
      const peer = [path.join(root, "peers/adapters_merge.py"), "--speed", ...folders];
      results.push(measure(row, "peft", options.peft, peer));
    }
    for (const folder of [...folders, out]) rmSync(folder, { recursive: true, force: true });
  }
} finally {
  rmSync(place, { recursive: true, force: true });
}
process.stdout.write("| row | tool | seconds | CPU seconds | peak memory |\n|---|---|---|---|---|\n");
for (const { row, tool, seconds, cpuSeconds, peakBytes } of results) {
  const cells = [row, tool, seconds.toFixed(1), cpuSeconds.toFixed(1), `${Math.round(peakBytes / 1e6)} MB`];
  process.stdout.write(`| ${cells.join(" | ")} |\n`);
}
const json = path.resolve(root, options.json);
mkdirSync(path.dirname(json), { recursive: true });
writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);
