import { widen } from "../../numbers/convert.js";
import type { FloatDtype } from "../../numbers/dtypes.js";

/** How many entries are NaN or infinite. @param bytes little-endian entries, at any alignment. */
export function countNonFinite(dtype: FloatDtype, bytes: Uint8Array): number {
  if (dtype === "F64") return countWide(bytes);
  const values = new Float32Array(bytes.length / ENTRY_BYTES[dtype]);
  widen(dtype, bytes, values);
  let count = 0;
  for (const value of values) if (!Number.isFinite(value)) count++;
  return count;
}

const ENTRY_BYTES = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1 } as const;

/** Not through f32, where a large F64 becomes infinite. */
function countWide(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (let at = 0; at < bytes.length; at += 8) if (!Number.isFinite(view.getFloat64(at, true))) count++;
  return count;
}
