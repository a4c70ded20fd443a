import { MergewrightError } from "../errors.js";
import type { LineSeries } from "../plots/chart.js";
import { recipeWith } from "../search/field.js";
import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { percent } from "./redundancy.js";

const VALUES: Readonly<Record<string, readonly number[]>> = {
  lambda: [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.2, 1.5],
  density: [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1],
};

/** Accuracy by one parameter, for every recipe that has it. */
export function sensitivity(parameter: "lambda" | "density"): CurveKind {
  const valuesOf = ({ settings }: CurveContext) => settings.values ?? VALUES[parameter]!;
  const having = ({ recipes }: CurveContext) =>
    recipes.filter(({ template: { recipe } }) => Object.hasOwn(recipe.method.parameters, parameter));
  return {
    meaning: `accuracy by ${parameter}, a line per recipe`,
    work: (context) => having(context).length * valuesOf(context).length * context.tasks.length,
    async run(context): Promise<Curve> {
      const { tasks, laboratory, recipes } = context;
      const used = having(context);
      if (used.length === 0) throw without(parameter, recipes[0]!.template.recipe.method.name);
      const numbers = [];
      const series: LineSeries[] = [];
      for (const { name, template } of used) {
        const points = [];
        for (const value of valuesOf(context)) {
          const recipe = recipeWith(template, [[`parameters.${parameter}`, value]]);
          points.push({ [parameter]: value, ...(await laboratory.score(recipe, tasks)) });
        }
        numbers.push({ name, points });
        series.push({ name, points: points.map((point, at) => ({ x: valuesOf(context)[at]!, y: point.mean })) });
      }
      return {
        chart: {
          kind: "lines",
          title: `Accuracy by ${parameter}`,
          description: `Mean score over ${tasks.length} tasks (${context.settings.split}). ${series
            .map(({ name, points }) => `${name}: ${points.map(({ x, y }) => `${x} ${percent(y)}`).join(", ")}`)
            .join("; ")}.`,
          x: { label: parameter, ...(parameter === "density" && { form: "percent" as const }) },
          y: { label: "mean score", form: "percent" },
          series,
        },
        numbers: { recipes: numbers },
      };
    },
  };
}

function without(parameter: string, method: string): MergewrightError {
  return new MergewrightError(`no recipe has a ${parameter} to vary`, {
    kind: "request",
    code: "usage",
    where: { key: `--kind ${parameter}` },
    found: `method ${method}`,
    advice: `name a recipe whose method has the parameter ${parameter}, such as ties`,
  });
}
