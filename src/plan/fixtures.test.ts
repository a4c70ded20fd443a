/** Checkpoints of zeros for the tests of this folder. Named .test so as not to be published. */
import { layoutHeader } from "../formats/safetensors/index.js";
import type { TensorSpec } from "../formats/safetensors/layout.js";

export type Tensors = Readonly<Record<string, readonly [dtype: TensorSpec["dtype"], ...shape: number[]]>>;

/** A plan reads headers alone. */
export function files(tensors: Tensors, config: Record<string, unknown> = {}): Record<string, Uint8Array> {
  const specs = Object.entries(tensors).map(([name, [dtype, ...shape]]) => ({ name, dtype, shape }));
  const { header, fileSize } = layoutHeader(specs);
  const bytes = new Uint8Array(fileSize);
  bytes.set(header);
  return { "model.safetensors": bytes, "config.json": new TextEncoder().encode(JSON.stringify(config)) };
}
