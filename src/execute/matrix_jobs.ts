/** The job of methods that look at whole matrices: reads what a tensor's method asks for, solves, writes every block. */
import type { Algebra, Matrix, Matrix64 } from "../algebra/algebra.js";
import { MergewrightError, toPlainError } from "../errors.js";
import type { MatrixResult, MatrixTask } from "../methods/method.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { PlannedStatistic } from "../plan/types.js";
import type { Bench } from "./bench.js";
import { blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import { countNonFinite, placeOf, write } from "./combine_jobs.js";
import type { MatrixArgs, WrittenBlock } from "./job_types.js";
import type { WorkTensor } from "./setup.js";
import type { Workbench } from "./workbench.js";

/** One per thread; loaded and opened when first wanted, since most merges need none. */
const algebras = new WeakMap<Workbench, Algebra>();

async function algebraOf(work: Workbench): Promise<Algebra> {
  const known = algebras.get(work) ?? (await import("../algebra/algebra.js")).openAlgebra();
  algebras.set(work, known);
  return known;
}

/** @param block a whole tensor. */
export async function solveMatrix(
  bench: Bench,
  block: Block,
  { settings }: MatrixArgs,
): Promise<readonly WrittenBlock[]> {
  const { work, method } = bench;
  if (method.grain !== "matrix") throw new RangeError(`${method.name} does not look at matrices`);
  const tensor = work.setup.tensors[block.tensor]!;
  const task = taskOf(work, block.tensor, method.inputs === "changes");
  const result = await method.solve(task, settings, await algebraOf(work)).catch((error: unknown) => {
    throw inTensor(error, tensor.name);
  });
  checkResult(result, tensor);
  const written: WrittenBlock[] = [];
  for (const part of blocksOf(block.tensor, tensor.entries)) {
    written.push(await writePart(bench, tensor, part, result.merged.data));
  }
  const { warnings = [], figures = {} } = result;
  return [{ ...written[0]!, solved: { warnings, figures } }, ...written.slice(1)];
}

/** Linear algebra does not know whose matrices it works on. */
function inTensor(error: unknown, tensor: string): unknown {
  if (!(error instanceof MergewrightError) || error.where.tensor !== undefined) return error;
  const { summary, details } = toPlainError(error);
  return new MergewrightError(summary, { ...details!, where: { ...error.where, tensor }, cause: error });
}

function checkResult({ merged }: MatrixResult, { name, entries }: WorkTensor): void {
  if (merged.data.length !== entries) throw new RangeError(`the result for ${name} has another size`);
}

function taskOf(work: Workbench, index: number, changes: boolean): MatrixTask {
  const tensor = work.setup.tensors[index]!;
  const { name, shape, inputs, statistics } = tensor;
  return {
    ...{ name, shape, models: inputs.length, transposed: statistics?.transposed ?? false },
    base: () => (tensor.base === null ? Promise.resolve(null) : readEntries(work, index, "base", false)),
    model: (input) => readEntries(work, index, input, changes),
    async statistic(input, role) {
      const stored = statistics?.roles[role]?.[input] ?? null;
      return stored === null ? null : { sum: await readStatistic(work, stored, name, role), count: stored.count };
    },
  };
}

/** An input's or the base's entries of a whole tensor, in f32. */
async function readEntries(work: Workbench, tensor: number, which: number | "base", changes: boolean): Promise<Matrix> {
  const { name, shape, entries } = work.setup.tensors[tensor]!;
  const data = new Float32Array(entries);
  let nonFinite = 0;
  await work.forEachTile({ tensor, start: 0, count: entries }, { changes, floats: true }, (tile) => {
    const address = which === "base" ? tile.add : tile.inputs[which]!;
    data.set(work.floatsAt(address, tile.count), tile.start);
    nonFinite += countNonFinite(work, [address], tile.count, null)[0]!;
  });
  if (nonFinite > 0)
    throw notFinite(name, `${nonFinite} entries of ${which === "base" ? "the base" : `model ${which + 1}`}`);
  const rows = shape.length > 1 ? shape[0]! : 1;
  return { rows, columns: entries / rows, data };
}

/** Statistics are read in pieces of this many bytes. */
const PIECE_BYTES = 1 << 22;

async function readStatistic(
  work: Workbench,
  { stream: { source, offset, dtype }, shape }: PlannedStatistic,
  tensor: string,
  role: string,
): Promise<Matrix64> {
  const [rows, columns] = shape;
  const data = new Float64Array(rows! * columns!);
  const open = await work.source(source);
  const bytes = DTYPE_BYTES[dtype];
  const most = Math.floor(PIECE_BYTES / bytes);
  const buffer = new Uint8Array(most * bytes);
  for (let start = 0; start < data.length; start += most) {
    const count = Math.min(most, data.length - start);
    const piece = buffer.subarray(0, count * bytes);
    await open.read(offset + start * bytes, piece);
    data.set(
      dtype === "F64" ? new Float64Array(buffer.buffer, 0, count) : new Float32Array(buffer.buffer, 0, count),
      start,
    );
  }
  const wrong = data.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw notFinite(tensor, `entry ${wrong} of its statistic ${role}`);
  return { rows: rows!, columns: columns!, data };
}

function notFinite(tensor: string, found: string): MergewrightError {
  return new MergewrightError("a matrix holds NaN or infinite entries, which would spread over the whole result", {
    kind: "check",
    code: "values/non-finite",
    where: { tensor },
    found,
    advice: "repair or leave out the input, or exclude the tensor",
  });
}

async function writePart(bench: Bench, tensor: WorkTensor, part: Block, merged: Float32Array): Promise<WrittenBlock> {
  const { work } = bench;
  const { position, bytes } = placeOf(tensor, part);
  const out = work.blockFor(position);
  const { tileEntries } = work.setup;
  let nonFinite = 0;
  for (let at = 0; at < part.count; at += tileEntries) {
    const count = Math.min(tileEntries, part.count - at);
    work.floatsAt(work.floatOut, count).set(merged.subarray(part.start + at, part.start + at + count));
    nonFinite += work.narrow(tensor.dtype, work.floatOut, out + at * DTYPE_BYTES[tensor.dtype], count);
  }
  const digest = await write(bench, tensor.file, position, out, bytes);
  const inputs = tensor.inputs.length + 1;
  return {
    digest,
    counters: {},
    nonFinite,
    nonFiniteInputs: nonFinite > 0 ? Array.from({ length: inputs }, () => 0) : null,
  };
}
