/**
 * The keys of rank_pattern and alpha_pattern: regular expressions that match the end of a module's path from the
 * beginning of one of its names on, the first in the file's order. Source: peft 0.21.2, utils/other.py, get_pattern_key.
 *
 * The file is data from anywhere, so expressions that could take forever are refused.
 */
import { defect } from "./defect.js";

const LONGEST = 512;
const MOST_QUANTIFIERS = 4;

export type PatternMatch = <Value>(patterns: Readonly<Record<string, Value>>, path: string) => Value | undefined;

/** @param file for messages. @returns a function that finds the value for a path; `undefined`: none matches. */
export function patternMatcher(file: string): PatternMatch {
  const known = new Map<string, RegExp>();
  const compiled = (key: string) => {
    let expression = known.get(key);
    if (expression === undefined) known.set(key, (expression = compile(key, file)));
    return expression;
  };
  return (patterns, path) => {
    for (const key of Object.keys(patterns)) if (compiled(key).test(path)) return patterns[key];
    return undefined;
  };
}

function compile(key: string, file: string): RegExp {
  const refuse = (found: string, cause?: unknown) =>
    defect("adapter/config", "a pattern of adapter_config.json cannot be used", {
      where: { file, key },
      expected: `a regular expression of at most ${LONGEST} characters and ${MOST_QUANTIFIERS} repetitions, none of them of a group`,
      found,
      advice: "write the module's path instead",
      cause,
    });
  if (key.length > LONGEST) throw refuse(`${key.length} characters`);
  const plain = key.replaceAll(/\\./g, "");
  if (/\)[*+{]/.test(plain) || /\\[1-9]|\(\?/.test(key)) throw refuse("a repeated group, a reference or an assertion");
  if ((plain.match(/[*+{]/g) ?? []).length > MOST_QUANTIFIERS) throw refuse("more repetitions");
  try {
    return new RegExp(`^(?:.*\\.)?(?:${key})$`);
  } catch (cause) {
    throw refuse("what is no regular expression in JavaScript", cause);
  }
}
