/** The manual of a method, made from its declaration: `mergewright methods NAME` and docs/methods.md. */

import type { Method, Parameter, ParameterValue } from "../methods/method.js";
import { describeRange } from "../recipe/values.js";

/** One page in Markdown. `level` is that of its heading. */
export function methodManual(method: Method, level = 1): string {
  const heading = (depth: number, text: string) => `${"#".repeat(level + depth)} ${text}`;
  return `${[
    heading(0, method.name),
    `${method.title}.`,
    ...(method.paper === null ? [] : [paperLine(method.paper)]),
    fenced(method.description, "text"),
    requirements(method),
    heading(1, "Parameters"),
    parameterTable(method),
    ...choiceTables(method),
    ...section(heading(1, "Dialects"), dialectTable(method)),
    ...section(heading(1, "Counted in the report"), counterList(method)),
    heading(1, "Example"),
    fenced(exampleRecipe(method), "yaml"),
  ].join("\n\n")}\n`;
}

/** The methods in a table: name, what it is, base, number of models. */
export function methodList(methods: readonly Method[]): string {
  const rows = methods.map((method) => [
    `\`${method.name}\``,
    method.title,
    method.base,
    modelCount(method),
    Object.keys(method.dialects)
      .map((name) => `\`${name}\``)
      .join(", "),
  ]);
  return `${table(["method", "what it does", "base", "models", "dialects"], rows)}\n`;
}

const INTRODUCTION = `[choosing.md](choosing.md) says which method when, with numbers; [recipes.md](recipes.md) how to write a recipe.

theta_0 is the base, theta_i a model, tau_i = theta_i - theta_0 its change (task vector), w_i its weight; formulas hold for
every entry by itself unless they say otherwise. The arithmetic is f32 on entries and f64 or exact integers in sums over
entries; results are rounded once, to the output's format. \`lambda\` scales the merged change, and \`lines\` scales it by layer. A
dialect is a named set of parameter values, written behind a slash: \`ties/mergekit\`.`;

/** All of docs/methods.md. */
export function methodsPage(methods: readonly Method[]): string {
  const pages = methods.map((method) => methodManual(method, 2));
  const note = "<!-- Generated from src/methods; not to be edited. -->";
  return [`# Methods\n\n${note}\n\n${INTRODUCTION}\n\n${methodList(methods)}`, ...pages].join("\n");
}

/** A recipe that shows the method's own keys and parses as it stands. */
export function exampleRecipe(method: Method): string {
  const { parameters, models, base } = method;
  const [dialect] = Object.keys(method.dialects);
  const count = Math.min(Math.max(2, models.min), models.max ?? Infinity);
  const paths = Array.from({ length: count }, (_, index) => `./model-${index + 1}`);
  const last = paths.pop()!;
  const weight = parameters.weight?.per === "model" ? exampleWeight(parameters.weight) : null;
  const shared = Object.entries(parameters).filter(([name, { type }]) => name !== "weight" && type !== "checkpoint");
  const defaults = shared.map(([name, { default: value }]) => [name, value] as const);
  const kind = method.statistics?.kinds(Object.fromEntries(defaults))[0];
  const named = (path: string) =>
    `model: ${path}${kind === undefined ? "" : `, statistics: ${path}.${kind}.safetensors`}`;
  return [
    `method: ${method.name}${dialect === undefined ? "" : `/${dialect}`}`,
    ...(base === "required" ? ["base: ./base"] : []),
    "models:",
    ...paths.map((path) => (kind === undefined ? `  - ${path}` : `  - {${named(path)}}`)),
    weight === null && kind === undefined
      ? `  - ${last}`
      : `  - {${named(last)}${weight === null ? "" : `, weight: ${weight}`}}`,
    ...(shared.length === 0 ? [] : ["parameters:"]),
    ...shared.slice(0, 3).map(([name, parameter]) => `  ${name}: ${plain(valueIn(method, dialect, name, parameter))}`),
  ].join("\n");
}

function exampleWeight(parameter: Parameter): string | null {
  if (parameter.type !== "number" || parameter.integer === true) return null;
  const { min = 0, max = 1 } = parameter;
  return String(min <= 0.5 && max >= 0.5 ? 0.5 : parameter.default);
}

function valueIn(method: Method, dialect: string | undefined, name: string, parameter: Parameter): ParameterValue {
  const values = dialect === undefined ? {} : method.dialects[dialect]!.values;
  return Object.hasOwn(values, name) ? values[name]! : parameter.default;
}

/** A value as YAML; words without quotes where that is safe. */
function plain(value: ParameterValue): string {
  const word = typeof value === "string" && /^[a-z][\w-]*$/i.test(value) && !/^(?:null|true|false)$/i.test(value);
  return word ? value : JSON.stringify(value);
}

function paperLine({ title, authors, where }: NonNullable<Method["paper"]>): string {
  const id = /^arXiv[ :](\S+)$/.exec(where)?.[1];
  const place = id === undefined ? where : `[${where}](https://arxiv.org/abs/${id})`;
  return `Paper: *${title}*, ${authors}, ${place}`;
}

function requirements(method: Method): string {
  const base = {
    required: "Needs a base.",
    optional: "A base is optional.",
    unused: "Does not use a base.",
    member: "A base is optional; where given, it is one of the models.",
  }[method.base];
  const sees =
    method.inputs === "changes" ? "It works on changes (model − base), so `prune` or `dare` can go before it." : "";
  return `${base} Models: ${modelCount(method)}. ${sees}`.trim();
}

function modelCount({ models: { min, max } }: Method): string {
  if (max === undefined) return `${min} or more`;
  return min === max ? String(min) : `${min} to ${max}`;
}

const PER: Readonly<Record<Parameter["per"], string>> = {
  recipe: "recipe",
  tensor: "recipe, tensor pattern",
  model: "recipe, tensor pattern, model",
};

function parameterTable({ parameters }: Method): string {
  const rows = Object.entries(parameters).map(([name, parameter]) => [
    `\`${name}\``,
    describeType(parameter),
    code(parameter.default),
    PER[parameter.per],
    parameter.meaning,
  ]);
  return rows.length === 0 ? "None." : table(["parameter", "type", "default", "may be set per", "meaning"], rows);
}

function describeType(parameter: Parameter): string {
  switch (parameter.type) {
    case "number":
      return describeRange(parameter);
    case "choice":
      return Object.keys(parameter.choices).map(code).join(", ");
    case "flag":
      return "`true` or `false`";
    case "checkpoint":
      return "a path or address";
  }
}

function choiceTables({ parameters }: Method): string[] {
  return Object.entries(parameters).flatMap(([name, parameter]) => {
    if (parameter.type !== "choice") return [];
    return [
      table(
        [`\`${name}\``, "meaning"],
        Object.entries(parameter.choices).map(([key, text]) => [code(key), text]),
      ),
    ];
  });
}

function dialectTable({ name, dialects, parameters }: Method): string | null {
  const rows = Object.entries(dialects).map(([dialect, { meaning, values }], index) => [
    `\`${name}/${dialect}\`${index === 0 ? " (default)" : ""}`,
    meaning,
    Object.entries(values)
      .filter(([key, value]) => index === 0 || value !== parameters[key]?.default)
      .map(([key, value]) => `\`${key}: ${String(value)}\``)
      .join(", ") || "the defaults",
  ]);
  return rows.length === 0 ? null : table(["dialect", "meaning", "values"], rows);
}

function counterList({ counters }: Method): string | null {
  const lines = Object.entries(counters).map(([name, meaning]) => `- \`${name}\`: ${meaning}`);
  return lines.length === 0 ? null : lines.join("\n");
}

function section(heading: string, body: string | null): string[] {
  return body === null ? [] : [heading, body];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), `| ${head.map(() => "---").join(" | ")} |`, ...rows.map(row)].join("\n");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell).join(" | ")} |`;
}

function cell(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("\n", " ");
}

function code(value: ParameterValue): string {
  return value === null ? "none" : `\`${String(value)}\``;
}

/** A fence longer than any inside. */
function fenced(text: string, language: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text.trim()}\n${fence}`;
}
