import type { RunResult } from "../execute/run.js";
import type { Method } from "../methods/method.js";
import type { Plan } from "../plan/types.js";
import type { Upscaling } from "../plan/upscaling.js";
import { summaryOfFigures } from "./figures.js";
import type { Figures, FigureSummary } from "./figures.js";
import type { Provenance } from "./provenance.js";

/** What a report needs of the provenance file. */
export interface RecordedResult extends Pick<Provenance, "plan" | "method" | "dialect" | "counts" | "warnings"> {
  readonly outputs: readonly { readonly file: string; readonly bytes: number }[];
  readonly figures?: Figures | undefined;
}

/** What a merge did, as plain data; `mergewright merge --json` prints it. */
export interface MergeReport {
  /** The output folder as given. */
  readonly out: string;
  /** The folder held this result already; nothing was done. */
  readonly upToDate: boolean;
  /** An interrupted run's work was continued. */
  readonly resumed: boolean;
  readonly method: string;
  readonly dialect: string;
  /** Hash of the plan. */
  readonly plan: string;
  readonly base: string | null;
  readonly models: readonly ModelReport[];
  readonly tensors: { readonly merged: number; readonly copied: number; readonly skipped: number };
  /** Entries of merged tensors; of tied ones each once. */
  readonly mergedEntries: number;
  /** The method's counts, and their share of the merged entries. */
  readonly counters: Readonly<Record<string, { readonly count: number; readonly share: number }>>;
  /** Of a method that solves whole matrices: residuals, condition numbers, steps; each at its worst. */
  readonly figures: readonly FigureSummary[];
  /** NaN or infinite entries in the output. */
  readonly nonFinite: number;
  readonly outputs: readonly { readonly file: string; readonly bytes: number }[];
  /** Of experts: the numbers that they store, and what they cost a token. */
  readonly upscaling?: Upscaling;
  /** `null` where nothing was done. */
  readonly cost: MergeCost | null;
  readonly warnings: readonly string[];
}

export interface ModelReport {
  readonly name: string;
  readonly model: string;
  /** What the trim kept of the task vector; `null` where nothing was trimmed by a threshold. */
  readonly kept: { readonly kept: number; readonly entries: number; readonly share: number } | null;
  /** The threshold where one holds for the whole model; infinite where everything is trimmed. */
  readonly threshold: number | null;
}

export interface MergeCost {
  readonly seconds: number;
  /** Of the inputs, statistics passes included; as planned, so `null` for a continued run, which read less. */
  readonly readBytes: number | null;
  readonly writtenBytes: number;
  /** Largest resident memory of the process so far. */
  readonly peakMemoryBytes: number;
}

/**
 * @param out the folder as given.
 * @param method whose figures are summed up.
 * @param run `null` where the output held the result already.
 */
export function mergeReport(
  out: string,
  method: Method,
  plan: Plan,
  recorded: RecordedResult,
  run: { readonly result: RunResult; readonly seconds: number; readonly peakMemoryBytes: number } | null,
): MergeReport {
  const { counts, dialect, plan: hash, outputs, warnings } = recorded;
  const { mergedEntries } = plan.estimate;
  const models = plan.inputs.filter(({ role }) => role === "model");
  return {
    out,
    upToDate: run === null,
    resumed: run?.result.resumed ?? false,
    method: recorded.method,
    dialect,
    plan: hash,
    base: plan.inputs.find(({ role }) => role === "base")?.label ?? null,
    models: models.map(({ name, label }, index) => {
      const kept = counts.kept?.[name];
      const threshold = run?.result.thresholds?.[index] ?? null;
      return {
        name,
        model: label,
        kept: kept === undefined ? null : { ...kept, share: shareOf(kept.kept, kept.entries) },
        threshold,
      };
    }),
    tensors: counts.tensors,
    mergedEntries,
    counters: Object.fromEntries(
      Object.entries(counts.counters).map(([name, count]) => [name, { count, share: shareOf(count, mergedEntries) }]),
    ),
    figures: summaryOfFigures(method, recorded.figures ?? null),
    nonFinite: counts.nonFinite,
    outputs: outputs.map(({ file, bytes }) => ({ file, bytes })),
    cost: run === null ? null : costOf(plan, run),
    warnings,
  };
}

function costOf(
  plan: Plan,
  run: { readonly result: RunResult; readonly seconds: number; readonly peakMemoryBytes: number },
): MergeCost {
  const { outputBytes, readBytes } = plan.estimate;
  const { seconds, peakMemoryBytes, result } = run;
  return { seconds, readBytes: result.resumed ? null : readBytes, writtenBytes: outputBytes, peakMemoryBytes };
}

function shareOf(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
