/**
 * A recipe before it is understood: scalars, lists and dictionaries, each with its place. Both a YAML file and
 * command-line flags become such a tree, so that one validator (build.ts) serves both.
 */

import type { Where } from "../errors.js";

export type Node = Scalar | List | Dictionary;

export interface Scalar {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  /** As written, without quotes: a path `007` stays `007` although its value is the number 7. */
  readonly text: string;
  readonly quoted: boolean;
  readonly where: Where;
}

export interface List {
  readonly kind: "list";
  readonly items: readonly Node[];
  readonly where: Where;
}

export interface Dictionary {
  readonly kind: "dictionary";
  /** In the order written; keys are unique. */
  readonly entries: readonly Entry[];
  readonly where: Where;
}

export interface Entry {
  readonly key: string;
  /** Of the key. */
  readonly where: Where;
  readonly node: Node;
}

export function scalar(text: string, where: Where): Scalar {
  return { kind: "scalar", value: text, text, quoted: true, where };
}

/** A plain scalar as YAML 1.2's core schema reads it; for values that come from flags. */
export function plainScalar(text: string, where: Where): Scalar {
  return { kind: "scalar", value: plainValue(text.trim()), text: text.trim(), quoted: false, where };
}

function plainValue(text: string): Scalar["value"] {
  if (/^(?:null|~|)$/i.test(text)) return null;
  if (/^(?:true|false)$/i.test(text)) return text.toLowerCase() === "true";
  return readDecimal(text) ?? text;
}

export function list(items: readonly Node[], where: Where): List {
  return { kind: "list", items, where };
}

export function dictionary(entries: readonly Entry[], where: Where): Dictionary {
  return { kind: "dictionary", entries, where };
}

export function entryOf(node: Node | undefined, key: string): Entry | undefined {
  return node?.kind === "dictionary" ? node.entries.find((entry) => entry.key === key) : undefined;
}

/** The dictionary with `key` replaced in place, or added at its end. */
export function withEntry(from: Dictionary, entry: Entry): Dictionary {
  const known = from.entries.some(({ key }) => key === entry.key);
  const entries = known ? from.entries.map((old) => (old.key === entry.key ? entry : old)) : [...from.entries, entry];
  return { ...from, entries };
}

export function withoutEntry(from: Dictionary, key: string): Dictionary {
  return { ...from, entries: from.entries.filter((entry) => entry.key !== key) };
}

/** A decimal number in full, e.g. `0.2`, `.5`, `1e-5`; anything else is `undefined`. */
export function readDecimal(text: string): number | undefined {
  return /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/.test(text) ? Number(text) : undefined;
}
