/** Whether the bytes of a part are those that the artifact was made with. */
import type { MergewrightError } from "../errors.js";
import { blockTreeChecksum, xxh64 } from "../numbers/checksum.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import { defect } from "./defect.js";
import type { StoredPart } from "./parts.js";

/** Reads a part block by block. @returns the checksum found where it differs, else `null`. */
export async function checkPart({ checkpoint, stored, checksum, blockEntries }: StoredPart): Promise<string | null> {
  const { source } = checkpoint.shards[stored.shard]!;
  const width = DTYPE_BYTES[stored.dtype];
  const entries = entriesOf(stored.shape);
  const digests: string[] = [];
  for (let start = 0; start < entries; start += blockEntries) {
    const bytes = new Uint8Array(Math.min(blockEntries, entries - start) * width);
    await source.read(stored.offset + start * width, bytes);
    digests.push(xxh64(bytes));
  }
  const found = blockTreeChecksum(digests);
  return found === checksum ? null : found;
}

export function partDefect(
  { checkpoint, stored, checksum }: StoredPart,
  found: string,
  isBase: boolean,
): MergewrightError {
  const summary = isBase
    ? "this is not the base that the artifact was made over, or it changed since"
    : "a part of the artifact is not as it was written";
  return defect(isBase ? "artifact/base" : "artifact/damaged", summary, {
    where: { file: checkpoint.label, tensor: stored.name },
    expected: `checksum ${checksum}`,
    found: `checksum ${found}`,
  });
}
