import * as v from "valibot";
import { RecordedInputs, RecordedMerges } from "../analyse/recorded.js";
import type { RecordedFile } from "../analyse/recorded.js";
import { planHash } from "../execute/journal.js";
import { storedSources } from "../plan/streams.js";
import type { Plan, PlannedSource } from "../plan/types.js";
import { VERSION } from "../version.js";
import type { RecordedResult } from "./merge_report.js";

/** What of a provenance file says whose result it is, and what a report repeats. */
const RECORDED = v.object({
  mergewright: v.literal(VERSION),
  format: v.literal(1),
  plan: v.string(),
  method: v.string(),
  dialect: v.string(),
  inputs: RecordedInputs,
  merges: RecordedMerges,
  outputs: v.array(v.object({ file: v.string(), bytes: v.number() })),
  counts: v.object({
    tensors: v.object({ merged: v.number(), copied: v.number(), skipped: v.number() }),
    mergedEntries: v.number(),
    kept: v.nullable(v.record(v.string(), v.object({ kept: v.number(), entries: v.number() }))),
    counters: v.record(v.string(), v.number()),
    nonFinite: v.number(),
  }),
  figures: v.optional(v.record(v.string(), v.record(v.string(), v.array(v.nullable(v.number()))))),
  warnings: v.array(v.string()),
});

export interface Wanted {
  /** The recorded result must be free of NaN and infinity. */
  readonly strict: boolean;
  /** The recorded inputs must carry the hashes of their content. */
  readonly hashInputs: boolean;
}

/**
 * What the provenance in `text` records, if it says that the folder holds the result of exactly this plan: made by this
 * version, from inputs of the same size, time and header. `null` otherwise, also for a text that is no provenance.
 */
export function finishedResult(text: string, plan: Plan, { strict, hashInputs }: Wanted): RecordedResult | null {
  const parsed = v.safeParse(RECORDED, parseJson(text));
  if (!parsed.success) return null;
  const { plan: hash, inputs, merges, counts } = parsed.output;
  if (hash !== planHash(plan)) return null;
  const files = [...merges.flatMap((merge) => merge.inputs), ...inputs].flatMap((input) => input.files);
  const now = storedSources(plan);
  if (files.map(recordedState).join("\n") !== now.map(presentState).join("\n")) return null;
  // Without a time or a tag, equal sizes say nothing about the content.
  if (now.some(({ stamp }) => stamp.version === "")) return null;
  if (hashInputs && files.some(({ content }) => content === undefined)) return null;
  if (strict && counts.nonFinite > 0) return null;
  return parsed.output;
}

function recordedState({ bytes, modified, header }: RecordedFile): string {
  return JSON.stringify([bytes, modified, header]);
}

function presentState({ stamp, headerHash }: PlannedSource): string {
  return JSON.stringify([stamp.size, stamp.version, headerHash]);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
