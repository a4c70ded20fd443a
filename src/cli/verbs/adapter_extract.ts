import type { ExtractReport } from "../../lora/extract.js";
import { DTYPE_OF_RECIPE_NAME } from "../../numbers/dtypes.js";
import { MergewrightError } from "../../errors.js";
import { extractAt } from "../../platform/node/lora.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { countOf, percentText } from "../../report/units.js";
import { interruptible } from "../interrupt.js";
import { refuseForeign } from "../output.js";
import { openDisplay } from "../progress.js";
import { facts, warningList } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";
import { moduleTable, progressLine, ranksOf } from "./adapter_merge.js";

export async function extractAdapter({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const [model] = positionals as [string];
  refuseForeign(flags);
  const display = await openDisplay(terminal, flags.quiet ?? false, progressLine);
  const work = () =>
    extractAt(model, flags.base!, {
      rank: flags.rank ?? null,
      energy: flags.energy ?? null,
      auto: flags.auto ?? false,
      include: flags.include ?? [],
      exclude: flags.exclude ?? [],
      rest: flags.rest ?? "save",
      dtype: dtypeOf(flags.dtype),
      out: flags.out!,
      threads: flags.threads ?? defaultThreads(),
      force: flags.force ?? false,
      progress: display.report,
    });
  try {
    const report = await interruptible(work, () => "run the same command again; nothing was written");
    return { exitCode: 0, json: report, text: () => describe(report, terminal) };
  } finally {
    display.end();
  }
}

function dtypeOf(name: string | undefined) {
  if (name === undefined) return "F32";
  const dtype = DTYPE_OF_RECIPE_NAME[name];
  if (dtype !== undefined) return dtype;
  throw new MergewrightError("--dtype has a wrong value", {
    kind: "request",
    code: "usage",
    where: { key: "--dtype" },
    expected: Object.keys(DTYPE_OF_RECIPE_NAME).join(", "),
    found: name,
  });
}

function describe(report: ExtractReport & { readonly out: string }, terminal: Terminal): string {
  const { model, base, modules, rest, unchanged, error, parameters, warnings, out } = report;
  const saved = rest.filter((one) => one.saved).length;
  const summary: (readonly [string, string])[] = [
    ["extracted", `${model} − ${base}`],
    ...(modules.length === 0 ? [] : [["ranks", ranksOf(modules)] as const]),
    ...(unchanged === 0 ? [] : [["unchanged", countOf(unchanged, "weight")] as const]),
    ...(saved === 0 ? [] : [["saved whole", countOf(saved, "tensor")] as const]),
    ["cut away", `${percentText(error)} of the change's norm`],
    ["written", `${out}: ${countOf(parameters, "parameter")}`],
  ];
  return [facts(summary, terminal), ...moduleTable(modules, terminal), ...warningList(warnings, terminal)].join("\n\n");
}
