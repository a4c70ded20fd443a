/** A model's tokenizer at work, through the maintained library. */

import { printable } from "../formats/safetensors/text.js";
import type { Checkpoint } from "../models/model.js";
import { jsonText } from "../tokenizers/json.js";
import { readTokenizer } from "../tokenizers/read.js";
import { taskDefect } from "./defect.js";
import { sha256 } from "./fingerprint.js";
import type { Begin, Task } from "./task.js";

export interface Encoder {
  /** What of it results depend on. */
  readonly fingerprint: string;
  /** Ids of a text, without what a model puts around texts. */
  encode(text: string): number[];
  /** Ids of a text or a pair as a classifier wants them, and which of the two each token is of. */
  wrap(text: string, pair: string | null): { readonly ids: number[]; readonly segments: number[] };
  /** The text of ids, without special tokens. */
  decode(ids: readonly number[]): string;
  idOf(token: string): number | undefined;
  /** The text of the token that begins documents, as tokenizer_config.json says. */
  readonly beginToken: string | null;
  /** The same of the token that ends them. */
  readonly endToken: string | null;
}

/** Keys that older files leave out. */
const PARTS = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };

interface Library {
  encode(
    text: string,
    options: { text_pair?: string | null; add_special_tokens: boolean; return_token_type_ids?: true },
  ): { ids: number[]; token_type_ids?: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
}

/** @throws checkpoint/tokenizer where the model has none; tasks/model where the library cannot read it. */
export async function openEncoder(task: Task, model: Checkpoint): Promise<Encoder> {
  const { json, config } = await readTokenizer(model);
  const { Tokenizer } = await import("@huggingface/tokenizers");
  let library: Library;
  try {
    library = new Tokenizer({ ...PARTS, ...json }, { ...config, clean_up_tokenization_spaces: false });
  } catch (cause) {
    throw taskDefect(task, "tasks/model", "the model's tokenizer cannot be used", {
      where: { file: `${model.label}/tokenizer.json` },
      found: printable(cause instanceof Error ? cause.message : String(cause)),
      cause,
    });
  }
  const textOf = (token: unknown) => (typeof token === "string" ? token : null);
  return {
    fingerprint: await sha256(jsonText([json, config])),
    encode: (text) => library.encode(text, { add_special_tokens: false }).ids,
    wrap(text, pair) {
      const encoded = library.encode(text, { text_pair: pair, add_special_tokens: true, return_token_type_ids: true });
      return { ids: encoded.ids, segments: encoded.token_type_ids ?? encoded.ids.map(() => 0) };
    },
    // The library refuses to decode nothing.
    decode: (ids) =>
      ids.length === 0
        ? ""
        : library.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
    idOf: (token) => library.token_to_id(token),
    beginToken: textOf(config?.["bos_token"]),
    endToken: textOf(config?.["eos_token"]),
  };
}

/** The token before a text, or `null` for none. */
export function beginOf(task: Task, begin: Begin, encoder: Encoder, model: Checkpoint): number | null {
  return tokenOf(task, "begin", begin, encoder, model);
}

/** The token behind a text, or `null` for none. */
export function endOf(task: Task, end: Begin, encoder: Encoder, model: Checkpoint): number | null {
  return tokenOf(task, "end", end, encoder, model);
}

function tokenOf(
  task: Task,
  place: "begin" | "end",
  wanted: Begin,
  encoder: Encoder,
  { config, label }: Checkpoint,
): number | null {
  if (wanted.kind === "none") return null;
  if (wanted.kind === "model") {
    const written = config?.[place === "begin" ? "bos_token_id" : "eos_token_id"];
    // Models with several ends name the usual one first.
    const id: unknown = Array.isArray(written) ? written[0] : written;
    if (typeof id === "number") return id;
    const token = place === "begin" ? encoder.beginToken : encoder.endToken;
    return token === null ? null : (encoder.idOf(token) ?? null);
  }
  const id = encoder.idOf(wanted.text);
  if (id !== undefined) return id;
  throw taskDefect(task, "tasks/model", `the token that a text is to ${place} with is not in the vocabulary`, {
    where: { file: label },
    expected: "the text of a token, or none",
    found: printable(wanted.text),
    advice: `change ${place}: in the task`,
  });
}
