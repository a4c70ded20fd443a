/** Adapters into one adapter: the whole of it on one screen. */
import type { Adapter } from "../adapters/adapter.js";
import { peftDraft } from "../adapters/convert.js";
import type { AdapterDraft } from "../adapters/draft.js";
import { BaseNames } from "../adapters/target.js";
import type { Statistics } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { Checkpoint } from "../models/model.js";
import { isExcluded } from "../recipe/pattern.js";
import type { AdapterRecipe } from "../recipe/adapters.js";
import { combineBiases } from "./biases.js";
import { updatesByMethod } from "./by_method.js";
import { updatesBySum, weightsOf } from "./by_sum.js";
import { draftOf } from "./draft_of.js";
import { checkTogether, sharedModules } from "./gather.js";
import { together, weightName } from "./given.js";
import type { AdapterProgress, CombinePlatform, CombineReport, Given, ModuleReport, Updates } from "./given.js";
import { combineIa3 } from "./ia3.js";
import type { NewVectors } from "./ia3.js";
import { cat, isSum } from "./methods.js";
import { combineAsPeft } from "./peft/combine.js";
import { isPeft } from "./peft/methods.js";
import type { Recompressed } from "./recompress.js";
import { combineTokens, combineWhole } from "./whole.js";

export interface CombineOptions {
  /** Lets the adapters name different bases. Default false. */
  readonly anyBase?: boolean;
  /** Per adapter what was collected of it. */
  readonly statistics?: readonly (Statistics | null)[];
  readonly progress?: (progress: AdapterProgress) => void;
}

/** @param adapters in the order of the recipe's models. */
export async function combineAdapters(
  adapters: readonly Adapter[],
  base: Checkpoint | null,
  asked: AdapterRecipe,
  platform: CombinePlatform,
  { anyBase = false, statistics = [], progress = () => {} }: CombineOptions = {},
): Promise<{ draft: AdapterDraft; report: CombineReport }> {
  checkTogether(adapters, anyBase);
  refuseForeign(asked);
  const names = base === null ? null : new BaseNames(base.tensors.keys());
  const all = sharedModules(adapters, names);
  const left = all.filter(({ path }) => isExcluded(asked.recipe, weightName(path, 0, 1)));
  const modules = all.filter((module) => !left.includes(module));
  const given: Given = { adapters, modules, asked, base, names, statistics, platform, progress };
  const { recipe } = asked;
  if (left.length === 0 && isUnchanged(given))
    return { draft: await peftDraft(adapters[0]!, names), report: untouched(given) };
  const ia3 = adapters[0]!.config.type === "IA3";
  const peft = isPeft(recipe) && !ia3 ? await combineAsPeft(given) : null;
  const merged = peft !== null ? peft.updates : ia3 ? noUpdates : await mergeUpdates(given);
  const { vectors, figures, warnings } = ia3 ? await combineIa3(given) : noVectors;
  const biases = peft !== null ? peft.quirks.biases : await combineBiases(given);
  const whole = peft !== null ? { tensors: peft.quirks.whole, notes: [] } : await combineWhole(given);
  const tokens = await combineTokens(given);
  const draft = draftOf(given, { ...merged, vectors, biases, whole, tokens, quirks: peft?.quirks ?? null });
  const reports = modules.map(({ path }, index) => reportOf(path, merged.updates[index]!));
  return {
    draft,
    report: {
      method: recipe.method.name,
      dialect: recipe.dialect,
      space: !ia3 ? merged.space : Object.keys(figures).length > 0 ? "blocks" : "vectors",
      adapters: adapters.map(({ label }, index) => ({ name: recipe.models[index]!.name, label })),
      modules: reports,
      error: together(merged.updates.flat()),
      distance: merged.distance,
      parameters: draft.tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
      figures,
      warnings: [
        ...recipe.notes,
        ...left.map(({ path }) => `${path} is excluded: the result does not touch it`),
        ...merged.warnings,
        ...warnings,
        ...whole.notes,
        ...tokens.notes,
      ],
    },
  };
}

/** One adapter with weight 1 is the sum, whatever its kind: also where two of it could not be added. */
function isUnchanged({ adapters, modules, asked: { recipe } }: Given): boolean {
  if (adapters.length > 1 || recipe.method !== cat) return false;
  return modules.every((module) => weightsOf(recipe, module)[0] === 1);
}

function untouched({ adapters, asked: { recipe } }: Given): CombineReport {
  const [{ label, lora, header }] = adapters as [Adapter];
  return {
    method: recipe.method.name,
    dialect: "",
    space: "factors",
    adapters: [{ name: recipe.models[0]!.name, label }],
    modules: [...lora.values()].map(({ path, rank }) => ({ module: path, rank, norm: null, error: 0 })),
    error: 0,
    distance: null,
    parameters: header.tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
    warnings: recipe.notes,
    figures: {},
  };
}

const noVectors: NewVectors = { vectors: [], figures: {}, warnings: [] };

const noUpdates: Updates = { updates: [], space: "vectors", distance: null, warnings: [] };

function mergeUpdates(given: Given): Promise<Updates> {
  const { recipe } = given.asked;
  const dora = given.modules.some(({ parts }) => parts.some((part) => part?.magnitude != null));
  if (isSum(recipe.method) && !dora) return updatesBySum(given);
  return updatesByMethod(given);
}

/** What the engine's recipes can say and an adapter cannot be. */
function refuseForeign({ recipe }: AdapterRecipe): void {
  const wrong =
    recipe.layout !== null
      ? "slices"
      : recipe.tokenizer !== null
        ? "tokenizer"
        : recipe.mergekit !== null
          ? "merge_method"
          : Object.keys(recipe.merges).length > 0
            ? "merge"
            : null;
  if (wrong === null) return;
  throw new MergewrightError(`${wrong} does not go with adapters`, {
    kind: "request",
    code: "recipe/unsupported",
    where: { key: wrong },
    expected: "method, models, parameters, prune, lines, exclude, seed, adapter, base, output",
    advice: "fold the adapters into their base and merge the models",
  });
}

/** The experts of a module together. */
function reportOf(module: string, updates: readonly Recompressed[]): ModuleReport {
  return {
    module,
    rank: Math.max(...updates.map(({ a }) => a.rows)),
    norm: Math.hypot(...updates.map(({ norm }) => norm)),
    error: together(updates),
  };
}
