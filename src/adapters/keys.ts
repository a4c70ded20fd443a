/**
 * Names of tensors in adapter files. PEFT strips the adapter's name from them when it saves; files saved otherwise may
 * still have it, as in `q_proj.lora_A.default.weight`. Source: peft 0.21.2, utils/save_and_load.py.
 */

/** What a tensor is to its module. */
export type Part = "a" | "b" | "bias" | "magnitude" | "embedding-a" | "embedding-b" | "ia3" | "tokens" | "whole";

export interface Key {
  readonly part: Part;
  /** Of the module; of a whole tensor the tensor's own name. */
  readonly path: string;
}

const PREFIX = /^(?:base_model\.model\.|base_model\.)?/;
/** An adapter's name in a key; `weight` and `bias` are none. */
const NAME = "(?:\\.(?!weight$|bias$)[^.]+)?";

const PARTS: readonly (readonly [RegExp, Part])[] = [
  [new RegExp(`^(.*)\\.lora_A${NAME}\\.weight$`), "a"],
  [new RegExp(`^(.*)\\.lora_B${NAME}\\.weight$`), "b"],
  [new RegExp(`^(.*)\\.lora_B${NAME}\\.bias$`), "bias"],
  [new RegExp(`^(.*)\\.lora_embedding_A${NAME}$`), "embedding-a"],
  [new RegExp(`^(.*)\\.lora_embedding_B${NAME}$`), "embedding-b"],
  [new RegExp(`^(.*)\\.lora_magnitude_vector${NAME}(?:\\.weight)?$`), "magnitude"],
  [new RegExp(`^(.*)\\.ia3_l${NAME}$`), "ia3"],
  [new RegExp(`^(.*?)(?:\\.token_adapter)?\\.trainable_tokens_delta${NAME}$`), "tokens"],
  [/^(.*)\.modules_to_save\.[^.]+\.((?:[^.]+\.)*[^.]+)$/, "whole"],
];

/** Fragments that only tensors of adapters have; a name with one that no pattern matches is not understood. */
const FRAGMENTS =
  /\.(?:lora_|ia3_|hada_|lokr_|oft_|boft_|vera_|trainable_tokens_|modules_to_save|original_module|internal_)/;

/** @returns `null` for a name that is part of an adapter of a kind that is not read. */
export function readKey(key: string): Key | null {
  const name = key.replace(PREFIX, "");
  for (const [pattern, part] of PARTS) {
    const match = pattern.exec(name);
    if (match !== null) return { part, path: match.slice(1).join(".") };
  }
  if (FRAGMENTS.test(name)) return null;
  // What PEFT saves of an embedding that it wraps.
  return { part: "whole", path: name.replace(/\.(?:base_layer|token_adapter\.base_layer)\.(weight|bias)$/, ".$1") };
}
