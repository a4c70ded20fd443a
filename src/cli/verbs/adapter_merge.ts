import type { AdapterProgress, CombineReport, ModuleReport } from "../../lora/given.js";
import { mergeAdaptersAt } from "../../platform/node/lora.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { countOf, numberText, percentText } from "../../report/units.js";
import { interruptible } from "../interrupt.js";
import { refuseForeign } from "../output.js";
import { openDisplay } from "../progress.js";
import { readAdapterRequest } from "../request.js";
import { facts, table, warningList } from "../table.js";
import type { Column } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

/** More modules than this are summed up. */
const SHOWN = 12;

export async function mergeAdapters(given: Given): Promise<Outcome> {
  const { flags, terminal } = given;
  const { asked, own } = await readAdapterRequest(given);
  refuseForeign(flags);
  const display = await openDisplay(terminal, flags.quiet ?? false, progressLine);
  const work = () =>
    mergeAdaptersAt(asked, {
      out: flags.out!,
      threads: flags.threads ?? defaultThreads(),
      force: flags.force ?? false,
      anyBase: flags.anyBase ?? false,
      own,
      progress: display.report,
    });
  try {
    const report = await interruptible(work, () => "run the same command again; nothing was written");
    return { exitCode: 0, json: report, text: () => describe(report, terminal) };
  } finally {
    display.end();
  }
}

export function progressLine({ doing, done, of }: AdapterProgress): string {
  return `${doing} ${Math.floor((100 * done) / Math.max(1, of))} %`;
}

const SPACES: Readonly<Record<CombineReport["space"], string>> = {
  factors: "in factors: the exact sum",
  core: "in the common subspace of the updates",
  full: "on the whole updates",
  knots: "on the aligned updates (KnOTS)",
  peft: "as PEFT computes it",
  vectors: "entry by entry, as changes from one",
  blocks: "vector by vector, by their block Fisher",
};

function describe(report: CombineReport & { readonly out: string }, terminal: Terminal): string {
  const { adapters, method, dialect, space, modules, error, distance, parameters, warnings, figures, out } = report;
  const summary: (readonly [string, string])[] = [
    ["merged", `${countOf(adapters.length, "adapter")}: ${adapters.map(({ name }) => name).join(", ")}`],
    ["method", `${method}${dialect === "" ? "" : `/${dialect}`}, ${SPACES[space]}`],
    ...(modules.length === 0 ? [] : [["ranks", ranksOf(modules)] as const]),
    ...(modules.length === 0
      ? []
      : [["cut away", error === 0 ? "nothing" : `${percentText(error)} of the norm`] as const]),
    ...solvedFacts(figures),
    ...(distance === null ? [] : [["from the sum", `${percentText(distance)} away`] as const]),
    ["written", `${out}: ${countOf(parameters, "parameter")}`],
  ];
  return [facts(summary, terminal), ...moduleTable(modules, terminal), ...warningList(warnings, terminal)].join("\n\n");
}

/** The worst that a solver left of a vector, and of how many. */
function solvedFacts(figures: CombineReport["figures"]): (readonly [string, string])[] {
  const left = Object.values(figures).flatMap(({ residuals = [] }) => residuals.slice(-1));
  if (left.length === 0) return [];
  return [
    ["left over", `${percentText(Math.max(...left))} of the right side at most, in ${countOf(left.length, "vector")}`],
  ];
}

export function ranksOf(modules: readonly ModuleReport[]): string {
  const ranks = modules.map(({ rank }) => rank);
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)];
  return `${least === most ? least : `${least} to ${most}`} in ${countOf(modules.length, "module")}`;
}

/** Those of which most was cut away. */
export function moduleTable(modules: readonly ModuleReport[], terminal: Terminal): string[] {
  const lossy = modules.filter(({ error }) => error > 0).toSorted((a, b) => b.error - a.error);
  if (lossy.length === 0) return [];
  const right = { align: "right" } as const;
  const columns: Column[] = [
    { head: "module" },
    { head: "rank", ...right },
    { head: "norm", ...right },
    { head: "cut away", ...right },
  ];
  const rows = lossy
    .slice(0, SHOWN)
    .map(({ module, rank, norm, error }) => [
      module,
      String(rank),
      norm === null ? "" : numberText(norm),
      percentText(error),
    ]);
  const more = lossy.length - rows.length;
  return [
    table(columns, rows, terminal),
    ...(more > 0 ? [`and ${countOf(more, "module")} with less; --json has all`] : []),
  ];
}
