/**
 * Looks at a merge before it is made: whether it can be planned, whether its models fit together, what their weights say
 * about merging them, and what it will cost. Reads headers, configs, tokenizers and a small sample of the weights; writes
 * nothing.
 */
import type { AnalysisOptions, ReadingPlatform } from "../analyse/platform.js";
import { MergewrightError } from "../errors.js";
import { openInputs } from "../inputs.js";
import type { Checkpoint } from "../models/model.js";
import type { Dtype } from "../numbers/dtypes.js";
import { makePlan } from "../plan/plan.js";
import { isMerged } from "../plan/streams.js";
import type { OpenInputs, Plan } from "../plan/types.js";
import { isExcluded } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { changeFindings } from "./changes.js";
import { configFindings } from "./config.js";
import { costFindings, costOf } from "./cost.js";
import type { Cost, Machine } from "./cost.js";
import type { Finding, Named } from "./findings.js";
import { labelOfMerge, planFindings, planProblem, mergekitFindings } from "./plan.js";
import { MOST_COMPARED, sampleModels } from "./sample.js";
import type { Sampled } from "./sample.js";
import { formatFindings, tensorFindings } from "./tensors.js";
import { tokenFindings } from "./tokens.js";

export interface CheckOptions extends AnalysisOptions {
  /** Where the result would go; the room is looked at there. Default: the working directory. */
  readonly out?: string;
  /** Also look at a sample of the weights. Default true. */
  readonly weights?: boolean;
}

export interface Preflight {
  /** Whether nothing was found that is a problem. */
  readonly ok: boolean;
  /** Problems first, then warnings, then notes. */
  readonly findings: readonly Finding[];
  /** `null` where the merge cannot be planned. */
  readonly cost: Cost | null;
  /** `null` where no weights were looked at. */
  readonly sample:
    | (Omit<Sampled, "tensors"> & { readonly models: readonly string[]; readonly base: string | null })
    | null;
}

/** @throws where the recipe's checkpoints cannot be opened. */
export async function checkRecipe(
  recipe: Recipe,
  platform: ReadingPlatform & Machine,
  options: CheckOptions,
): Promise<Preflight> {
  const { inputs, plan, problems } = await openAndPlan(recipe, platform);
  try {
    const findings = [...problems];
    const sampled = await checkOne(recipe, inputs, plan, platform, options, findings);
    for (const { key, recipe: inner, inputs: innerInputs, plan: innerPlan } of inputs.merges) {
      const own: Finding[] = [];
      // Its plan's warnings are among the outer plan's.
      await checkOne(inner, innerInputs, { ...innerPlan, warnings: [] }, platform, options, own);
      const label = (plan && labelOfMerge(plan, key)) ?? inner.method.name;
      findings.push(...own.map((finding) => ({ ...finding, what: `in ${label}: ${finding.what}` })));
    }
    const place = { out: options.out ?? ".", threads: options.threads };
    const cost = plan === null ? null : await costOf(recipe, plan, place, platform);
    if (cost !== null) findings.push(...costFindings(cost, place));
    const order = { problem: 0, warning: 1, note: 2 } as const;
    findings.sort((a, b) => order[a.level] - order[b.level]);
    return { ok: findings.every(({ level }) => level !== "problem"), findings, cost, sample: sampled };
  } finally {
    await inputs.close();
  }
}

/** A merge that cannot be planned is a finding, and its models are looked at all the same. */
async function openAndPlan(recipe: Recipe, { openModel }: ReadingPlatform) {
  let inputs: Awaited<ReturnType<typeof openInputs>>;
  const problems: Finding[] = [];
  try {
    inputs = await openInputs(recipe, openModel);
  } catch (error) {
    // Vocabularies that cannot be united: without them, what else is wrong can still be told.
    if (recipe.tokenizer === null || !isOfPlan(error)) throw error;
    problems.push(...planProblem(error));
    inputs = await openInputs({ ...recipe, tokenizer: null, chatTemplate: null }, openModel);
  }
  try {
    const plan = problems.length > 0 ? null : makePlan(recipe, inputs);
    return { inputs, plan, problems };
  } catch (error) {
    if (isOfPlan(error)) return { inputs, plan: null, problems: planProblem(error) };
    await inputs.close();
    throw error;
  }
}

function isOfPlan(error: unknown): error is MergewrightError {
  return error instanceof MergewrightError && error.kind === "request" && !/^(?:io|recipe\/syntax)/.test(error.code);
}

/** Everything about one merge but its cost, inner merges and what keeps it from being planned. */
async function checkOne(
  recipe: Recipe,
  inputs: OpenInputs,
  plan: Plan | null,
  platform: ReadingPlatform,
  options: CheckOptions,
  findings: Finding[],
): Promise<Preflight["sample"]> {
  const { base } = inputs;
  const models = inputs.models.map((checkpoint, index): Named => ({ name: recipe.models[index]!.name, checkpoint }));
  const all: Named[] = [...(base === null ? [] : [{ name: base.name, checkpoint: base }]), ...models];
  if (plan !== null) findings.push(...planFindings(plan), ...formatFindings(plan), ...mergekitFindings(recipe, plan));
  // Slices put tensors together under new names, so that equal names say nothing.
  if (recipe.layout === null) findings.push(...tensorFindings(recipe, all, plan !== null));
  findings.push(...configFindings(all, recipe.tokenizer !== null), ...(await tokenFindings(recipe, all)));
  const stored = models.filter(({ checkpoint }) => !isMerged(checkpoint)).slice(0, MOST_COMPARED);
  if (options.weights === false || stored.length === 0) return null;
  const storedBase = base === null || isMerged(base) ? null : base;
  const context = { models: stored.map(({ name }) => name), base: storedBase?.name ?? null };
  const sampled = await sampleOf(recipe, storedBase, stored, platform, options);
  if (sampled === null) return null;
  findings.push(...changeFindings(sampled, { ...context, output: plan === null ? null : commonest(plan) }));
  const { tensors: _, ...figures } = sampled;
  return { ...figures, ...context };
}

function sampleOf(
  recipe: Recipe,
  base: Checkpoint | null,
  models: readonly Named[],
  platform: ReadingPlatform,
  options: CheckOptions,
): Promise<Sampled | null> {
  const checkpoints = models.map(({ checkpoint }) => checkpoint);
  return sampleModels(base, checkpoints, (name) => isExcluded(recipe, name), platform, options);
}

/** The format that most merged entries of the result have. */
function commonest({ tensors }: Plan): Dtype | null {
  const entries = new Map<Dtype, number>();
  for (const { action, dtype, entries: size } of tensors) {
    if (action === "merge") entries.set(dtype, (entries.get(dtype) ?? 0) + size);
  }
  return [...entries].sort(([, a], [, b]) => b - a)[0]?.[0] ?? null;
}
