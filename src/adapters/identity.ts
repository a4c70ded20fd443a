import { sampledFingerprint } from "../models/fingerprint.js";
import type { Adapter } from "./adapter.js";

/** Of an adapter alone, whatever base it stands beside: its name, and a fingerprint of its file. */
export async function adapterIdentity(adapter: Adapter): Promise<{ readonly name: string; readonly hash: string }> {
  const { name, source, header } = adapter;
  return { name, hash: await sampledFingerprint({ shards: [{ name, source, header }] }) };
}
