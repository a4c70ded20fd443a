import { examine, relations, scan } from "./analysis_jobs.js";
import { assume, combine, copy, rehearse, reread } from "./combine_jobs.js";
import { mask } from "./mask_jobs.js";
import { digestBase, exceed, magnitudes, pack, rereadPack, rereadPacked } from "./packing_jobs.js";
import { solveMatrix } from "./matrix_jobs.js";
import { combineColumns, gram, mixColumns, mixRows } from "./mixture_jobs.js";
import type { Bench } from "./bench.js";
import type { Jobs, JobName } from "./job_types.js";
import { score, selectScores } from "./score_jobs.js";
import { energyBins, lineNorms, moments, norms, overlap, patterns, sample, select, survey } from "./statistics_jobs.js";

export type * from "./job_types.js";

/**
 * Parts whose sums are exact in any order: a thread adds its own up and sends one. All other parts are sent per block
 * and joined in block order.
 */
export const exactSums: { readonly [N in JobName]?: (a: Jobs[N]["part"], b: Jobs[N]["part"]) => Jobs[N]["part"] } = {
  energyBins: (a, b) =>
    a.map((part, i) => ({
      counts: addArrays(part.counts, b[i]!.counts),
      upper: addArrays(part.upper, b[i]!.upper),
      lower: addArrays(part.lower, b[i]!.lower),
    })),
  sample: () => null,
  patterns: (a, b) => a.map((part, i) => addArrays(part, b[i]!)),
};

function addArrays(into: Float64Array, more: Float64Array): Float64Array {
  for (let i = 0; i < into.length; i++) into[i]! += more[i]!;
  return into;
}

type JobTable = {
  readonly [N in JobName]: (bench: Bench, block: Jobs[N]["block"], args: Jobs[N]["args"]) => Promise<Jobs[N]["part"]>;
};

/** The catalogue of jobs. */
export const jobs: JobTable = {
  combine,
  mask,
  magnitudes,
  exceed,
  pack,
  rereadPack,
  rereadPacked,
  digestBase,
  assume,
  rehearse,
  copy,
  gram,
  mixRows,
  mixColumns,
  combineColumns,
  solveMatrix,
  reread,
  sample,
  select,
  survey,
  score,
  selectScores,
  moments,
  energyBins,
  patterns,
  overlap,
  norms,
  lineNorms,
  scan,
  relations,
  examine,
};
