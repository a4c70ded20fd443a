/** What makes two evaluations the same: SHA-256 over contents, never over names of files. */

import type { WeightSource } from "../runtime/network.js";

export async function sha256(content: string | Uint8Array): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  // A view on shared memory is refused.
  const own = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();
  const digest = await crypto.subtle.digest("SHA-256", own);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Of a network's names, shapes, config and values in f32: the same for the same numbers in any format and any files.
 * Reads every tensor once.
 */
export async function weightsFingerprint(weights: WeightSource): Promise<string> {
  const lines = [JSON.stringify(sorted(weights.config))];
  for (const name of [...weights.names].sort()) {
    const values = await weights.tensor(name);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    lines.push(`${name} ${JSON.stringify(weights.shape(name))} ${await sha256(bytes)}`);
  }
  return sha256(lines.join("\n"));
}

/** With the keys of all objects in order, so that a config is the same however it is written. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
