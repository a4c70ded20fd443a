/** Small checkpoints on disk, for the tests of this room. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { layoutHeader } from "../formats/safetensors/layout.js";
import { narrow } from "../numbers/convert.js";
import { DTYPE_BYTES, isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";

export const ZOO = fileURLToPath(new URL("../../../zoo/", import.meta.url));

/** A folder that is gone after the tests of the file that asks for it. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "analyse-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface FixtureTensor {
  readonly dtype: Dtype;
  /** Default: one dimension. */
  readonly shape?: readonly number[];
  /** Entries; bytes for what is not floating point. */
  readonly values: readonly number[];
}

/** Writes `model.safetensors` and the other files of a checkpoint. @returns the folder. */
export function writeModel(
  folder: string,
  tensors: Readonly<Record<string, FixtureTensor>>,
  files: Readonly<Record<string, string>> = {},
): string {
  const entries = Object.entries(tensors);
  const specs = entries.map(([name, { dtype, shape, values }]) => {
    const entryBytes = isFloat(dtype) ? 1 : DTYPE_BYTES[dtype];
    return { name, dtype, shape: shape ?? [values.length / entryBytes] };
  });
  const { header, fileSize, tensors: placed } = layoutHeader(specs, { format: "pt" });
  const bytes = new Uint8Array(fileSize);
  bytes.set(header);
  for (const [index, { offset, length }] of placed.entries()) {
    const { dtype, values } = entries[index]![1];
    const target = bytes.subarray(offset, offset + length);
    if (isFloat(dtype)) narrow(dtype, Float32Array.from(values), target);
    else target.set(values);
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "model.safetensors"), bytes);
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  return folder;
}

export function copyFolder(from: string, to: string): string {
  cpSync(from, to, { recursive: true, preserveTimestamps: true });
  return to;
}

/** The same for the same seed; between −1 and 1. */
export function randomValues(count: number, seed: number): number[] {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
