import { exportLora } from "../../experts/export_lora.js";
import type { ExportReport } from "../../experts/export_lora.js";
import { MergewrightError } from "../../errors.js";
import { nodePlatform } from "../../platform/node/platform.js";
import { countText } from "../../report/units.js";
import { interruptible } from "../interrupt.js";
import { refuseForeign, shellWord, watchWorkspace } from "../output.js";
import { openDisplay, stepMeter } from "../progress.js";
import { facts, table, warningList } from "../table.js";
import type { Column } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

export async function exportArtifact({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const artifact = positionals[0]!;
  if (flags.to !== "lora") {
    throw new MergewrightError("--to has a wrong value", {
      kind: "request",
      code: "usage",
      where: { key: "--to" },
      expected: "lora",
      found: flags.to!,
    });
  }
  refuseForeign(flags);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  const workspace = watchWorkspace(nodePlatform);
  try {
    const report = await interruptible(
      () =>
        exportLora(artifact, workspace.platform, {
          out: flags.out!,
          base: flags.base ?? null,
          force: flags.force ?? false,
          progress: ({ task, done, total }) => display.report({ name: `exporting ${task}`, done, total }),
          ...(flags.task !== undefined && { task: flags.task }),
        }),
      () => {
        workspace.release();
        return "run the same command again; nothing was written";
      },
    );
    return { exitCode: 0, json: { to: "lora", ...report }, text: () => describe(report, terminal) };
  } finally {
    display.end();
  }
}

function describe({ artifact, base, out, tasks, warnings }: ExportReport, terminal: Terminal): string {
  const right = { align: "right" } as const;
  const columns: Column[] = [
    { head: "adapter" },
    { head: "modules", ...right },
    { head: "rank", ...right },
    { head: "parameters", ...right },
    { head: "whole", ...right },
    { head: "head" },
  ];
  const rows = tasks.map(({ folder, modules, ranks: [least, most], parameters, whole, head }) => [
    `${out}/${folder}`,
    countText(modules),
    least === most ? String(most) : `${least}-${most}`,
    countText(parameters),
    countText(whole.length),
    head.length === 0 ? "" : `${out}/${folder}/head`,
  ]);
  const [first] = tasks;
  const next = first && `mergewright adapter fold ${shellWord(base)} ${shellWord(`${out}/${first.folder}`)} -o OUT`;
  return [
    facts(
      [
        ["exported", artifact],
        ["over", base],
      ],
      terminal,
    ),
    table(columns, rows, terminal),
    ...warningList(warnings, terminal),
    ...(next === undefined ? [] : [`next: ${harmless(next)}`]),
  ].join("\n\n");
}
