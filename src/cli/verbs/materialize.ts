import { materialize as materializeTask } from "../../artifacts/materialize.js";
import type { Materialized } from "../../artifacts/materialize.js";
import { defaultThreads, nodePlatform } from "../../platform/node/platform.js";
import { countOf, countText, durationText, sizeText } from "../../report/units.js";
import { interruptible } from "../interrupt.js";
import { refuseForeign, shellWord, watchWorkspace } from "../output.js";
import { openProgress } from "../progress.js";
import { facts } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

/** What was written, as plain data; `mergewright materialize --json` prints it. */
interface MaterializeReport {
  readonly out: string;
  readonly artifact: string;
  readonly task: string;
  /** Tensors that were made, and those taken as they are from the base or the task's head. */
  readonly tensors: { readonly made: number; readonly copied: number };
  readonly nonFinite: number;
  readonly outputs: readonly { readonly file: string; readonly bytes: number }[];
  readonly seconds: number;
}

export async function materialize({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const artifact = positionals[0]!;
  const out = flags.out!;
  refuseForeign(flags);
  const progress = await openProgress(terminal, flags.quiet);
  const workspace = watchWorkspace(nodePlatform);
  const work = () =>
    materializeTask(artifact, workspace.platform, {
      task: flags.task!,
      ...(flags.weights !== undefined && { weights: taskWeightsOf(flags.weights) }),
      out,
      base: flags.base ?? null,
      threads: flags.threads ?? defaultThreads(),
      force: flags.force ?? false,
      progress: progress.report,
    });
  try {
    const done = await interruptible(work, () => {
      workspace.release();
      return `run the same command again; ${flags.force ? "with --force it starts over" : "it continues where it stopped"}`;
    });
    const report = reportOf(artifact, out, done);
    return { exitCode: 0, json: report, text: () => describe(report, terminal) };
  } finally {
    progress.end();
  }
}

/** The flag of this verb reads weights by task, where others read a list. */
function taskWeightsOf(weights: unknown): Readonly<Record<string, number>> {
  return weights as Readonly<Record<string, number>>;
}

function reportOf(
  artifact: string,
  out: string,
  { task, plan, provenance, made, seconds }: Materialized,
): MaterializeReport {
  return {
    out,
    artifact,
    task,
    tensors: { made, copied: plan.tensors.length - made },
    nonFinite: provenance.counts.nonFinite,
    outputs: provenance.outputs.map(({ file, bytes }) => ({ file, bytes })),
    seconds,
  };
}

function describe(
  { out, artifact, task, tensors, nonFinite, outputs, seconds }: MaterializeReport,
  terminal: Terminal,
) {
  const bytes = outputs.reduce((sum, output) => sum + output.bytes, 0);
  return [
    facts(
      [
        ["task", `${task} of ${artifact}`],
        ["tensors", `${countText(tensors.made)} made, ${countText(tensors.copied)} of the base or the task's head`],
        ...(nonFinite === 0 ? [] : [["non-finite", `${countText(nonFinite)} entries are NaN or infinite`] as const]),
        ["time", durationText(seconds)],
        ["written", `${out}: ${sizeText(bytes)} in ${countOf(outputs.length, "weight file")}`],
      ],
      terminal,
    ),
    `next: mergewright verify ${harmless(shellWord(out))}`,
  ].join("\n\n");
}
