import { xxh64 } from "../numbers/checksum.js";
import type { Checkpoint } from "./model.js";

/** Runs of bytes looked at in every weight file, evenly spread, and the length of one. */
const RUNS = 16;
const RUN_BYTES = 4096;

/**
 * Tells checkpoints apart at the cost of some pages: XXH64 over headers and sixteen short runs of every weight file.
 * Fine-tunes of one base differ nearly everywhere, so any of their runs would do; files that were edited in one place
 * may keep their fingerprint, which is no checksum.
 */
export async function sampledFingerprint({ shards }: Pick<Checkpoint, "shards">): Promise<string> {
  const parts: string[] = [];
  for (const { header, source } of shards) {
    const { dataStart, fileSize } = header;
    const pieces = new Uint8Array(RUNS * RUN_BYTES);
    let filled = 0;
    const last = Math.max(dataStart, fileSize - RUN_BYTES);
    for (let run = 0; run < RUNS; run++) {
      const from = dataStart + Math.floor(((last - dataStart) * run) / (RUNS - 1));
      const piece = pieces.subarray(filled, filled + Math.min(RUN_BYTES, fileSize - from));
      await source.read(from, piece);
      filled += piece.length;
    }
    parts.push(`${header.hash} ${fileSize} ${xxh64(pieces.subarray(0, filled))}`);
  }
  return xxh64(new TextEncoder().encode(parts.join("\n")));
}
