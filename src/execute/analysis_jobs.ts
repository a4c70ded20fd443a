/** Jobs that look at tensors and write nothing. */
import { checksumKernel } from "../kernels/checksum/binding.js";
import { finiteKernel } from "../kernels/finite/binding.js";
import { RelationsSum } from "../kernels/relations/binding.js";
import type { Relations } from "../kernels/relations/definition.js";
import { DTYPE_BYTES, isFloat } from "../numbers/dtypes.js";
import type { Block } from "./blocks.js";
import type { Bench } from "./bench.js";
import type { RelationsArgs, ScanPart, StoredBlock } from "./job_types.js";

const NOTHING_SCANNED: ScanPart = {
  sum: 0,
  squares: 0,
  min: Number.POSITIVE_INFINITY,
  max: Number.NEGATIVE_INFINITY,
  zeros: 0,
  nan: 0,
  infinite: 0,
};

/** The first input's entries as f32, in entry order. */
export async function scan({ work }: Bench, block: Block): Promise<ScanPart> {
  let part = NOTHING_SCANNED;
  await work.forEachTile(block, { changes: false, floats: true }, ({ inputs, count }) => {
    part = scanMore(part, work.floatsAt(inputs[0]!, count));
  });
  return part;
}

function scanMore(part: ScanPart, values: Float32Array): ScanPart {
  // Locals of this function, because numbers that a closure shares are stored anew at every change.
  let { sum, squares, min, max, zeros, nan, infinite } = part;
  for (let p = 0; p < values.length; p++) {
    const x = values[p]!;
    if (x - x === 0) {
      sum += x;
      squares += x * x;
      if (x < min) min = x;
      if (x > max) max = x;
      if (x === 0) zeros++;
    } else if (Number.isNaN(x)) nan++;
    else infinite++;
  }
  return { sum, squares, min, max, zeros, nan, infinite };
}

/** How the changes of all models relate, for tensors that every model has. */
export async function relations({ work }: Bench, block: Block, { thresholds }: RelationsArgs): Promise<Relations> {
  // Nothing is written, so the room for a block's output is free.
  const sum = new RelationsSum(work.kernels, work.context, work.blockOut, thresholds);
  await work.forEachTile(block, { changes: true, floats: false }, (tile) => sum.add(tile));
  return sum.result();
}

/** Reads a block of the first input as it is stored. */
export async function examine({ work }: Bench, block: Block): Promise<StoredBlock> {
  const { stream } = work.setup.tensors[block.tensor]!.inputs[0]!;
  const entryBytes = DTYPE_BYTES[stream.dtype];
  const bytes = block.count * entryBytes;
  const source = await work.source(stream.source);
  await source.read(stream.offset + block.start * entryBytes, work.bytesAt(work.blockOut, bytes));
  return {
    digest: checksumKernel(work.kernels)(work.blockOut, bytes),
    nonFinite: isFloat(stream.dtype) ? finiteKernel(work.kernels)(stream.dtype, work.blockOut, block.count) : 0,
  };
}
