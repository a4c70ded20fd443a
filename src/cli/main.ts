/** The command line: arguments choose a verb, the verb's outcome is printed, its exit code is ours. */
import { reportFailure } from "./failure.js";
import { startThreads } from "../platform/node/threads.js";
import { favourKernels } from "../platform/node/tiers.js";
import { readArguments } from "./program.js";
import { openTerminal } from "./terminal.js";

const argv = process.argv.slice(2);
const terminal = openTerminal(argv);

async function main(): Promise<number> {
  const asked = readArguments(argv, terminal);
  if (typeof asked === "number") return asked;
  if (asked.verb.threaded) {
    favourKernels();
    startThreads(asked.flags.threads);
  }
  const run = await asked.verb.load();
  const { json, text, exitCode } = await run(asked);
  if (terminal.json) process.stdout.write(`${JSON.stringify(json, spellNonFinite, 2)}\n`);
  else if (!asked.flags.quiet) process.stdout.write(`${text()}\n`);
  return exitCode;
}

/** JSON has no NaN and no infinity, and `null` would hide which it was. */
function spellNonFinite(_: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** Ends the process at once: threads may still be at work. */
function fail(error: unknown): never {
  process.exit(reportFailure(error, terminal));
}

process.on("uncaughtException", fail);
// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => (error.code === "EPIPE" ? process.exit(0) : fail(error)));
main().then((exitCode) => {
  process.exitCode = exitCode;
}, fail);
