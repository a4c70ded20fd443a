/** Which tensors have one row per token. */

import { MergewrightError } from "../errors.js";
import { roleOf, tiedGroups } from "../models/families.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { isFloat } from "../numbers/dtypes.js";
import { tokenizerDefect } from "./json.js";

/** What the config says about the size of the vocabulary; of a network that contains a language model, of that. */
export function configuredRows({ config }: Checkpoint): number | null {
  const own = config?.["vocab_size"];
  if (typeof own === "number") return own;
  const inner = config?.["text_config"];
  const size = typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)["vocab_size"] : null;
  return typeof size === "number" ? size : null;
}

/** Names of the tensors of all checkpoints that are known to have one row per token. */
export function vocabularyNames(checkpoints: readonly Checkpoint[]): readonly string[] {
  const names = new Set<string>();
  for (const checkpoint of checkpoints) {
    for (const [name, { dtype, shape }] of checkpoint.tensors) {
      if (shape.length > 0 && isFloat(dtype) && roleOf(name) === "vocabulary") names.add(name);
    }
  }
  for (const name of namesBySize(checkpoints)) names.add(name);
  return [...names];
}

/**
 * Tensors that no family names, but whose first dimension is each checkpoint's own vocabulary, where no other number of
 * any config explains it.
 */
function namesBySize(checkpoints: readonly Checkpoint[]): string[] {
  const sizes = checkpoints.map(configuredRows);
  if (sizes.some((size, i) => size === null || explainedElsewhere(checkpoints[i]!, size))) return [];
  const [first] = checkpoints;
  return [...first!.tensors.keys()].filter((name) =>
    checkpoints.every(({ tensors }, i) => {
      const tensor = tensors.get(name);
      return tensor !== undefined && isFloat(tensor.dtype) && tensor.shape[0] === sizes[i];
    }),
  );
}

function explainedElsewhere({ config }: Checkpoint, size: number): boolean {
  const parts = [config, config?.["text_config"]].filter((part) => typeof part === "object" && part !== null);
  return parts.some((part) => Object.entries(part).some(([key, value]) => value === size && key !== "vocab_size"));
}

/** A tensor of a checkpoint, or the one that it is tied to. */
export function findTied(checkpoint: Checkpoint, name: string, names: readonly string[]): StoredTensor | null {
  const own = checkpoint.tensors.get(name);
  if (own !== undefined) return own;
  const all = new Set([...checkpoint.tensors.keys(), ...names]);
  for (const { primary, aliases } of tiedGroups(checkpoint.config, all)) {
    const group = [primary, ...aliases];
    if (!group.includes(name)) continue;
    for (const other of group) {
      const stored = checkpoint.tensors.get(other);
      if (stored !== undefined) return stored;
    }
  }
  return null;
}

/**
 * Rows of a checkpoint's vocabulary tensors: the config's number where tensors have it, else what they say themselves.
 * @throws checkpoint/tokenizer where there are none, or they disagree.
 */
export function vocabularyRows(checkpoint: Checkpoint, names: readonly string[]): number {
  const rows = new Map<number, string>();
  for (const name of names) {
    const tensor = checkpoint.tensors.get(name);
    if (tensor !== undefined) rows.set(tensor.shape[0]!, name);
  }
  const configured = configuredRows(checkpoint);
  if (configured !== null && rows.has(configured)) return configured;
  const [only, second] = rows.keys();
  if (only !== undefined && second === undefined) return only;
  throw tokenizerDefect("the size of the vocabulary cannot be told", checkpoint.label, {
    expected: "an embedding with one row per token",
    found:
      only === undefined
        ? "no embedding that is known as such"
        : [...rows].map(([size, name]) => `${size} rows in ${name}`).join(", "),
    advice: "set vocab_size in config.json to the number of rows of the embedding",
  });
}

export function widthsDiffer(name: string, a: Checkpoint, b: Checkpoint, shapes: readonly string[]): MergewrightError {
  return new MergewrightError("vocabulary tensors differ in more than the vocabulary", {
    kind: "request",
    code: "plan/shape",
    where: { file: b.label, tensor: name },
    expected: `${shapes[0]!}, as in ${a.label}`,
    found: shapes[1]!,
    advice: "merge models of the same width",
  });
}
