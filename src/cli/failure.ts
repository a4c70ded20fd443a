import { MergewrightError } from "../errors.js";
import { harmless } from "./terminal.js";
import type { Terminal } from "./terminal.js";

/** An error as `--json` prints it. */
interface Failure {
  readonly error: {
    /** One of the closed list in errors.ts; "internal" for a defect of this program. */
    readonly code: string;
    readonly kind: string;
    /** One sentence. */
    readonly message: string;
    readonly where?: object;
    readonly expected?: string | undefined;
    readonly found?: string | undefined;
    readonly advice?: string | undefined;
    /** All that is shown without `--json`; for a recipe with several mistakes it holds them all. */
    readonly text: string;
  };
}

/** Prints an error. @returns the exit code. */
export function reportFailure(thrown: unknown, terminal: Terminal): number {
  const error = isSystemError(thrown) ? systemFailure(thrown) : thrown;
  const text = error instanceof MergewrightError ? error.message : describeDefect(error);
  const shown = terminal.json ? JSON.stringify(failureOf(error, text)) : decorate(harmless(text), terminal);
  process.stderr.write(`${shown}\n`);
  return error instanceof MergewrightError ? error.exitCode : 3;
}

function failureOf(error: unknown, text: string): Failure {
  const message = text.split("\n")[0]!;
  if (!(error instanceof MergewrightError)) return { error: { code: "internal", kind: "environment", message, text } };
  const { code, kind, where, expected, found, advice } = error;
  return { error: { code, kind, message, where, expected, found, advice, text } };
}

function describeDefect(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `unexpected: ${stack}\n  do:       this is a defect of mergewright; please report it with the command and this text`;
}

/** Of what nobody nearer knew more, such as standard output on a full disk. */
function systemFailure({ message, syscall, path, cause }: NodeJS.ErrnoException): MergewrightError {
  return new MergewrightError("the system refused an operation", {
    kind: "environment",
    code: syscall === "write" ? "io/write" : "io/read",
    ...(path !== undefined && { where: { file: path } }),
    found: message,
    advice: "mend the cause, then run the same command again",
    cause,
  });
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && "errno" in error;
}

/** `error:` before each summary; labels of the lines below it stand back. */
function decorate(text: string, { error }: Terminal): string {
  return text
    .split("\n\n")
    .map((block) => {
      const [summary = "", ...lines] = block.split("\n");
      const dimmed = lines.map((line) =>
        line.replace(/^ {2}(?:where|expected|found|do): */, (label) => error.dim(label)),
      );
      return [`${error.red(error.bold("error:"))} ${error.bold(summary)}`, ...dimmed].join("\n");
    })
    .join("\n\n");
}
