/** Spreads tensors over files the way transformers does, with the index that tells which file holds which tensor. */

import { MergewrightError } from "../../errors.js";
import type { TensorSpec } from "./layout.js";
import { bytesOf } from "./size.js";
import { printable } from "./text.js";

export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

export interface Shards<Tensor extends TensorSpec> {
  readonly files: readonly { readonly name: string; readonly tensors: readonly Tensor[] }[];
  /** `model.safetensors.index.json`; `null` for a single file, which needs none. */
  readonly index: { readonly name: string; readonly text: string } | null;
}

/**
 * Fills files in the order given: `model.safetensors`, or `model-00001-of-0000N.safetensors` and an index. A tensor
 * larger than `maxBytes` has a file to itself.
 *
 * @param maxBytes the most tensor data a file holds.
 */
export function shardTensors<Tensor extends TensorSpec>(tensors: readonly Tensor[], maxBytes: number): Shards<Tensor> {
  const groups: Tensor[][] = [[]];
  let totalSize = 0;
  let size = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor.dtype, tensor.shape);
    if (bytes === null) {
      throw new MergewrightError("a tensor is larger than any file", {
        kind: "request",
        code: "safetensors/limit",
        where: { tensor: printable(tensor.name) },
      });
    }
    if (size + bytes > maxBytes && groups.at(-1)!.length > 0) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)!.push(tensor);
    size += bytes;
    totalSize += bytes;
  }
  if (groups.length === 1) return { files: [{ name: SINGLE_FILE, tensors: groups[0]! }], index: null };
  const files = groups.map((group, index) => ({ name: shardName("model", index + 1, groups.length), tensors: group }));
  return { files, index: { name: INDEX_FILE, text: indexText(files, totalSize) } };
}

/** `model-00002-of-00004.safetensors` for stem `model`, shard 2 of 4. */
export function shardName(stem: string, shard: number, of: number): string {
  return `${stem}-${fiveDigits(shard)}-of-${fiveDigits(of)}.safetensors`;
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, "0");
}

/** Written by hand: an object would put names that look like numbers first. */
function indexText(
  files: readonly { readonly name: string; readonly tensors: readonly TensorSpec[] }[],
  totalSize: number,
): string {
  const lines = files
    .flatMap(({ name: file, tensors }) => tensors.map(({ name }) => ({ name, file })))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, file }) => `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`);
  return `{
  "metadata": {
    "total_size": ${totalSize}
  },
  "weight_map": {
${lines.join(",\n")}
  }
}
`;
}
