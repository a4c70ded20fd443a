/** Jobs for changes that are pruned one model at a time and stored without what was pruned. */
import { checksumKernel } from "../kernels/checksum/binding.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Bench } from "./bench.js";
import type { Block } from "./blocks.js";
import type { ExceedBlock, PackBlock, PackedBlock, StoredPack } from "./job_types.js";
import { baseDigest } from "./mask_jobs.js";
import { maskPlace, write } from "./combine_jobs.js";

/** Sum of the magnitudes of the first input's changes, in entry order. */
export async function magnitudes({ work }: Bench, block: Block): Promise<number> {
  let sum = 0;
  await work.forEachTile(block, { changes: true, floats: true }, ({ inputs, count }) => {
    sum = sumMagnitudes(sum, work.floatsAt(inputs[0]!, count));
  });
  return sum;
}

// A function of its own, because numbers that a closure shares are stored anew at every change.
function sumMagnitudes(sum: number, values: Float32Array): number {
  for (let p = 0; p < values.length; p++) sum += Math.abs(values[p]!);
  return sum;
}

/** @returns per limit how many of the first input's changes have no magnitude up to it: NaN exceeds every limit. */
export async function exceed({ work }: Bench, block: ExceedBlock): Promise<readonly number[]> {
  const counts = block.limits.map(() => 0);
  await work.forEachTile(block, { changes: true, floats: true }, ({ inputs, count }) => {
    const values = work.floatsAt(inputs[0]!, count);
    for (const [index, limit] of block.limits.entries()) counts[index]! += countAbove(values, limit);
  });
  return counts;
}

function countAbove(values: Float32Array, limit: number): number {
  let above = 0;
  for (let p = 0; p < values.length; p++) if (!(Math.abs(values[p]!) <= limit)) above++;
  return above;
}

/** Writes a block's mask, and behind each other the entries under it. */
export async function pack(bench: Bench, block: PackBlock): Promise<PackedBlock> {
  const { work, method } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  if (method.grain !== "tile") throw new RangeError(`${method.name} packs nothing`);
  const limit = method.packing!.limit(block.args);
  const width = DTYPE_BYTES[tensor.dtype];
  const bits = new Uint8Array(Math.ceil(block.count / 8));
  let kept = 0;
  let nonFinite = 0;
  await work.forEachTile(block, { changes: true, floats: true }, (tile) => {
    const changes = work.floatsAt(tile.inputs[0]!, tile.count);
    const out = work.floatsAt(work.floatOut, tile.count);
    const base = work.floatsAt(tile.add, tile.count);
    method.combine({ count: tile.count, base, inputs: [changes], extra: {}, out, counters: {} }, block.args);
    let here = 0;
    for (let p = 0; p < tile.count; p++) {
      if (limit === null || Math.abs(changes[p]!) <= limit) continue;
      const at = tile.start - block.start + p;
      bits[at >>> 3]! |= 1 << (at & 7);
      // Never further on than what is still to be read.
      out[here++] = out[p]!;
    }
    nonFinite += work.narrow(tensor.dtype, work.floatOut, work.blockOut + kept * width, here);
    kept += here;
  });
  const digest = await write(bench, tensor.file, tensor.offset + block.begin * width, work.blockOut, kept * width);
  work.bytesAt(work.blockOut, bits.length).set(bits);
  const { file, offset } = tensor.masks[0]!;
  const maskDigest = await write(bench, file, maskPlace(offset, block).position, work.blockOut, bits.length);
  return { digest, maskDigest, kept, nonFinite };
}

/** @returns what `digestsOfPack` gives for a block that lies in the files as it was packed. */
export async function rereadPack({ work, written }: Bench, block: StoredPack): Promise<string> {
  const { file, offset, dtype, masks } = work.setup.tensors[block.tensor]!;
  const width = DTYPE_BYTES[dtype];
  const mask = masks[0]!;
  const digests: string[] = [];
  for (const place of [
    { file, position: offset + block.begin * width, bytes: block.kept * width },
    { file: mask.file, ...maskPlace(mask.offset, block) },
  ]) {
    const source = await written(place.file);
    await source.read(place.position, work.bytesAt(work.blockOut, place.bytes));
    digests.push(checksumKernel(work.kernels)(work.blockOut, place.bytes));
  }
  return digests.join(" ");
}

export function digestsOfPack({ digest, maskDigest }: PackedBlock): string {
  return `${digest} ${maskDigest}`;
}

/** @returns the digest of a block of a packed tensor as it lies in the output file. */
export async function rereadPacked({ work, written }: Bench, { tensor, start, count }: Block): Promise<string> {
  const { file, offset, dtype } = work.setup.tensors[tensor]!;
  const bytes = count * DTYPE_BYTES[dtype];
  const source = await written(file);
  await source.read(offset + start * DTYPE_BYTES[dtype], work.bytesAt(work.blockOut, bytes));
  return checksumKernel(work.kernels)(work.blockOut, bytes);
}

/** @returns the digest of the base's copy of a block. */
export function digestBase(bench: Bench, block: Block): Promise<string> {
  return baseDigest(bench, block);
}
