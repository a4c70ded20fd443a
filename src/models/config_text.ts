/** Changes single values in the text of a JSON file, so that everything else stays as it is written. */

/**
 * Sets a value.
 * @param path keys from the root on; a last key that is not there is added to its object, whose own keys must be there.
 * @param value as JSON text.
 * @returns `null` where an object of the path is not there.
 */
export function setValue(text: string, path: readonly string[], value: string): string | null {
  let span: Span | null = { start: skipSpace(text, 0), end: text.length };
  for (const [depth, key] of path.entries()) {
    const found: Span | null = findKey(text, span.start, key);
    if (found === null) {
      if (depth < path.length - 1 || text[span.start] !== "{") return null;
      const rest = text.slice(span.start + 1);
      const indent = /^\s*\n([ \t]*)/.exec(rest);
      const separator = /^\s*\}/.test(rest) ? "" : ",";
      const line = `${indent === null ? "" : `\n${indent[1]}`}${JSON.stringify(key)}: ${value}${separator}`;
      return text.slice(0, span.start + 1) + line + rest;
    }
    span = found;
  }
  return text.slice(0, span.start) + value + text.slice(span.end);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** The span of the value that an object at `start` has under a key; the last one counts, as in every JSON reader. */
function findKey(text: string, start: number, wanted: string): Span | null {
  if (text[start] !== "{") return null;
  let found: Span | null = null;
  let at = skipSpace(text, start + 1);
  while (at < text.length && text[at] === '"') {
    const keyEnd = endOf(text, at);
    const key: unknown = JSON.parse(text.slice(at, keyEnd));
    const value = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = endOf(text, value);
    if (key === wanted) found = { start: value, end };
    at = skipSpace(text, end);
    if (text[at] !== ",") break;
    at = skipSpace(text, at + 1);
  }
  return found;
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && /\s/.test(text[at]!)) at++;
  return at;
}

/** Behind the value that begins at `at`; the text is known to be JSON (or what Python writes). */
function endOf(text: string, at: number): number {
  if (text[at] === '"') {
    for (let end = text.indexOf('"', at + 1); end !== -1; end = text.indexOf('"', end + 1)) {
      let escapes = 0;
      while (text[end - 1 - escapes] === "\\") escapes++;
      if (escapes % 2 === 0) return end + 1;
    }
    return text.length;
  }
  if (text[at] !== "{" && text[at] !== "[") {
    while (at < text.length && !/[,\]}\s]/.test(text[at]!)) at++;
    return at;
  }
  let depth = 0;
  for (; at < text.length; at++) {
    const character = text[at]!;
    if (character === '"') at = endOf(text, at) - 1;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth === 0) return at + 1;
  }
  return at;
}
