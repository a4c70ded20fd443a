/** Collects what is wrong with a recipe, so that one run reports all of it; and the words for saying it. */

import leven from "leven";
import { type ErrorDetails, MergewrightError, type Where } from "../errors.js";
import type { Node } from "./tree.js";

/** Beyond this, a report helps nobody. */
const MOST_ISSUES = 20;
/** Words longer than this get no suggestion (the edit distance takes time in proportion to their lengths). */
const LONGEST_SUGGESTED = 64;

export type IssueDetails = Omit<ErrorDetails, "kind" | "cause">;

export class Issues {
  readonly #errors: MergewrightError[] = [];
  #more = 0;

  /** Further issues are counted, not described. */
  get full(): boolean {
    return this.#errors.length >= MOST_ISSUES;
  }

  add(summary: string, details: IssueDetails): void {
    if (this.full) this.count();
    else this.#errors.push(issue(summary, details));
  }

  /** One more issue that is not described. */
  count(): void {
    this.#more++;
  }

  /** What is found in a part of the recipe: told with the place of that part before each key. */
  within(path: string): Issues {
    return new IssuesWithin(this, path);
  }

  /** One error for all: code, place and first line are those of the first in the file. */
  throwIfAny(): void {
    const [first, ...others] = this.#errors.toSorted(byPlace);
    if (first === undefined) return;
    const more = others.map((error) => error.message);
    if (this.#more > 0) more.push(`and ${this.#more} more`);
    first.message = [first.message, ...more].join("\n\n");
    throw first;
  }
}

class IssuesWithin extends Issues {
  readonly #whole: Issues;
  readonly #path: string;

  constructor(whole: Issues, path: string) {
    super();
    this.#whole = whole;
    this.#path = path;
  }

  override get full(): boolean {
    return this.#whole.full;
  }

  override add(summary: string, details: IssueDetails): void {
    this.#whole.add(summary, { ...details, where: within(this.#path, details.where ?? {}) });
  }

  override count(): void {
    this.#whole.count();
  }
}

/** A place inside a part of a recipe, as a place of the whole. */
export function within(path: string, where: Where): Where {
  return { ...where, key: where.key === undefined ? path : `${path}.${where.key}` };
}

export function issue(summary: string, details: IssueDetails): MergewrightError {
  return new MergewrightError(summary, { kind: "request", ...details });
}

function byPlace(a: MergewrightError, b: MergewrightError): number {
  const far = Number.MAX_SAFE_INTEGER;
  return (a.where.line ?? far) - (b.where.line ?? far) || (a.where.column ?? far) - (b.where.column ?? far);
}

/** `found` for a node, short and in words. */
export function show(node: Node): string {
  if (node.kind === "list") return node.items.length === 0 ? "an empty list" : "a list";
  if (node.kind === "dictionary") return node.entries.length === 0 ? "an empty map" : "a map";
  if (node.value === null) return "nothing";
  return typeof node.value === "string" ? quote(node.text) : printable(node.text);
}

/** The same in quotes. */
export function quote(text: string): string {
  return `"${printable(text).replaceAll('"', '\\"')}"`;
}

/** A text from outside, shortened, with nothing in it that could steer a terminal. */
export function printable(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return short.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** `a, b or c`. */
export function oneOf(words: readonly string[]): string {
  if (words.length === 0) return "nothing";
  if (words.length === 1) return words[0]!;
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)!}`;
}

/** The known word that was probably meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length === 0 || word.length > LONGEST_SUGGESTED) return undefined;
  const asked = normal(word);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const told = normal(candidate);
    const begins = asked.length >= 3 && (told.startsWith(asked) || asked.startsWith(told));
    const distance = begins ? 0.5 : isSwap(asked, told) ? 1 : leven(asked, told);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Two neighbouring letters in the wrong order, which the edit distance counts as two mistakes. */
function isSwap(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at < a.length && a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2);
}

function normal(word: string): string {
  return word.toLowerCase().replaceAll(/[-_ ]/g, "");
}
