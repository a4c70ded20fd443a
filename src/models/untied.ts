/**
 * Checkpoints of which some tie their head to the embedding and others have trained a head of its own. The result gets a
 * head: a tied model's is its embedding, and no config says any more that they are one, or readers would ignore it.
 */

import { setValue } from "./config_text.js";
import { configValues } from "./checkpoint.js";
import { embeddingsAreTied, tiedGroups } from "./families.js";
import type { Checkpoint, StoredTensor } from "./model.js";

/** @returns the checkpoints with the same heads; the same ones where nothing is to do. */
export function withOwnHeads(checkpoints: readonly Checkpoint[]): readonly Checkpoint[] {
  const untied = checkpoints.filter(({ config }) => config !== null && !embeddingsAreTied(config));
  const heads = new Set(untied.flatMap(({ tensors }) => [...tensors.keys()]));
  return checkpoints.map((checkpoint) => {
    if (!embeddingsAreTied(checkpoint.config)) return checkpoint;
    const lent = lentTensors(checkpoint, heads);
    return lent === null ? checkpoint : untie(checkpoint, lent);
  });
}

/** Tensors that a tied checkpoint has only by its ties and others have as their own; `null` where no tie is undone. */
function lentTensors({ config, tensors }: Checkpoint, heads: ReadonlySet<string>): StoredTensor[] | null {
  const flag = (said: boolean) => ({ ...config, tie_word_embeddings: said });
  const names = new Set([...tensors.keys(), ...heads]);
  const always = new Set(tiedGroups(flag(false), names).flatMap(({ aliases }) => aliases));
  const lent: StoredTensor[] = [];
  let undone = false;
  for (const { primary, aliases } of tiedGroups(config, names)) {
    const group = [primary, ...aliases];
    const stored = group.map((name) => tensors.get(name)).find((tensor) => tensor !== undefined);
    for (const name of aliases) {
      if (stored === undefined || always.has(name) || !heads.has(name) || !heads.has(primary)) continue;
      undone = true;
      if (!tensors.has(name)) lent.push({ ...stored, name });
    }
  }
  return undone ? lent : null;
}

function untie(checkpoint: Checkpoint, lent: readonly StoredTensor[]): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  for (const tensor of lent) tensors.set(tensor.name, tensor);
  const inner = checkpoint.config!["text_config"];
  const isInner = typeof inner === "object" && inner !== null && "tie_word_embeddings" in inner;
  let text = checkpoint.configText!;
  if (isInner) text = setValue(text, ["text_config", "tie_word_embeddings"], "false") ?? text;
  text = setValue(text, ["tie_word_embeddings"], "false") ?? text;
  return {
    ...checkpoint,
    tensors,
    config: configValues(text),
    configText: text,
    notes: [
      ...checkpoint.notes,
      "its head is tied to its embedding, but another model has a head of its own; the result has one, and " +
        "tie_word_embeddings is false",
    ],
  };
}
