import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { derive, pathsOf, taskOfModel, type TaskScore } from "./laboratory.js";
import { percent } from "./redundancy.js";
import type { Template } from "../search/field.js";
import type { Recipe } from "../recipe/recipe.js";

const PROBABILITIES = [0, 0.2, 0.4, 0.6, 0.8, 1];
const PARTS = ["top", "bottom"] as const;
type Part = (typeof PARTS)[number];

/** Each model with signs of its largest, or of its other changes flipped at random, on its own task. */
export const flips: CurveKind = {
  meaning: "accuracy when signs of the largest, or of all other changes are flipped",
  work: (context) => PARTS.length * valuesOf(context).length * context.recipes[0]!.template.recipe.models.length,
  async run(context): Promise<Curve> {
    const { recipes, tasks, laboratory, settings } = context;
    const { template } = recipes[0]!;
    const paths = pathsOf(template.recipe);
    const numbers: { part: Part; probability: number; mean: number; tasks: TaskScore[] }[] = [];
    for (const part of PARTS) {
      for (const probability of valuesOf(context)) {
        const scores: TaskScore[] = [];
        for (const [index, { name }] of template.recipe.models.entries()) {
          const recipe = flipped(template, paths[index]!, { part, probability, density: settings.density });
          scores.push((await laboratory.score(recipe, [taskOfModel(name, tasks)])).tasks[0]!);
        }
        const mean = scores.reduce((sum, { value }) => sum + value, 0) / scores.length;
        numbers.push({ part, probability, mean, tasks: scores });
      }
    }
    const names = {
      top: `the largest ${percent(settings.density)}`,
      bottom: `the other ${percent(1 - settings.density)}`,
    };
    const series = PARTS.map((part) => ({
      name: names[part],
      points: numbers.filter((one) => one.part === part).map(({ probability, mean }) => ({ x: probability, y: mean })),
    }));
    return {
      chart: {
        kind: "lines",
        title: "Accuracy when signs of changes are flipped",
        description: `Mean score of the models on their own tasks (${settings.split}) by how likely the sign of a change is flipped. ${series
          .map(({ name, points }) => `${name}: ${points.map(({ x, y }) => `${x} ${percent(y)}`).join(", ")}`)
          .join("; ")}.`,
        x: { label: "probability that a sign is flipped", from: 0, to: 1 },
        y: { label: "mean score on the own tasks", form: "percent" },
        series,
      },
      numbers: { density: settings.density, flips: numbers },
    };
  },
};

function valuesOf({ settings }: CurveContext): readonly number[] {
  return settings.values ?? PROBABILITIES;
}

/**
 * theta_0 + tau - 2 R(part of tau), R keeping each entry with the probability: as a recipe, so that it is made as every
 * merge is.
 */
function flipped(
  template: Template,
  model: string,
  { part, probability, density }: { part: Part; probability: number; density: number },
): Recipe {
  const { base, exclude } = template.recipe;
  const whole = { model, name: "whole", weight: 1 };
  if (probability === 0)
    return derive(template, { method: "task_arithmetic", models: [whole], parameters: { lambda: 1 } });
  const top = { method: "ties", base, exclude, models: [model], parameters: { density } };
  const others = {
    ...{ method: "task_arithmetic", base, exclude, parameters: { lambda: 1 } },
    models: [whole, { merge: top, name: "top", weight: -1 }],
  };
  const flips = { merge: part === "top" ? top : others, name: part, weight: -2 };
  return derive(template, {
    ...{ method: "task_arithmetic", parameters: { lambda: 1 } },
    prune: { by: "random", density: 1, rescale: "none" },
    models: [whole, { ...flips, prune: { density: probability } }],
  });
}
