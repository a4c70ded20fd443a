/** Methods of one's own: a declaration is checked and completed, so that the engine can trust it as it trusts its own. */
import { MergewrightError } from "../errors.js";
import { findMethod } from "./catalogue.js";
import type { Arguments, MethodDeclaration, Parameter, ParameterValue, Settings, TileMethod } from "./method.js";

/** A parameter of an own method; `per` defaults to `tensor`. */
export type OwnParameter = {
  [P in Parameter["type"]]: OwnParameterOf<Extract<Parameter, { type: P }>>;
}[Parameter["type"]];
type OwnParameterOf<P extends Parameter> = Omit<P, "per"> & Partial<Pick<P, "per">>;

/** What has a default may be left out. */
type Optional = "title" | "paper" | "description" | "base" | "models" | "dialects" | "inputs" | "counters";
type Functions = "needs" | "check" | "bind" | "majority" | "sumMultiple";

/**
 * A method of one's own. Only `name` and `combine` must be given. Defaults: `inputs` changes, `base` required for changes
 * and unused for weights, one model or more, no parameters, one dialect `own`, no statistics. The default `bind` puts every parameter
 * where `combine` finds it: `args.scalars.NAME`, or `args.columns.NAME[model]` for parameters per model; a flag is 0 or 1,
 * a choice the position of its value among the choices.
 */
export type OwnMethod = Pick<MethodDeclaration, "name"> &
  Pick<TileMethod, "combine"> &
  Partial<Pick<MethodDeclaration, Optional>> &
  Partial<Pick<TileMethod, Functions | "scores">> & {
    readonly parameters?: Readonly<Record<string, OwnParameter>>;
  };

const NAME = /^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/;
/** Keys of a model in a recipe, and of a value. */
const TAKEN = new Set([
  "model",
  "merge",
  "name",
  "statistics",
  "parameters",
  "drop",
  "value",
  "patterns",
  "filters",
  "gradient",
]);
const FUNCTIONS = ["needs", "check", "bind", "majority", "sumMultiple", "combine"];
const KEYS = [
  ...[
    "name",
    "title",
    "paper",
    "description",
    "base",
    "models",
    "parameters",
    "dialects",
    "inputs",
    "counters",
    "scores",
  ],
  ...FUNCTIONS,
];
const COMPLETED = ["grain", "kernel", "origin"];
const TYPES = ["number", "choice", "flag", "checkpoint"];
const PER = ["recipe", "tensor", "model"];

/**
 * Checks a declaration and completes it.
 * @param place for messages: the file that it comes from.
 * @throws method/invalid, which names everything wrong.
 */
export function defineMethod(own: OwnMethod, place?: string): TileMethod {
  const problems: string[] = [];
  checkDeclaration(own, problems);
  if (problems.length > 0) {
    throw new MergewrightError("a method of one's own is not declared as it must be", {
      kind: "request",
      code: "method/invalid",
      where: { ...(place !== undefined && { file: place }), key: nameIn(own) },
      found: problems.join("; "),
      advice: "docs/own-methods.md shows a complete method",
    });
  }
  return completed(own);
}

function nameIn(own: unknown): string {
  return isObject(own) && typeof own["name"] === "string" ? `method ${own["name"].slice(0, 80)}` : "defineMethod";
}

function completed(own: OwnMethod): TileMethod {
  const parameters = Object.fromEntries(
    Object.entries(own.parameters ?? {}).map(([name, parameter]) => {
      return [name, { ...parameter, per: parameter.per ?? "tensor" }];
    }),
  );
  const inputs = own.inputs ?? "changes";
  const { needs, check, majority, sumMultiple } = own;
  const bind = own.bind ?? ((settings: Settings) => bindAll(parameters, settings));
  const guard = <A extends unknown[], R>(part: string, call: (...args: A) => R) => guarded(own.name, part, call);
  return {
    title: own.name,
    paper: null,
    description: own.title ?? own.name,
    base: inputs === "changes" ? "required" : "unused",
    models: { min: 1 },
    dialects: { own: { meaning: "the defaults of its parameters", values: {} } },
    counters: {},
    ...own,
    parameters,
    inputs,
    grain: "tile",
    needs: guard("needs", (settings, known) => needs?.call(own, settings, known) ?? null),
    bind: guard("bind", (settings, known) => argumentsOf(bind.call(own, settings, known), settings)),
    combine: guard("combine", (tile, args) => {
      // An entry that is left out is counted as NaN, instead of being what the last tile left there.
      tile.out.fill(Number.NaN);
      own.combine(tile, args);
    }),
    ...(check && { check: guard("check", (settings) => check.call(own, settings)) }),
    ...(majority && { majority: guard("majority", (settings) => majority.call(own, settings)) }),
    ...(sumMultiple && { sumMultiple: guard("sumMultiple", (settings) => sumMultiple.call(own, settings)) }),
    kernel: () => null,
  };
}

/** Whatever an own function throws names the method, and survives the way from a thread. */
function guarded<A extends unknown[], R>(name: string, part: string, call: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    try {
      return call(...args);
    } catch (cause) {
      if (cause instanceof MergewrightError) throw cause;
      throw failed(name, part, cause instanceof Error ? cause.message : String(cause), cause);
    }
  };
}

function failed(name: string, part: string, found: string, cause?: unknown): MergewrightError {
  return new MergewrightError(`${part} of the method ${name} failed`, {
    kind: "request",
    code: "method/failed",
    where: { key: `method ${name}` },
    found,
    advice: "correct the method's module",
    ...(cause !== undefined && { cause }),
  });
}

/** What bind gives, known to be numbers, as many as there are models. */
function argumentsOf(args: unknown, { models }: Settings): Arguments {
  const { scalars = {}, columns = {} } = isObject(args) ? args : {};
  const isNumber = (value: unknown) => typeof value === "number";
  const scalarsFit = isObject(scalars) && Object.values(scalars).every(isNumber);
  const fits = (column: unknown) => Array.isArray(column) && column.length === models.length && column.every(isNumber);
  if (!isObject(args) || !scalarsFit || !isObject(columns) || !Object.values(columns).every(fits)) {
    throw new TypeError(`it must return {scalars: {name: number}, columns: {name: [${models.length} numbers]}}`);
  }
  return { scalars, columns } as Arguments;
}

/** Every parameter as a number. */
function bindAll(parameters: Readonly<Record<string, Parameter>>, { global, models }: Settings): Arguments {
  const scalars: Record<string, number> = {};
  const columns: Record<string, number[]> = {};
  for (const [name, parameter] of Object.entries(parameters)) {
    if (parameter.type === "checkpoint") continue;
    if (parameter.per !== "model") scalars[name] = numberOf(parameter, global[name]!);
    else columns[name] = models.map((values) => numberOf(parameter, values[name]!));
  }
  return { scalars, columns };
}

function numberOf(parameter: Parameter, value: ParameterValue): number {
  return parameter.type === "choice"
    ? Object.keys(parameter.choices).indexOf(String(value))
    : Math.fround(Number(value));
}

function checkDeclaration(own: unknown, problems: string[]): void {
  if (!isObject(own)) {
    problems.push("a method is an object with name and combine");
    return;
  }
  const { name, inputs, base } = own;
  // What defineMethod itself adds may be there: a method may be defined before it is loaded.
  for (const key of Object.keys(own)) if (![...KEYS, ...COMPLETED].includes(key)) problems.push(`unknown key ${key}`);
  if (typeof name !== "string" || !NAME.test(name)) {
    problems.push("name must be lower-case words joined by underscores, such as my_method");
  } else if (findMethod(name) !== undefined) problems.push(`${name} is a method of the catalogue; choose another name`);
  if (own["combine"] === undefined) problems.push("combine(tile, args), which fills tile.out, is missing");
  for (const key of FUNCTIONS) {
    if (own[key] !== undefined && typeof own[key] !== "function") problems.push(`${key} must be a function`);
  }
  for (const key of ["title", "description"]) {
    if (own[key] !== undefined && typeof own[key] !== "string") problems.push(`${key} must be text`);
  }
  oneOf(inputs, ["changes", "weights"], "inputs", problems);
  oneOf(base, ["required", "optional", "unused"], "base", problems);
  if ((inputs ?? "changes") === "changes" && base !== undefined && base !== "required") {
    problems.push('changes are differences from a base, so base must be "required"');
  }
  checkModels(own["models"], problems);
  const parameters = tableOf(own["parameters"], "parameters", problems);
  for (const [key, parameter] of parameters) checkParameter(key, parameter, problems);
  for (const [key, dialect] of tableOf(own["dialects"], "dialects", problems)) {
    checkDialect(key, dialect, new Map(parameters), problems);
  }
  for (const [key, meaning] of tableOf(own["counters"], "counters", problems)) {
    if (typeof meaning !== "string") problems.push(`counters.${key} must be its meaning, as text`);
  }
}

function checkModels(models: unknown, problems: string[]): void {
  if (models === undefined) return;
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
  const { min, max } = isObject(models) ? models : {};
  if (!isCount(min) || (max !== undefined && (!isCount(max) || (max as number) < (min as number)))) {
    problems.push("models must be {min, max}: whole numbers from 1, max not below min, or no max");
  }
}

function checkParameter(name: string, parameter: unknown, problems: string[]): void {
  const at = `parameters.${name}`;
  if (!NAME.test(name)) problems.push(`${at}: names are lower-case words joined by underscores`);
  if (TAKEN.has(name)) problems.push(`${at}: ${name} means something else in a recipe; choose another name`);
  if (!isObject(parameter)) {
    problems.push(`${at} must be {type, default, meaning}`);
    return;
  }
  if (typeof parameter["meaning"] !== "string") problems.push(`${at}.meaning must say in a sentence what it does`);
  oneOf(parameter["per"], PER, `${at}.per`, problems);
  if (!TYPES.some((type) => type === parameter["type"])) problems.push(`${at}.type must be ${TYPES.join(", ")}`);
  else problems.push(...rangeFaults(parameter, at), ...valueFaults(parameter, parameter["default"], `${at}.default`));
}

function rangeFaults({ type, min, max, choices }: Fields, at: string): string[] {
  if (type === "choice" && (!isObject(choices) || Object.keys(choices).length === 0)) {
    return [`${at}.choices must hold every value and its meaning`];
  }
  const isBound = (bound: unknown) => bound === undefined || Number.isFinite(bound);
  if (!isBound(min) || !isBound(max)) return [`${at}: min and max must be finite numbers`];
  return min !== undefined && max !== undefined && (min as number) > (max as number) ? [`${at}: min is above max`] : [];
}

/** What is wrong with a value of a parameter. */
function valueFaults({ type, min, max, integer, choices }: Fields, value: unknown, at: string): string[] {
  switch (type) {
    case "number": {
      if (typeof value !== "number" || !Number.isFinite(Math.fround(value))) return [`${at} must be a finite number`];
      if (integer === true && !Number.isSafeInteger(value)) return [`${at} must be a whole number`];
      const inside = value >= ((min as number) ?? -Infinity) && value <= ((max as number) ?? Infinity);
      return inside ? [] : [`${at} (${value}) is outside of the parameter's own range`];
    }
    case "choice":
      return isObject(choices) && !Object.keys(choices).some((choice) => choice === value)
        ? [`${at} is none of the choices`]
        : [];
    case "flag":
      return typeof value === "boolean" ? [] : [`${at} must be true or false`];
    default:
      return value === null ? [] : [`${at} must be null: a recipe names the checkpoint`];
  }
}

function checkDialect(
  name: string,
  dialect: unknown,
  parameters: ReadonlyMap<string, unknown>,
  problems: string[],
): void {
  const at = `dialects.${name}`;
  const values = isObject(dialect) ? dialect["values"] : undefined;
  if (!isObject(dialect) || typeof dialect["meaning"] !== "string" || !isObject(values)) {
    problems.push(`${at} must be {meaning, values}`);
    return;
  }
  for (const [key, value] of Object.entries(values)) {
    const parameter = parameters.get(key);
    if (!isObject(parameter)) problems.push(`${at} sets ${key}, which is no parameter`);
    else problems.push(...valueFaults(parameter, value, `${at}.${key}`));
  }
}

function oneOf(value: unknown, choices: readonly string[], at: string, problems: string[]): void {
  if (value !== undefined && !choices.some((choice) => choice === value))
    problems.push(`${at} must be ${choices.join(", ")}`);
}

function tableOf(value: unknown, at: string, problems: string[]): [string, unknown][] {
  if (value === undefined) return [];
  if (isObject(value)) return Object.entries(value);
  problems.push(`${at} must be an object`);
  return [];
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
