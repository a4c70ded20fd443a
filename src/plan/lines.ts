/**
 * LiNeS (Wang et al., arXiv 2410.17146): the merged change of layer l of L is multiplied by alpha + beta·l / (L − 1), so
 * that early layers, which hold what the tasks share, move less than late ones. It is a factor on each tensor's lambda,
 * so every method with a lambda takes it, nothing is rounded twice and no pass is added.
 */

import { MergewrightError } from "../errors.js";
import type { Settings, Values } from "../methods/method.js";
import { Layers } from "../models/layers.js";
import { flatPlace, settingsFor, whereOf } from "../recipe/pattern.js";
import { isGradient, type ModelSetting, type Recipe } from "../recipe/recipe.js";

/** The factor of a tensor's merged change, by name. */
export type LayerScale = (name: string) => number;

/**
 * @param names of the output's tensors. Each stack of layers (an encoder, a decoder) runs from alpha to alpha + beta; a
 * stack's only layer counts as the last. Tensors outside of the layers get alpha, as in the released code.
 * @throws recipe/unsupported where no name has a layer, or alpha does not follow from the recipe.
 */
export function layerScale(recipe: Recipe, names: Iterable<string>): LayerScale {
  if (recipe.lines === null) return () => 1;
  const layers = new Layers(names);
  if (layers.counts.size === 0) {
    throw unsupported(recipe, "no tensor's name tells its layer", {
      expected: "names such as model.layers.3.mlp.up_proj.weight",
      advice: 'set lambda by patterns instead, e.g. lambda: {patterns: {"early*": 0.1}}',
    });
  }
  const { beta } = recipe.lines;
  const alpha = recipe.lines.alpha ?? derivedAlpha(recipe);
  return (name) => alpha + beta * (layers.depthOf(name) ?? 0);
}

/** The values with every lambda multiplied. */
export function scaleLambda({ global, models }: Settings, factor: number): Settings {
  if (factor === 1) return { global, models };
  const scaled = (values: Values): Values => ({ ...values, lambda: Number(values.lambda) * factor });
  return { global: scaled(global), models: models.map(scaled) };
}

/**
 * The paper's alpha, (|tau_1 + … + tau_n|₁ / |merged change|₁) / n: known without looking at the weights where the merged
 * change is a multiple of the sum.
 */
function derivedAlpha(recipe: Recipe): number {
  const { method, models, parameters } = recipe;
  const blocks = [parameters, ...models.map((model) => model.parameters)];
  const isUniform = ([name, { value, patterns }]: readonly [string, ModelSetting]) =>
    name === "lambda" || (patterns.length === 0 && !isGradient(value));
  const uniform =
    recipe.prune === null && recipe.layout === null && blocks.every((block) => Object.entries(block).every(isUniform));
  // Every tensor then has the same values.
  const settings = uniform ? settingsFor(recipe, flatPlace("", 0, [...models.keys()])) : null;
  const multiple = (settings && method.grain === "tile" && method.sumMultiple?.(settings)) || null;
  if (multiple !== null) return 1 / Math.abs(multiple) / models.length;
  throw unsupported(recipe, `alpha of lines cannot be derived for this ${method.name} merge`, {
    expected:
      "a number for alpha; it is derived where the merged change is a multiple of the sum of the models' changes",
    advice: `write lines: {alpha: …, beta: …}; 1/${models.length} is the value for the plain sum`,
  });
}

function unsupported(
  recipe: Recipe,
  message: string,
  details: { readonly expected: string; readonly advice: string },
): MergewrightError {
  return new MergewrightError(message, {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, "lines"),
    ...details,
  });
}
