import type { Check } from "../../analyse/checks.js";
import type { Verification } from "../../analyse/verify.js";
import { verifyResult } from "../../experts/verify.js";
import { nodePlatform } from "../../platform/node/platform.js";
import { countOf, countText, durationText, sizeText } from "../../report/units.js";
import { whileReading } from "../reading.js";
import { bullets, table } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

/** Problems of one check that are printed; --json has all of them. */
const MOST_PROBLEMS = 20;

export async function verify(given: Given): Promise<Outcome> {
  const { positionals, flags, terminal } = given;
  const folder = positionals[0]!;
  const verification = await whileReading(given, (options) =>
    verifyResult(folder, nodePlatform, { ...options, inputs: flags.inputs ?? false }),
  );
  const exitCode = verification.ok ? 0 : 1;
  return { exitCode, json: verification, text: () => describe(folder, verification, terminal) };
}

function describe(folder: string, { ok, checks, tensors, bytes, seconds }: Verification, terminal: Terminal): string {
  const { green, red, bold } = terminal.out;
  const columns = [{ head: "" }, { head: "check" }, { head: "found" }];
  const rows = checks.map((check) => [
    check.ok ? "ok" : "FAILED",
    check.name,
    check.ok ? check.detail : problemCount(check),
  ]);
  const verdict = ok ? green("is what the merge wrote") : red("is not what the merge wrote");
  return [
    table(columns, rows, terminal),
    ...checks.filter((check) => !check.ok).map((check) => `${bold(`${check.name}:`)}\n${problemsOf(check, terminal)}`),
    `${harmless(folder)} ${verdict}; ${countOf(tensors, "tensor")}, ${sizeText(bytes)} read in ${durationText(seconds)}`,
  ].join("\n\n");
}

function problemCount({ problems }: Check): string {
  return countOf(problems.length, "problem");
}

function problemsOf({ problems }: Check, terminal: Terminal): string {
  const more = problems.length - MOST_PROBLEMS;
  const last = more > 0 ? [`and ${countText(more)} more, which --json prints`] : [];
  return bullets([...problems.slice(0, MOST_PROBLEMS), ...last], terminal);
}
