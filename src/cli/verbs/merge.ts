import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { inspectArtifact } from "../../artifacts/inspect.js";
import { mergeModels, planMerge } from "../../merge.js";
import type { Method } from "../../methods/method.js";
import { makesArtifact } from "../../plan/artifact.js";
import { keepCode } from "../../platform/node/code_cache.js";
import { favourNothing } from "../../platform/node/tiers.js";
import { defaultThreads, nodePlatform, platformWith } from "../../platform/node/platform.js";
import type { Recipe } from "../../recipe/recipe.js";
import { figureText } from "../../report/figures.js";
import { mergeReport } from "../../report/merge_report.js";
import type { MergeReport } from "../../report/merge_report.js";
import { PROVENANCE_FILE } from "../../report/provenance.js";
import { countOf, countText, durationText, numberText, percentText, sizeText } from "../../report/units.js";
import { finishedResult } from "../../report/up_to_date.js";
import { interruptible } from "../interrupt.js";
import { refuseForeign, shellWord, watchWorkspace } from "../output.js";
import { openProgress } from "../progress.js";
import { readRequest } from "../request.js";
import { facts, table, warningList } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import { upscalingFacts } from "../upscaling.js";
import type { FlagValues, Given, Outcome } from "../verb.js";

export async function merge(given: Given): Promise<Outcome> {
  const { recipe, own } = await readRequest(given);
  const { flags, terminal } = given;
  refuseForeign(flags);
  const done = (await findFinished(recipe, flags)) ?? (await mergeNow(recipe, own, flags, terminal));
  keepCode(favourNothing);
  const upscaling =
    recipe.method.experts === undefined ? null : (await inspectArtifact(done.out, nodePlatform)).upscaling;
  const report: MergeReport = upscaling === null ? done : { ...done, upscaling };
  return { exitCode: 0, json: report, text: () => describe(report, recipe.method, terminal) };
}

/** The report of a result that is there already, or `null`. */
async function findFinished(recipe: Recipe, flags: FlagValues): Promise<MergeReport | null> {
  const out = flags.out!;
  if (flags.force) return null;
  const text = readIfThere(path.join(out, PROVENANCE_FILE));
  if (text === null) return null;
  const plan = await planMerge(recipe, nodePlatform);
  const wanted = { strict: flags.strict ?? false, hashInputs: flags.hashInputs ?? false };
  const recorded = finishedResult(text, plan, wanted);
  if (recorded === null) return null;
  const { outputs } = recorded;
  const whole =
    outputs.length > 0 &&
    outputs.every(({ file, bytes }) => statSync(path.join(out, file), { throwIfNoEntry: false })?.size === bytes);
  return whole ? mergeReport(out, recipe.method, plan, recorded, null) : null;
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

async function mergeNow(
  recipe: Recipe,
  own: readonly Method[],
  flags: FlagValues,
  terminal: Terminal,
): Promise<MergeReport> {
  const out = flags.out!;
  const progress = await openProgress(terminal, flags.quiet);
  const workspace = watchWorkspace(platformWith(own));
  const work = () =>
    mergeModels(recipe, workspace.platform, {
      out,
      threads: flags.threads ?? defaultThreads(),
      force: flags.force ?? false,
      strict: flags.strict ?? false,
      hashInputs: flags.hashInputs ?? false,
      progress: progress.report,
    });
  try {
    const { plan, provenance, result, seconds } = await interruptible(work, () => {
      workspace.release();
      return `run the same command again; ${flags.force ? "with --force it starts over" : "it continues where it stopped"}`;
    });
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
    return mergeReport(out, recipe.method, plan, provenance, { result, seconds, peakMemoryBytes });
  } finally {
    progress.end();
  }
}

function describe(report: MergeReport, method: Method, terminal: Terminal): string {
  const { out, upToDate, models, warnings } = report;
  return [
    ...(upToDate
      ? [`${harmless(out)} holds the result of this recipe over these inputs already; nothing was done.`]
      : []),
    facts(summaryOf(report, method), terminal),
    ...(models.some(({ kept }) => kept !== null) ? [keptTable(report, terminal)] : []),
    ...warningList(warnings, terminal),
    ...nextSteps(out, method, models[0]!.name),
  ].join("\n\n");
}

function nextSteps(out: string, method: Method, task: string): string[] {
  const folder = harmless(shellWord(out));
  if (!makesArtifact(method)) return [`next: mergewright verify ${folder}`];
  const name = harmless(shellWord(task));
  return [`next: mergewright inspect ${folder}, mergewright materialize ${folder} --task ${name} -o ${name}`];
}

function summaryOf(report: MergeReport, method: Method): (readonly [string, string])[] {
  const { base, models, tensors, mergedEntries, counters, figures, nonFinite, outputs, cost, out, upscaling } = report;
  const bytes = outputs.reduce((sum, output) => sum + output.bytes, 0);
  return [
    ["merged", `${countOf(models.length, "model")}${base === null ? "" : ` onto ${base}`}`],
    ["method", `${report.method}/${report.dialect}`],
    [
      "tensors",
      `${countText(tensors.merged)} merged, ${countText(tensors.copied)} copied, ${countText(tensors.skipped)} skipped`,
    ],
    ["entries", `${countText(mergedEntries)} merged`],
    ...Object.entries(counters).map(([name, { count, share }]) => {
      return [
        name,
        `${countText(count)} (${percentText(share)} of merged entries): ${method.counters[name] ?? ""}`,
      ] as const;
    }),
    ...figures.map((figure) => [figure.name, figureText(figure)] as const),
    ...(nonFinite === 0 ? [] : [["non-finite", `${countText(nonFinite)} entries are NaN or infinite`] as const]),
    ...(upscaling === undefined ? [] : upscalingFacts(upscaling)),
    ...(cost === null ? [] : [["time", timeOf(cost, report.resumed)] as const]),
    ...(cost === null ? [] : [["memory", `${sizeText(cost.peakMemoryBytes)} at most`] as const]),
    ["written", `${out}: ${sizeText(bytes)} in ${countOf(outputs.length, "weight file")}`],
  ];
}

function timeOf({ seconds, readBytes, writtenBytes }: NonNullable<MergeReport["cost"]>, resumed: boolean): string {
  const time = durationText(seconds);
  if (readBytes === null || resumed) return `${time}, continuing an interrupted run`;
  const speed = `${sizeText((readBytes + writtenBytes) / seconds)}/s`;
  return `${time}; ${sizeText(readBytes)} read, ${sizeText(writtenBytes)} written, ${speed}`;
}

function keptTable({ models }: MergeReport, terminal: Terminal): string {
  const withThreshold = models.some(({ threshold }) => threshold !== null);
  const columns = [
    { head: "model" },
    { head: "kept", align: "right" as const },
    { head: "share", align: "right" as const },
    ...(withThreshold ? [{ head: "threshold", align: "right" as const }] : []),
  ];
  const rows = models.map(({ name, kept, threshold }) => [
    name,
    kept === null ? "all" : countText(kept.kept),
    kept === null ? "" : percentText(kept.share),
    ...(withThreshold ? [threshold === null ? "" : numberText(threshold)] : []),
  ]);
  return table(columns, rows, terminal);
}
