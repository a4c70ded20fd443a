/** JSON of tokenizers: read with a name for every defect, written as Python's json module writes it. */

import { MergewrightError, type ErrorDetails } from "../errors.js";
import { printable } from "../formats/safetensors/text.js";
import type { SideFile } from "../models/model.js";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param file label of the checkpoint, a slash and the file's name. */
export function tokenizerDefect(summary: string, file: string, details: Partial<ErrorDetails> = {}): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code: "checkpoint/tokenizer",
    where: { file },
    ...details,
  });
}

/** @throws checkpoint/tokenizer */
export async function readText(file: SideFile, label: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.read());
  } catch (cause) {
    if (cause instanceof MergewrightError) throw cause;
    throw tokenizerDefect("a file is not UTF-8 text", `${label}/${file.name}`, {
      advice: "download it again",
      cause,
    });
  }
}

/** An object of JSON. @throws checkpoint/tokenizer */
export async function readObject(file: SideFile, label: string): Promise<JsonObject> {
  return parseObject(await readText(file, label), `${label}/${file.name}`);
}

/** @param place of the text, for messages. @throws checkpoint/tokenizer */
export function parseObject(text: string, place: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw tokenizerDefect("a file is not valid JSON", place, {
      found: printable(cause instanceof Error ? cause.message : String(cause)),
      advice: "download it again",
      cause,
    });
  }
  if (isObject(value)) return value;
  throw tokenizerDefect("a file does not hold an object", place, { expected: "{…}", advice: "download it again" });
}

/** Indented by two spaces; a list of texts in one line. A `Map` is an object whose keys keep their order; whole numbers are written in full. */
export function jsonText(value: unknown, indent = ""): string {
  if (typeof value === "number" && Number.isInteger(value) && !Object.is(value, -0)) return BigInt(value).toString();
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item === "string"))
      return `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
    return `[\n${value.map((item) => inner + jsonText(item, inner)).join(",\n")}\n${indent}]`;
  }
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const lines = entries
    .filter(([, item]) => item !== undefined)
    .map(([key, item]) => `${inner}${JSON.stringify(key)}: ${jsonText(item, inner)}`);
  return lines.length === 0 ? "{}" : `{\n${lines.join(",\n")}\n${indent}}`;
}
