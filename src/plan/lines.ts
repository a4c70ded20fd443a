/**
 * LiNeS (Wang et al., arXiv 2410.17146): the merged change of layer l of L is multiplied by alpha + beta·l / (L − 1), so
 * that early layers, which hold what the tasks share, move less than late ones. It is a factor on each tensor's lambda,
 * so every method with a lambda takes it, nothing is rounded twice, and with alpha given or derived no pass is added.
 */

import { MergewrightError } from "../errors.js";
import type { Settings, Values } from "../methods/method.js";
import { Layers } from "../models/layers.js";
import { flatPlace, isUniform, settingsFor, whereOf } from "../recipe/pattern.js";
import { makesArtifact } from "./artifact.js";
import type { Recipe } from "../recipe/recipe.js";

/** The factor of a tensor's merged change, by name. */
export type LayerScale = (name: string) => number;

/**
 * @param names of the output's tensors. Each stack of layers (an encoder, a decoder) runs from alpha to alpha + beta; a
 * stack's only layer counts as the last. Tensors outside of the layers get alpha, as in the released code.
 * Until alpha is measured, where it must be, it is that of the plain sum.
 * @param isWritten false for a merge that is an input of another.
 * @throws recipe/unsupported where no name has a layer, or alpha can neither be derived nor measured.
 */
export function layerScale(recipe: Recipe, names: Iterable<string>, isWritten = true): LayerScale {
  if (recipe.lines === null) return () => 1;
  const layers = new Layers(names);
  if (layers.counts.size === 0) {
    throw unsupported(recipe, "no tensor's name tells its layer", {
      expected: "names such as model.layers.3.mlp.up_proj.weight",
      advice: 'set lambda by patterns instead, e.g. lambda: {patterns: {"early*": 0.1}}',
    });
  }
  const { beta } = recipe.lines;
  if (measuresAlpha(recipe)) checkMeasurable(recipe, isWritten);
  const alpha = recipe.lines.alpha ?? derivedAlpha(recipe) ?? 1 / recipe.models.length;
  return (name) => alpha + beta * (layers.depthOf(name) ?? 0);
}

/** The values with every lambda multiplied. */
export function scaleLambda({ global, models }: Settings, factor: number): Settings {
  if (factor === 1) return { global, models };
  const scaled = (values: Values): Values => ({ ...values, lambda: Number(values.lambda) * factor });
  return { global: scaled(global), models: models.map(scaled) };
}

/**
 * Whether alpha is not written and does not follow from the recipe, so that the merged change must be looked at before it is
 * scaled: alpha is (|tau_1 + … + tau_n|₁ / |merged change|₁) / n, the merged change being that of lambda 1.
 */
export function measuresAlpha(recipe: Recipe): boolean {
  return recipe.lines !== null && recipe.lines.alpha === null && derivedAlpha(recipe) === null;
}

/** What a plan says of alpha. */
export function noteOnAlpha(recipe: Recipe): string[] {
  if (recipe.lines === null || recipe.lines.alpha !== null) return [];
  const derived = derivedAlpha(recipe);
  if (derived !== null) return [`alpha of lines is ${derived}, as follows from the models and their weights`];
  return [
    "alpha of lines is measured before the merge: the L1 norm of the sum of the models' changes over that of the merged " +
      `change with lambda 1, divided by ${recipe.models.length}; takes the passes of the merge once more`,
  ];
}

/**
 * The paper's alpha, known without looking at the weights where the merged change is a multiple of the sum; else `null`.
 */
function derivedAlpha(recipe: Recipe): number | null {
  const { method, models } = recipe;
  const uniform = recipe.prune === null && isUniform(recipe, "lambda");
  const settings = uniform ? settingsFor(recipe, flatPlace("", 0, [...models.keys()])) : null;
  const multiple = (settings && method.grain === "tile" && method.sumMultiple?.(settings)) || null;
  return multiple === null ? null : 1 / Math.abs(multiple) / models.length;
}

/** @throws recipe/unsupported where there is no one merged change, or no base from which changes are. */
function checkMeasurable(recipe: Recipe, isWritten: boolean): void {
  const why =
    (recipe.base === null && "without a base there are no changes") ||
    (recipe.layout !== null && "a result put together from slices has no sum of its models' changes") ||
    (makesArtifact(recipe.method) && "an artifact has no one merged change") ||
    (!isWritten && "a merge that is an input is measured by none");
  if (why === false) return;
  throw unsupported(recipe, `alpha of lines cannot be measured for this ${recipe.method.name} merge: ${why}`, {
    expected: "a number for alpha",
    advice: isWritten
      ? `write lines: {alpha: …, beta: …}; 1/${recipe.models.length} is the value for the plain sum`
      : "merge this recipe by itself, which tells its alpha, and write it: lines: {alpha: …, beta: …}",
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
