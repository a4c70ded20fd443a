import * as v from "valibot";
import { planHash } from "../execute/journal.js";
import type { Plan } from "../plan/types.js";
import { VERSION } from "../version.js";
import type { RecordedResult } from "./merge_report.js";

/** What of a provenance file says whose result it is, and what a report repeats. */
const RECORDED = v.object({
  mergewright: v.literal(VERSION),
  format: v.literal(1),
  plan: v.string(),
  method: v.string(),
  dialect: v.string(),
  inputs: v.array(
    v.object({
      files: v.array(
        v.object({ bytes: v.number(), modified: v.string(), header: v.string(), content: v.optional(v.string()) }),
      ),
    }),
  ),
  outputs: v.array(v.object({ file: v.string(), bytes: v.number() })),
  counts: v.object({
    tensors: v.object({ merged: v.number(), copied: v.number(), skipped: v.number() }),
    mergedEntries: v.number(),
    kept: v.nullable(v.record(v.string(), v.object({ kept: v.number(), entries: v.number() }))),
    counters: v.record(v.string(), v.number()),
    nonFinite: v.number(),
  }),
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
  const { plan: hash, inputs, counts } = parsed.output;
  if (hash !== planHash(plan)) return null;
  const files = inputs.flatMap((input, index) => input.files.map((file) => ({ ...file, input: index })));
  const recorded = files.map(({ input, bytes, modified, header }) => stateText(input, bytes, modified, header));
  const now = plan.sources.map(({ input, stamp, headerHash }) =>
    stateText(input, stamp.size, stamp.version, headerHash),
  );
  if (recorded.join("\n") !== now.join("\n")) return null;
  // Without a time or a tag, equal sizes say nothing about the content.
  if (plan.sources.some(({ stamp }) => stamp.version === "")) return null;
  if (hashInputs && files.some(({ content }) => content === undefined)) return null;
  if (strict && counts.nonFinite > 0) return null;
  return parsed.output;
}

function stateText(input: number, bytes: number, modified: string, header: string): string {
  return JSON.stringify([input, bytes, modified, header]);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
