/**
 * The closed list of errors. Each says where, what was expected, what was found and what to do; its kind decides the
 * exit code, so that a scheduler knows whether a retry can help.
 */

/**
 * - `request`: the recipe, the flags or the inputs are wrong; the same command will never work (exit code 2).
 * - `check`: the work was done and a verification says no (exit code 1).
 * - `environment`: disk, network, permission, signal; the same command may continue later (exit code 3).
 */
export type ErrorKind = "request" | "check" | "environment";

/** One code per defect; messages may change, codes do not. */
export type ErrorCode =
  | "recipe/syntax"
  | "recipe/unknown-key"
  | "recipe/wrong-type"
  | "recipe/out-of-range"
  | "recipe/missing-key"
  | "recipe/unknown-method"
  | "recipe/unknown-parameter"
  | "recipe/models"
  | "recipe/pattern"
  | "recipe/unsupported"
  | "safetensors/header"
  | "safetensors/layout"
  | "safetensors/limit"
  | "safetensors/write"
  | "checkpoint/missing-file"
  | "checkpoint/index"
  | "checkpoint/outside-folder"
  | "checkpoint/pickle"
  | "checkpoint/config"
  | "checkpoint/no-weights"
  | "checkpoint/tokenizer"
  | "method/invalid"
  | "method/failed"
  | "plan/missing-tensor"
  | "plan/layers"
  | "plan/shape"
  | "plan/dtype"
  | "plan/nothing-to-merge"
  | "plan/vocabulary"
  | "statistics/file"
  | "statistics/model"
  | "statistics/missing"
  | "statistics/data"
  | "output/inside-input"
  | "output/exists"
  | "output/busy"
  | "output/stale-partial"
  | "input/changed"
  | "input/vanished"
  | "values/non-finite"
  | "values/no-mixture"
  | "verify/failed"
  | "artifact/manifest"
  | "artifact/base"
  | "artifact/task"
  | "artifact/damaged"
  | "artifact/router"
  | "adapter/config"
  | "adapter/tensor"
  | "adapter/kind"
  | "adapter/base"
  | "tasks/data"
  | "tasks/head"
  | "tasks/model"
  | "tasks/scorer"
  | "search/test-split"
  | "coefficients/table"
  | "coefficients/models"
  | "collect/base"
  | "collect/not-finite"
  | "io/read"
  | "io/write"
  | "io/disk-full"
  | "io/http"
  | "runtime/architecture"
  | "runtime/config"
  | "runtime/tensor"
  | "runtime/batch"
  | "runtime/memory"
  | "runtime/backend"
  | "algebra/shape"
  | "algebra/memory"
  | "algebra/no-convergence"
  | "engine/worker"
  | "interrupted"
  | "usage";

/** Where a defect sits; whatever is known is filled in. */
export interface Where {
  readonly file?: string;
  readonly tensor?: string;
  /** 1-based, in a recipe. */
  readonly line?: number;
  readonly column?: number;
  /** Path of a key inside a recipe, e.g. `parameters.density`, or a command-line flag. */
  readonly key?: string;
}

export interface ErrorDetails {
  readonly kind: ErrorKind;
  readonly code: ErrorCode;
  readonly where?: Where;
  readonly expected?: string;
  readonly found?: string;
  /** What the reader can do about it, as an imperative sentence. */
  readonly advice?: string;
  readonly cause?: unknown;
}

const EXIT_CODES: Readonly<Record<ErrorKind, number>> = { check: 1, request: 2, environment: 3 };

/** Marks errors of every copy of this module: the command line is bundled, modules of the user import the package. */
const MARK = Symbol.for("mergewright.error");

export class MergewrightError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && MARK in value;
  }

  override readonly name = "MergewrightError";
  readonly kind: ErrorKind;
  readonly code: ErrorCode;
  readonly where: Where;
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly advice: string | undefined;

  /** @param summary one sentence without the place; the place, expectation and advice are appended to `message`. */
  constructor(summary: string, details: ErrorDetails) {
    super(describe(summary, details), details.cause === undefined ? undefined : { cause: details.cause });
    Object.defineProperty(this, MARK, { value: true });
    this.kind = details.kind;
    this.code = details.code;
    this.where = details.where ?? {};
    this.expected = details.expected;
    this.found = details.found;
    this.advice = details.advice;
  }

  get exitCode(): number {
    return EXIT_CODES[this.kind];
  }
}

function describe(summary: string, { where, expected, found, advice }: ErrorDetails): string {
  const lines = [summary];
  const place = where === undefined ? "" : describePlace(where);
  if (place !== "") lines.push(`  where:    ${place}`);
  if (expected !== undefined) lines.push(`  expected: ${expected}`);
  if (found !== undefined) lines.push(`  found:    ${found}`);
  if (advice !== undefined) lines.push(`  do:       ${advice}`);
  return lines.join("\n");
}

/** `recipe.yaml:3:5, parameters.density` or `model.safetensors, tensor a.weight`. */
export function describePlace({ file, tensor, line, column, key }: Where): string {
  const parts: string[] = [];
  const position = line === undefined ? "" : column === undefined ? `:${line}` : `:${line}:${column}`;
  if (file !== undefined) parts.push(`${file}${position}`);
  else if (line !== undefined) parts.push(`line ${line}${column === undefined ? "" : `, column ${column}`}`);
  if (tensor !== undefined) parts.push(`tensor ${tensor}`);
  if (key !== undefined) parts.push(key);
  return parts.join(", ");
}

/** An error that survives being posted from a worker. */
export interface PlainError {
  readonly summary: string;
  readonly details: Omit<ErrorDetails, "cause"> | null;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof MergewrightError) {
    const { kind, code, where, expected, found, advice } = error;
    return { summary: error.message.split("\n")[0]!, details: { kind, code, where, expected, found, advice } };
  }
  return { summary: error instanceof Error ? (error.stack ?? error.message) : String(error), details: null };
}

export function fromPlainError({ summary, details }: PlainError): MergewrightError {
  return new MergewrightError(summary, details ?? { kind: "environment", code: "engine/worker" });
}
