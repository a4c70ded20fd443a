/** Numbers of tokens and of rows in config.json and generation_config.json of the result. */

import { configValues } from "../models/checkpoint.js";
import { setValue } from "../models/config_text.js";
import type { Checkpoint, SideFile } from "../models/model.js";
import { madeFile } from "./files.js";
import { isObject, jsonText } from "./json.js";
import type { JsonObject } from "./json.js";
import type { Member, Vocabulary } from "./vocabulary.js";

/** Keys whose value is the number of a token, or a list of such numbers. */
const TOKEN_NUMBER = /_token_(id|index)s?$|^(begin_)?suppress_tokens$/;
const ENDS: ReadonlySet<string> = new Set(["bos_token_id", "eos_token_id", "pad_token_id"]);

/** @returns config and its text with the rows of the vocabulary and with the tokens' new numbers. */
export function configOf(
  own: Member,
  vocabulary: Vocabulary,
  warnings: string[],
): Pick<Checkpoint, "config" | "configText"> {
  const { config, configText } = own.checkpoint;
  if (config === null) return { config, configText };
  let text = configText!;
  for (const path of [[], ["text_config"]]) {
    const part = path.length === 0 ? config : config["text_config"];
    if (!isObject(part)) continue;
    if (typeof part["vocab_size"] === "number" || (path.length === 0 && !isObject(config["text_config"]))) {
      text = setValue(text, [...path, "vocab_size"], String(vocabulary.rows)) ?? text;
    }
    for (const [key, value] of renumbered(part, own, vocabulary, "config.json", warnings)) {
      text = setValue(text, [...path, key], jsonText(value)) ?? text;
    }
  }
  return { config: configValues(text), configText: text };
}

/** The generation config of the tokenizer's model, else that of `own` with the tokens' new numbers. */
export async function generationConfig(
  own: Member,
  vocabulary: Vocabulary,
  warnings: string[],
): Promise<SideFile | null> {
  const { donor } = vocabulary;
  const find = ({ checkpoint }: Member) =>
    checkpoint.sideFiles.find(({ name }) => name === "generation_config.json") ?? null;
  const file = find(donor) ?? find(own);
  if (file === null || own === donor) return file;
  let text = new TextDecoder().decode(await file.read());
  if (find(donor) === null) {
    const values: unknown = JSON.parse(text);
    if (!isObject(values)) return file;
    for (const [key, value] of renumbered(values, own, vocabulary, file.name, warnings)) {
      text = setValue(text, [key], jsonText(value)) ?? text;
    }
  }
  return madeFile(file.name, text);
}

/** What changes: the same tokens under their new numbers; where a text ends as the tokenizer's model says. */
function renumbered(
  values: JsonObject,
  own: Member,
  { donor, tokens }: Vocabulary,
  file: string,
  warnings: string[],
): [key: string, value: unknown][] {
  if (own === donor) return [];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const renumber = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(renumber);
    const token = typeof value === "number" ? own.tokenizer.tokens[value] : undefined;
    return token === undefined ? value : (idOf.get(token) ?? null);
  };
  return Object.entries(values).flatMap(([key, value]): [string, unknown][] => {
    if (!TOKEN_NUMBER.test(key)) return [];
    const said = ENDS.has(key) ? donor.checkpoint.config?.[key] : undefined;
    const changed = said !== undefined && said !== null ? said : renumber(value);
    if (jsonText(changed) === jsonText(value)) return [];
    if (changed === null) warnings.push(`${file}: ${key} named a token that the result lacks, and is null`);
    return [[key, changed]];
  });
}
