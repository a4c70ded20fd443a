/**
 * Times the linear algebra of whole matrices on one thread, with the error of every result, medians over the rounds.
 *
 *   npm run bench:algebra
 *   npm run bench:algebra -- --rounds 5 --only svd      rows whose name contains a word
 *   npm run bench:algebra -- --numpy PYTHON             a Python with numpy and scipy, one thread too; peers/.venv's where
 *                                                       there is one (peers/setup.sh)
 *   npm run bench:algebra -- --full                     numpy's full SVD of the largest matrix too, which takes minutes
 *
 * Both sides work on the same matrices. Figures hold on an idle machine only.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openAlgebra } from "../src/algebra/algebra.js";
import type { Matrix, Matrix64 } from "../src/algebra/algebra.js";
import { truncatedSvdTask } from "../src/algebra/tasks.js";
import { createAlgebraCrew } from "../src/platform/node/algebra_crew.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: "" },
    numpy: { type: "string" },
    full: { type: "boolean", default: false },
    threads: { type: "string", default: String(os.availableParallelism()) },
    json: { type: "string", default: "out/bench-algebra.json" },
  },
});
const rounds = Number(options.rounds);
const algebra = openAlgebra();

/** Between −1 and 1, a function of the entry's index; peers/algebra_speed.py makes the same. */
function entry(index: number): number {
  let x = Math.imul(index, 0x9e3779b1);
  x ^= x >>> 15;
  x = Math.imul(x, 0x85ebca77);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae3d);
  x ^= x >>> 16;
  return (x >>> 0) / 2 ** 31 - 1;
}

function random64(rows: number, columns: number): Matrix64 {
  return { rows, columns, data: Float64Array.from({ length: rows * columns }, (_, index) => entry(index)) };
}
const narrow = ({ rows, columns, data }: Matrix64): Matrix => ({ rows, columns, data: new Float32Array(data) });
const widen = ({ rows, columns, data }: Matrix): Matrix64 => ({ rows, columns, data: new Float64Array(data) });

/** Rows weigh less and less, which makes singular values descend. */
function descending(side: number): Matrix {
  const { rows, columns, data } = random64(side, side);
  for (let index = 0; index < data.length; index++) data[index] = data[index]! / (1 + Math.floor(index / columns) / 32);
  return narrow({ rows, columns, data });
}

function norm({ data }: Matrix64): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

function apart(a: Matrix64, b: Matrix64): number {
  return norm({ ...a, data: a.data.map((value, index) => value - b.data[index]!) });
}

function timesDiagonal({ rows, columns, data }: Matrix64, s: Float64Array): Matrix64 {
  return { rows, columns, data: data.map((value, index) => value * s[index % columns]!) };
}

interface Row {
  readonly name: string;
  /** Operations, where they make a rate that means something. */
  readonly flops?: number;
  /** Makes the operands; the work that is timed gives what `error` judges. */
  readonly prepare: () => { readonly work: () => unknown; readonly error: (result: never) => number };
}

function row<T>(
  name: string,
  flops: number | undefined,
  prepare: () => { work: () => T; error: (result: T) => number },
): Row {
  return { name, prepare, ...(flops === undefined ? {} : { flops }) };
}

const symmetric = (n: number): Matrix64 => {
  const a = random64(n, n);
  return { ...a, data: a.data.map((value, at) => value + a.data[(at % n) * n + Math.floor(at / n)]!) };
};

const ROWS: readonly Row[] = [
  row("product f32, 1024 cubed", 2 * 1024 ** 3, () => {
    const a = narrow(random64(1024, 1024));
    const exact = algebra.multiply64(widen(a), widen(a));
    return { work: () => algebra.multiply(a, a), error: (c) => apart(widen(c), exact) / norm(exact) };
  }),
  row("product f64, 1024 cubed", 2 * 1024 ** 3, () => {
    const a = random64(1024, 1024);
    const x = random64(1024, 1);
    const expected = algebra.multiply64(a, algebra.multiply64(a, x));
    return {
      work: () => algebra.multiply64(a, a),
      error: (c) => apart(algebra.multiply64(c, x), expected) / norm(expected),
    };
  }),
  row("QR, 4096 x 128", 4 * 4096 * 128 ** 2, () => {
    const a = random64(4096, 128);
    return { work: () => algebra.qr(a), error: ({ q, r }) => apart(algebra.multiply64(q, r), a) / norm(a) };
  }),
  row("symmetric eigenvalues, 512", undefined, () => {
    const a = symmetric(512);
    return {
      work: () => algebra.eigenSymmetric(a),
      error: ({ values, vectors }) => apart(algebra.multiply64(a, vectors), timesDiagonal(vectors, values)) / norm(a),
    };
  }),
  ...(
    [
      [512, 512],
      [2048, 256],
    ] as const
  ).map(([rows, columns]) =>
    row(`SVD, ${rows} x ${columns}`, undefined, () => {
      const a = random64(rows, columns);
      return {
        work: () => algebra.svd(a),
        error: ({ u, s, vt }) => apart(algebra.multiply64(timesDiagonal(u, s), vt), a) / norm(a),
      };
    }),
  ),
  row("Cholesky and solve, 2048, 64 right sides", 2048 ** 3 / 3 + 2 * 2048 ** 2 * 64, () => {
    const factor = random64(2048, 2048);
    const a = algebra.multiply64(factor, factor, { transposeB: true });
    const b = random64(2048, 64);
    return {
      work: () => algebra.solveCholesky(algebra.cholesky(a)!, b),
      error: (x) => apart(algebra.multiply64(a, x), b) / (norm(a) * norm(x)),
    };
  }),
  row("truncated SVD, 4096 x 4096, rank 64", undefined, () => {
    const a = descending(4096);
    return { work: () => algebra.truncatedSvd(a, 64), error: ({ error }) => error };
  }),
];

interface Timing {
  readonly seconds: number;
  readonly error: number;
}

function measure({ prepare }: Row): Timing {
  const { work, error } = prepare();
  let result = work();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const started = performance.now();
    result = work();
    times.push((performance.now() - started) / 1000);
  }
  return { seconds: times.sort((a, b) => a - b)[times.length >> 1]!, error: error(result as never) };
}

/** By name; names of several ways to the same result begin with the row's. */
function numpy(python: string): Record<string, Timing> {
  const args = [
    path.join(root, "peers/algebra_speed.py"),
    String(rounds),
    options.only,
    ...(options.full ? ["full"] : []),
  ];
  const one = { OPENBLAS_NUM_THREADS: "1", MKL_NUM_THREADS: "1", OMP_NUM_THREADS: "1" };
  const { status, stdout, stderr } = spawnSync(python, args, { encoding: "utf8", env: { ...process.env, ...one } });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, Timing>;
}

/** Seconds for eight matrices by a crew of so many threads. */
async function crewSeconds(threads: number): Promise<number> {
  const crew = createAlgebraCrew(threads);
  const matrix = descending(1024);
  const map = (count: number) =>
    crew.map(truncatedSvdTask, count, { input: () => ({ matrix, rank: 32 }), done: () => {} });
  await map(threads);
  const started = performance.now();
  await map(8);
  const seconds = (performance.now() - started) / 1000;
  await crew.close();
  return seconds;
}

const shown = (name: string, { seconds, error }: Timing, flops?: number) => {
  const rate = flops === undefined ? "" : `${(flops / seconds / 1e9).toFixed(1)} GFLOP/s`;
  return `  ${seconds.toFixed(3).padStart(8)} s ${rate.padStart(13)}  error ${error.toExponential(1)}  ${name}\n`;
};

const inVenv = path.join(root, "peers/.venv/bin/python");
const python = options.numpy ?? (existsSync(inVenv) ? inVenv : undefined);
const processor = os.cpus()[0]?.model ?? "unknown";
process.stdout.write(`${processor}, Node ${process.versions.node}, medians of ${rounds}, one thread\n\n`);
const results: Record<string, unknown> = { processor, node: process.versions.node, rounds };
const wanted = ROWS.filter(({ name }) => name.includes(options.only));
for (const one of wanted) {
  const ours = measure(one);
  process.stdout.write(shown(one.name, ours, one.flops));
  results[one.name] = ours;
}
if (python !== undefined) {
  process.stdout.write("\nnumpy and scipy\n");
  const theirs = numpy(python);
  for (const [name, timing] of Object.entries(theirs)) {
    process.stdout.write(shown(name, timing, ROWS.find((own) => own.name === name)?.flops));
  }
  results["numpy"] = theirs;
}
if (options.only === "") {
  process.stdout.write("\neight truncated SVDs, 1024 x 1024, rank 32\n");
  for (const threads of new Set([1, Number(options.threads)])) {
    const seconds = await crewSeconds(threads);
    process.stdout.write(`  ${seconds.toFixed(3).padStart(8)} s  ${threads} thread${threads === 1 ? "" : "s"}\n`);
    results[`crew of ${threads}`] = seconds;
  }
}
const target = path.resolve(root, options.json);
mkdirSync(path.dirname(target), { recursive: true });
writeFileSync(target, `${JSON.stringify(results, null, 2)}\n`);
