/** What Node knows of the machine that a merge would run on. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Machine } from "../../preflight/cost.js";
import { storedSources } from "../../plan/streams.js";
import type { Plan } from "../../plan/types.js";

/** Long enough to see how fast a disk is, short enough not to be waited for. */
const PROBE_BYTES = 64 * 2 ** 20;
const PROBE_CHUNK = 4 * 2 ** 20;

export const nodeMachine: Machine = {
  freeBytes(folder) {
    try {
      const { bavail, bsize } = fs.statfsSync(existing(path.resolve(folder)));
      return bavail * bsize;
    } catch {
      return null;
    }
  },
  memoryBytes() {
    // 0, or a number beyond all machines, where nothing limits the process.
    const limit = process.constrainedMemory();
    return limit > 0 && limit < os.totalmem() ? limit : os.totalmem();
  },
  readSpeed: (plan) => Promise.resolve(readSpeed(plan)),
};

/** The folder, or the nearest one above it that there is. */
function existing(folder: string): string {
  const parent = path.dirname(folder);
  return fs.existsSync(folder) || parent === folder ? folder : existing(parent);
}

function readSpeed(plan: Plan) {
  const files = storedSources(plan).flatMap(({ address, stamp }) =>
    address?.kind === "file" ? [{ path: address.path, size: stamp.size }] : [],
  );
  const [largest] = files.sort((a, b) => b.size - a.size);
  if (largest === undefined) return null;
  const buffer = new Uint8Array(PROBE_CHUNK);
  const file = fs.openSync(largest.path, "r");
  try {
    const bytes = Math.min(PROBE_BYTES, largest.size);
    const start = performance.now();
    for (let at = 0; at < bytes; at += PROBE_CHUNK) fs.readSync(file, buffer, 0, Math.min(PROBE_CHUNK, bytes - at), at);
    return { bytesPerSecond: (bytes * 1000) / Math.max(0.01, performance.now() - start), bytes };
  } finally {
    fs.closeSync(file);
  }
}
