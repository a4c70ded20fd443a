import type { Checkpoint } from "../models/model.js";
import { widen } from "../numbers/convert.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import { readTensor } from "../formats/safetensors/read.js";
import { defect } from "../adapters/defect.js";

/** Shape and entries of a tensor of a model, in f32. @param wanted how many entries there must be; `null`: any number. */
export async function readModelTensor(
  { label, tensors, shards }: Checkpoint,
  name: string,
  wanted: number | null = null,
): Promise<{ shape: readonly number[]; data: Float32Array }> {
  const stored = tensors.get(name);
  if (stored === undefined) {
    throw defect("adapter/base", "the base has no tensor that an adapter changes", {
      where: { file: label, tensor: name },
      advice: "give the base that the adapter was made for",
    });
  }
  if (!isFloat(stored.dtype) || (wanted !== null && entriesOf(stored.shape) !== wanted)) {
    throw defect("adapter/base", "a tensor of the base does not fit the adapter", {
      where: { file: label, tensor: name },
      expected: wanted === null ? "floating point" : `${wanted} entries in floating point`,
      found: `${stored.dtype} [${stored.shape.join(", ")}]`,
      advice: "give the base that the adapter was made for, in full precision",
    });
  }
  const data = new Float32Array(entriesOf(stored.shape));
  widen(stored.dtype, await readTensor(shards[stored.shard]!.source, stored), data);
  return { shape: stored.shape, data };
}
