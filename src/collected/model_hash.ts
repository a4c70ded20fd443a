import type { Checkpoint } from "../models/model.js";
import { xxh64 } from "../numbers/checksum.js";

/** Places of a tensor that are looked at, and bytes at each. */
const PLACES = 4;
const BYTES = 1024;

/**
 * What tells one model from another without reading all of it: XXH64 over every tensor's name, format, shape and the
 * bytes at four places spread evenly over it. Training changes nearly every entry, so another model has another hash;
 * the same tensors in other shards or another order have the same one.
 */
export async function modelHash({ tensors, shards }: Checkpoint): Promise<string> {
  const encoder = new TextEncoder();
  const hashes: string[] = [];
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, shard, offset, length } = tensors.get(name)!;
    hashes.push(xxh64(encoder.encode(`${name} ${dtype} ${shape.join(" ")}`)));
    const { source } = shards[shard]!;
    for (let place = 0; place < PLACES; place++) {
      const bytes = new Uint8Array(Math.min(BYTES, length));
      const at = Math.floor((Math.max(0, length - BYTES) * place) / (PLACES - 1));
      await source.read(offset + at, bytes);
      hashes.push(xxh64(bytes));
    }
  }
  return xxh64(encoder.encode(hashes.join("\n")));
}
