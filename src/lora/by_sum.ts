/** The weighted sum of updates: stacked factors, or the best update of a rank; never a matrix of the layer's size. */
import { MergewrightError } from "../errors.js";
import { flatPlace, settingsFor, whereOf } from "../recipe/pattern.js";
import { isGradient } from "../recipe/recipe.js";
import type { Recipe } from "../recipe/recipe.js";
import { weightName } from "./given.js";
import type { Given, Updates } from "./given.js";
import type { SharedModule } from "./gather.js";
import { cat } from "./methods.js";
import type { Cutoff, Recompressed } from "./recompress.js";
import type { Action, ModuleWork } from "./work.js";
import type { ByteSource } from "../sources/source.js";

export async function updatesBySum(given: Given): Promise<Updates> {
  const { modules, asked, platform, progress } = given;
  refuseGradients(asked.recipe);
  const cutoff = asked.recipe.method.name === cat.name ? exactOr(cutoffOf(given)) : needed(given);
  const works = modules.map((module) => workOf(given, module, weightsOf(asked.recipe, module), { do: "sum", cutoff }));
  const updates: (readonly Recompressed[])[] = modules.map(() => []);
  let done = 0;
  await platform.workOn(works, (index, result) => {
    if (result.kind === "updates") updates[index] = result.updates;
    progress({ doing: "summing", done: ++done, of: modules.length });
  });
  return { updates, space: "factors", distance: null, warnings: [] };
}

/** The work on one module, with the weight times the scaling as each part's scale. */
export function workOf(
  { adapters }: Pick<Given, "adapters">,
  { parts }: SharedModule,
  weights: readonly number[],
  action: Action,
): ModuleWork<ByteSource> {
  return {
    sources: adapters.map(({ label, source }) => ({ label, source })),
    parts: parts.flatMap((module, source) =>
      module === null ? [] : [{ source, module, scale: weights[source]! * module.scaling }],
    ),
    action,
  };
}

/** Each model's weight for a module. */
export function weightsOf(recipe: Recipe, { path, first }: SharedModule): number[] {
  const name = weightName(path, 0, first.experts);
  const place = flatPlace(name, 0, [...recipe.models.keys()]);
  return settingsFor(recipe, place).models.map(({ weight }) => Number(weight ?? 1));
}

/** What the recipe asks for; empty: nothing. */
export function cutoffOf({ asked: { wish } }: Pick<Given, "asked">): Cutoff {
  return { ...(wish.rank !== null && { rank: wish.rank }), ...(wish.energy !== null && { energy: wish.energy }) };
}

function exactOr(cutoff: Cutoff): null {
  if (Object.keys(cutoff).length === 0) return null;
  throw new MergewrightError("cat keeps the whole sum, so there is nothing to cut", {
    kind: "request",
    code: "recipe/unsupported",
    where: { key: "adapter" },
    expected: "no rank and no energy",
    advice: "use method svd for a sum of lower rank",
  });
}

function needed(given: Given): Cutoff {
  const cutoff = cutoffOf(given);
  if (Object.keys(cutoff).length > 0) return cutoff;
  throw new MergewrightError("svd needs to know how much of the sum to keep", {
    kind: "request",
    code: "recipe/missing-key",
    where: whereOf(given.asked.recipe, "adapter"),
    expected: "rank, energy or both, e.g. --rank 8 or --energy 0.99",
    advice: "use method cat to keep all of it",
  });
}

/** Their place would be that of a layer, which a module outside of the layers does not have. */
export function refuseGradients(recipe: Recipe): void {
  const values = [recipe.parameters, ...recipe.models.map(({ parameters }) => parameters)].flatMap(Object.values);
  if (!values.some(({ value }) => isGradient(value))) return;
  throw new MergewrightError("gradients over the layers do not go with this method of adapters", {
    kind: "request",
    code: "recipe/unsupported",
    expected: "a number, with patterns where layers differ",
  });
}
