import { MergewrightError } from "../../errors.js";
import { findMethod, methods as catalogue } from "../../methods/catalogue.js";
import type { Method, MethodDeclaration } from "../../methods/method.js";
import { nearest, oneOf } from "../../recipe/issues.js";
import { methodManual } from "../../report/manual.js";
import { showMarkdown } from "../markdown.js";
import { table } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verbs.js";

export async function methods({ positionals: [name], terminal }: Given): Promise<Outcome> {
  if (name === undefined) {
    return { exitCode: 0, json: { methods: catalogue.map(declarationOf) }, text: () => listOf(terminal) };
  }
  const method = findMethod(name.split("/")[0]!) ?? fail(name);
  return {
    exitCode: 0,
    json: declarationOf(method),
    text: () => showMarkdown(methodManual(method).trimEnd(), terminal),
  };
}

function listOf(terminal: Terminal): string {
  const columns = [{ head: "method" }, { head: "what it does" }, { head: "base" }, { head: "dialects" }];
  const rows = catalogue.map(({ name, title, base, dialects }) => [
    name,
    title,
    base,
    Object.keys(dialects).join(", "),
  ]);
  return `${table(columns, rows, terminal)}\n\nmergewright methods NAME shows the formula, the parameters and an example.`;
}

/** What a method says of itself, without its functions. */
function declarationOf(method: Method): MethodDeclaration & { readonly grain: string } {
  const { name, title, paper, description, base, models, parameters, dialects, inputs, grain, counters } = method;
  return { name, title, paper, description, base, models, parameters, dialects, inputs, grain, counters };
}

function fail(name: string): never {
  const known = catalogue.map((method) => method.name);
  const close = nearest(name, known);
  throw new MergewrightError(`unknown method ${name}`, {
    kind: "request",
    code: "recipe/unknown-method",
    where: { key: "mergewright methods" },
    expected: oneOf(known),
    advice: close === undefined ? "mergewright methods lists them" : `write ${close}`,
  });
}
