import { MergewrightError } from "../../errors.js";
import { methods as catalogue } from "../../methods/catalogue.js";
import type { Method, MethodDeclaration } from "../../methods/method.js";
import { loadMethods } from "../../platform/node/own_methods.js";
import { nearest, oneOf } from "../../recipe/issues.js";
import { methodManual } from "../../report/manual.js";
import { showMarkdown } from "../markdown.js";
import { table } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

export async function methods({ positionals: [name], flags, terminal }: Given): Promise<Outcome> {
  const all = [...catalogue, ...(await loadMethods(flags.use ?? []))];
  if (name === undefined) {
    return { exitCode: 0, json: { methods: all.map(declarationOf) }, text: () => listOf(all, terminal) };
  }
  const method = all.find((one) => one.name === name.split("/")[0]) ?? fail(name, all);
  return {
    exitCode: 0,
    json: declarationOf(method),
    text: () => showMarkdown(methodManual(method).trimEnd(), terminal),
  };
}

function listOf(all: readonly Method[], terminal: Terminal): string {
  const columns = [{ head: "method" }, { head: "what it does" }, { head: "base" }, { head: "dialects" }];
  const rows = all.map(({ name, title, base, dialects }) => [name, title, base, Object.keys(dialects).join(", ")]);
  return `${table(columns, rows, terminal)}\n\nmergewright methods NAME shows the formula, the parameters and an example.`;
}

/** What a method says of itself, without its functions. */
function declarationOf(method: Method): MethodDeclaration & { readonly grain: string } {
  const { name, title, paper, description, base, models, parameters, dialects, inputs, grain, counters } = method;
  return { name, title, paper, description, base, models, parameters, dialects, inputs, grain, counters };
}

function fail(name: string, all: readonly Method[]): never {
  const known = all.map((method) => method.name);
  const close = nearest(name, known);
  throw new MergewrightError(`unknown method ${name}`, {
    kind: "request",
    code: "recipe/unknown-method",
    where: { key: "mergewright methods" },
    expected: oneOf(known),
    advice: close === undefined ? "mergewright methods lists them" : `write ${close}`,
  });
}
