/** Sums of statistics files, read whole. */
import { readTensor } from "../formats/safetensors/read.js";
import { entriesOf } from "../numbers/dtypes.js";
import type { Statistics } from "./statistics.js";
import { statisticsDefect } from "./statistics.js";

/** A whole sum in f64. */
export async function readSum({ tensors, shards }: Statistics["file"], name: string): Promise<Float64Array> {
  const stored = tensors.get(name)!;
  const bytes = await readTensor(shards[stored.shard]!.source, stored);
  const own = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const count = entriesOf(stored.shape);
  if (stored.dtype === "F64") return new Float64Array(own.buffer, own.byteOffset, count);
  return Float64Array.from(new Float32Array(own.buffer, own.byteOffset, count));
}

/**
 * All of them, by name; for files that hold few numbers.
 * @throws statistics/file where one is not finite.
 */
export async function readSums(file: Statistics["file"]): Promise<ReadonlyMap<string, Float64Array>> {
  const sums = new Map<string, Float64Array>();
  for (const name of file.tensors.keys()) {
    const values = await readSum(file, name);
    const wrong = values.find((value) => !Number.isFinite(value));
    if (wrong !== undefined) throw statisticsDefect(file, "a sum is not finite", `${name}: ${wrong}`);
    sums.set(name, values);
  }
  return sums;
}
