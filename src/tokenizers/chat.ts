/** The chat template of the result, and where the files keep it. */

import { BUILT_IN_TEMPLATES } from "../recipe/chat_templates.js";
import type { SideFile } from "../models/model.js";
import { madeFile } from "./files.js";
import { jsonText, readObject } from "./json.js";
import { shown } from "./read.js";

/**
 * What `chat_template` of a recipe means: `auto` is the most common template of the inputs, the first of equally common
 * ones; a name is a built-in; anything else is the template itself.
 * @param templates of the inputs, the base first; `null` where one has none.
 * @returns `null` for `auto` where no input has a template.
 */
export function chooseTemplate(wish: string, templates: readonly (string | null)[]): string | null {
  if (wish !== "auto") return BUILT_IN_TEMPLATES[wish] ?? wish;
  const counts = new Map<string, number>();
  for (const template of templates) if (template !== null) counts.set(template, (counts.get(template) ?? 0) + 1);
  const most = Math.max(0, ...counts.values());
  return [...counts].find(([, count]) => count === most)?.[0] ?? null;
}

/** Writes a template wherever versions of transformers look for it, so that none sees an old one. */
export async function withTemplate(
  files: readonly SideFile[],
  template: string,
  label: string,
): Promise<readonly SideFile[]> {
  const made = [madeFile("chat_template.jinja", template)];
  for (const name of ["tokenizer_config.json", "chat_template.json"]) {
    const file = files.find((known) => known.name === name);
    if (file === undefined) continue;
    const values = file.text === undefined ? await readObject(file, label) : JSON.parse(file.text);
    made.push(madeFile(name, `${jsonText({ ...values, chat_template: template })}\n`));
  }
  const names = new Set(made.map(({ name }) => name));
  return [...files.filter(({ name }) => !names.has(name)), ...made];
}

/** Marks of a conversation that a template writes as text and the tokenizer does not know as tokens. */
export function warnOfTemplate(template: string, isToken: (token: string) => boolean): string[] {
  const marks = new Set(template.match(/<\|[\w-]+\|>/g));
  const unknown = [...marks].filter((mark) => !isToken(mark));
  if (unknown.length === 0) return [];
  return [
    `the chat template writes ${unknown.map(shown).join(", ")}, which ${unknown.length === 1 ? "is no token" : "are no tokens"} ` +
      "of the result; add them under tokenizer: tokens:, or choose another template",
  ];
}
