/** Writes a block of a shared change and, beside it, every input's mask over it. */
import { checksumKernel } from "../kernels/checksum/binding.js";
import { MaskMaker } from "../kernels/masks/binding.js";
import { makeMask } from "../kernels/masks/definition.js";
import type { MaskRun } from "../kernels/masks/definition.js";
import type { Arguments } from "../methods/method.js";
import { change, widen } from "../numbers/convert.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import type { Bench } from "./bench.js";
import type { Block } from "./blocks.js";
import { combineBlock, maskPlace, write } from "./combine_jobs.js";
import type { CombineArgs, CombineBlock, WrittenBlock, WrittenMask } from "./job_types.js";
import { isKernelDtype } from "./workbench.js";
import type { PreparedTile } from "./workbench.js";

/** Sees every tile with its result; the masks are made from the shared change as it is stored, so after its rounding. */
interface Masks {
  see(tile: PreparedTile, target: number): void;
  result(): readonly MaskRun[];
}

export async function mask(bench: Bench, block: CombineBlock, { args }: CombineArgs): Promise<WrittenBlock> {
  const { work } = bench;
  const tensor = work.setup.tensors[block.tensor]!;
  const kernel = bench.method.masking!.kernel(args);
  // Tiles of pruned rows may be of any length, and kernels write whole bytes of eight bits.
  const isWhole = tensor.prune === null;
  const masks = kernel !== null && isWhole ? byKernel(bench, block, args, kernel) : byDefinition(bench, block, args);
  const written = await combineBlock(
    bench,
    block,
    args,
    () => {},
    (tile, target) => masks.see(tile, target),
  );
  const parts: WrittenMask[] = [];
  for (const [input, { bits, kept, change, shared }] of masks.result().entries()) {
    const { file, offset } = tensor.masks[input]!;
    work.bytesAt(work.blockOut, bits.length).set(bits);
    const digest = await write(bench, file, maskPlace(offset, block).position, work.blockOut, bits.length);
    parts.push({ digest, kept, change, shared });
  }
  return { ...written, masks: parts, baseDigest: await baseDigest(bench, block) };
}

function byKernel({ work }: Bench, block: CombineBlock, args: Arguments, kernel: string): Masks {
  const { dtype, inputs } = work.setup.tensors[block.tensor]!;
  const maker = new MaskMaker(work.kernels, work.proof, work.masks, {
    models: inputs.length,
    entries: block.count,
    column: Object.values(args.columns)[0],
  });
  return {
    see(tile, target) {
      if (isKernelDtype(dtype)) {
        maker.add(kernel, { ...tile, sharedFormat: dtype, shared: target });
        return;
      }
      work.widen(dtype, target, work.floatOut, tile.count);
      maker.add(kernel, { ...tile, sharedFormat: "F32", shared: work.floatOut });
    },
    result: () => maker.result(),
  };
}

function byDefinition({ work, method }: Bench, block: CombineBlock, args: Arguments): Masks {
  const { dtype, inputs } = work.setup.tensors[block.tensor]!;
  const changes = inputs.map(() => new Float32Array(block.count));
  const shared = new Float32Array(block.count);
  const { keeps } = method.masking!;
  return {
    see({ start, count, format, subtract, inputs: addresses }, target) {
      const at = start - block.start;
      const bytes = count * DTYPE_BYTES[format];
      const base = new Float32Array(count);
      widen(format, work.bytesAt(subtract, bytes), base);
      for (const [input, address] of addresses.entries()) {
        const own = changes[input]!.subarray(at, at + count);
        widen(format, work.bytesAt(address, bytes), own);
        change(own, base, own);
      }
      const stored = work.bytesAt(target, count * DTYPE_BYTES[dtype]);
      widen(dtype as FloatDtype, stored, shared.subarray(at, at + count));
    },
    result: () => changes.map((own, row) => makeMask(own, shared, (c, s) => keeps(c, s, row, args))),
  };
}

/** So that a task's model is never made over another base. */
export async function baseDigest({ work }: Bench, { tensor, start, count }: Block): Promise<string> {
  const { source, offset, dtype } = work.setup.tensors[tensor]!.base!;
  const bytes = count * DTYPE_BYTES[dtype];
  const base = await work.source(source);
  await base.read(offset + start * DTYPE_BYTES[dtype], work.bytesAt(work.blockOut, bytes));
  return checksumKernel(work.kernels)(work.blockOut, bytes);
}
