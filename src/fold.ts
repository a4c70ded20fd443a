/**
 * Adapters folded into a base, and taken out of a folded model again: a merge of one model that is computed where it is
 * read (adapters/folded.ts), so that shards, threads, restarts, provenance and verification are those of every merge.
 */
import { MergewrightError } from "./errors.js";
import { formatReference, parseReference } from "./adapters/reference.js";
import type { AdapterReference } from "./adapters/reference.js";
import { measureUnfolded } from "./adapters/unfolded.js";
import type { UnfoldError } from "./adapters/unfolded.js";
import type { OpenModel } from "./inputs.js";
import type { RecipeObject } from "./recipes.js";

export interface FoldRequest {
  /** The base; for unfolding the folded model. */
  readonly model: string;
  readonly adapters: readonly string[];
  /** One for each adapter. Default: 1 for each. */
  readonly weights?: readonly number[];
  /** As in a recipe. Default: the format of each tensor of the model. */
  readonly dtype?: string;
  /** Largest weight file, as in a recipe. */
  readonly shardSize?: string | number;
}

/** @param undo takes the adapters out. @throws usage for weights that do not fit the adapters. */
export function foldRecipe({ model, adapters, weights, dtype, shardSize }: FoldRequest, undo = false): RecipeObject {
  return {
    method: "passthrough",
    models: [referenceOf({ model, adapters, weights }, undo)],
    output: { ...(dtype !== undefined && { dtype }), ...(shardSize !== undefined && { shard_size: shardSize }) },
  };
}

/** The model with its adapters as one name, which can stand in any recipe. */
export function referenceOf(
  {
    model,
    adapters,
    weights = adapters.map(() => 1),
  }: Pick<FoldRequest, "model" | "adapters"> & {
    readonly weights?: readonly number[] | undefined;
  },
  undo = false,
): string {
  if (adapters.length === 0) throw usage("no adapter is given", { expected: "a base and at least one adapter" });
  if (weights.length !== adapters.length || !weights.every(Number.isFinite)) {
    throw usage("the weights do not fit the adapters", {
      expected: `${adapters.length} finite numbers, one for each adapter`,
      found: weights.join(", "),
    });
  }
  const parts = adapters.map((label, index): AdapterReference => ({ label, weight: weights[index]!, undo }));
  const reference = { base: model, adapters: parts };
  const label = formatReference(reference);
  const read = parseReference(label);
  if (read !== null && JSON.stringify(read) === JSON.stringify(reference)) return label;
  throw usage("a path holds what separates a base from its adapters", {
    expected: "paths without + and not like a weight (0.5*…)",
    found: label,
    advice: "make a link to the folder under another name",
  });
}

/** @param out the recovered model's folder. */
export async function measureUnfold(
  request: FoldRequest & { readonly out: string; readonly base?: string | null },
  openModel: OpenModel,
): Promise<UnfoldError> {
  const { model, out, base = null } = request;
  const refolded = await openModel(referenceOf({ ...request, model: out }));
  const opened = [refolded];
  const open = async (label: string) => {
    const checkpoint = await openModel(label);
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    const [folded, recovered] = [await open(model), await open(out)];
    return await measureUnfolded({ folded, recovered, refolded, base: base === null ? null : await open(base) });
  } finally {
    for (const checkpoint of opened) await checkpoint.close();
  }
}

function usage(
  summary: string,
  details: { readonly expected: string; readonly found?: string; readonly advice?: string },
): MergewrightError {
  return new MergewrightError(summary, { kind: "request", code: "usage", ...details });
}
