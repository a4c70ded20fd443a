import { nodeMachine } from "../../platform/node/machine.js";
import { platformWith } from "../../platform/node/platform.js";
import { checkRecipe } from "../../preflight/check.js";
import type { Preflight } from "../../preflight/check.js";
import type { Finding, Level } from "../../preflight/findings.js";
import { countOf } from "../../report/units.js";
import { whileReading } from "../reading.js";
import { readRequest } from "../request.js";
import { bullets } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

/** Advice of findings that ask for nothing. */
const NOTHING = /^nothing needs to be done$/;

export async function check(given: Given): Promise<Outcome> {
  const { recipe, own } = await readRequest(given);
  const { flags, terminal } = given;
  const platform = { ...platformWith(own), ...nodeMachine };
  const preflight = await whileReading(given, (options) =>
    checkRecipe(recipe, platform, {
      ...options,
      weights: !(flags.headers ?? false),
      ...(flags.out !== undefined && { out: flags.out }),
    }),
  );
  return { exitCode: preflight.ok ? 0 : 1, json: preflight, text: () => describe(preflight, terminal) };
}

function describe({ findings, ok, sample }: Preflight, terminal: Terminal): string {
  const sections = (["problem", "warning", "note"] as const).flatMap((level) => {
    const own = findings.filter((finding) => finding.level === level);
    return own.length === 0 ? [] : [`${headingOf(level, own.length, terminal)}\n${bullets(own.map(lineOf), terminal)}`];
  });
  const looked =
    sample === null
      ? "no weights were read"
      : `${countOf(sample.entries, "parameter")} of ${sample.of.toLocaleString("en-US")} looked at per model`;
  const verdict = ok ? "nothing stands in the way of this merge" : "this merge should not be made as it is";
  return [...sections, `${verdict}; ${looked}`].join("\n\n");
}

function headingOf(level: Level, count: number, { out }: Terminal): string {
  const text = `${countOf(count, level)}:`;
  return level === "problem" ? out.red(text) : level === "warning" ? out.yellow(text) : out.bold(text);
}

function lineOf({ what, advice }: Finding): string {
  return NOTHING.test(advice) ? what : `${what}. Do: ${advice}`;
}
