/** Adapters and bases of a few numbers, in memory. */
import assert from "node:assert/strict";
import type { Adapter } from "../../src/adapters/adapter.js";
import { draftTensor } from "../../src/adapters/draft.js";
import type { DraftTensor } from "../../src/adapters/draft.js";
import { openAdapter } from "../../src/adapters/open.js";
import { safetensorsOf } from "../../src/adapters/write.js";
import { MergewrightError } from "../../src/errors.js";
import type { ErrorCode } from "../../src/errors.js";
import { memoryFolder } from "../../src/models/folder.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";

export type Tensors = Readonly<
  Record<string, { readonly shape: readonly number[]; readonly values: ArrayLike<number> }>
>;

/** Numbers that depend on a name and an index alone, between -1 and 1, exact in F32. */
export function numbersOf(name: string, count: number): Float32Array {
  let state = 0x811c9dc5;
  for (const character of name) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / (1 << 23) - 1;
  });
}

/** A tensor with the numbers of its name. */
export function tensor(name: string, ...shape: readonly number[]) {
  return {
    shape,
    values: numbersOf(
      name,
      shape.reduce((all, size) => all * size, 1),
    ),
  };
}

export function draftTensors(tensors: Tensors, dtype: FloatDtype = "F32"): DraftTensor[] {
  return Object.entries(tensors).map(([key, { shape, values }]) =>
    draftTensor(key, shape, Float32Array.from(values), dtype),
  );
}

export function safetensors(
  tensors: Tensors,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  return safetensorsOf(draftTensors(tensors), metadata);
}

/** Files of a PEFT folder; keys without `base_model.model.`. */
export function peftFolder(config: object, tensors: Tensors, prefix = "base_model.model."): Record<string, Uint8Array> {
  const named = Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [prefix + key, tensor]));
  return {
    "adapter_config.json": new TextEncoder().encode(JSON.stringify(config)),
    "adapter_model.safetensors": safetensors(named),
  };
}

export function openFiles(files: Readonly<Record<string, Uint8Array>>, label = "adapter"): Promise<Adapter> {
  return openAdapter(label, memoryFolder(files));
}

/** Fails unless `work` throws this error, and returns it. */
export async function rejects(code: ErrorCode, work: () => unknown): Promise<MergewrightError> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof MergewrightError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`expected ${code}`);
}
