import type { LineSeries } from "../plots/chart.js";
import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { derive, pathsOf, taskOfModel, type TaskScore } from "./laboratory.js";

const DENSITIES = [0.1, 0.2, 0.4, 0.6, 0.8, 1];

interface Point extends TaskScore {
  readonly density: number;
}

/** Each fine-tuned model with only the largest entries of its change, on its own task. */
export const redundancy: CurveKind = {
  meaning: "accuracy of each model when only the largest entries of its change are kept",
  work: (context) => valuesOf(context).length * context.recipes[0]!.template.recipe.models.length,
  async run(context): Promise<Curve> {
    const { recipes, tasks, laboratory } = context;
    const { template } = recipes[0]!;
    const paths = pathsOf(template.recipe);
    const densities = valuesOf(context);
    const models: { name: string; points: Point[] }[] = [];
    for (const [index, { name }] of template.recipe.models.entries()) {
      const task = taskOfModel(name, tasks);
      const points: Point[] = [];
      for (const density of densities) {
        const recipe = derive(template, { method: "ties", models: [paths[index]!], parameters: { density } });
        const { tasks: scores } = await laboratory.score(recipe, [task]);
        points.push({ density, ...scores[0]! });
      }
      models.push({ name, points });
    }
    const means = densities.map((density, at) => {
      return { density, mean: models.reduce((sum, { points }) => sum + points[at]!.value, 0) / models.length };
    });
    const series: LineSeries[] = [
      ...models.map(({ name, points }) => ({
        name,
        points: points.map(({ density, value }) => ({ x: density, y: value })),
      })),
      { name: "mean", strong: true, points: means.map(({ density, mean }) => ({ x: density, y: mean })) },
    ];
    return {
      chart: {
        kind: "lines",
        title: "Redundancy: only the largest changes are kept",
        description: `Score of each model on its own task (${context.settings.split}) by the share of its change that is kept. In the mean ${means
          .map(({ density, mean }) => `${percent(density)}: ${percent(mean)}`)
          .join(", ")}.`,
        x: { label: "entries of the task vector kept", form: "percent", from: 0, to: 1 },
        y: { label: "score on the own task", form: "percent" },
        series,
      },
      numbers: { models, means },
    };
  },
};

function valuesOf({ settings }: CurveContext): readonly number[] {
  return settings.values ?? DENSITIES;
}

export function percent(share: number): string {
  return `${Number((100 * share).toFixed(1))} %`;
}
