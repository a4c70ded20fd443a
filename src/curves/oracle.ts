import { MergewrightError } from "../errors.js";
import { individualOf } from "../search/objective.js";
import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { derive, pathsOf } from "./laboratory.js";
import { percent } from "./redundancy.js";
import type { Recipe } from "../recipe/recipe.js";

/** TIES with its own elected signs, with those of a model trained on all tasks, and that model itself. */
export const oracle: CurveKind = {
  meaning: "TIES with elected signs beside TIES with the signs of a model of all tasks (--oracle)",
  work: ({ tasks }) => 4 * tasks.length,
  async run({ recipes, tasks, laboratory, settings }: CurveContext): Promise<Curve> {
    const { template } = recipes[0]!;
    const { recipe } = template;
    if (settings.oracle === null) throw missing();
    if (!Object.hasOwn(recipe.method.parameters, "oracle")) throw other(recipe);
    const models = pathsOf(recipe);
    const parameters = {
      density: recipe.parameters["density"]!.value,
      lambda: recipe.parameters["lambda"]!.value,
      merge: recipe.parameters["merge"]!.value,
    };
    const method = recipe.method.name;
    const signs = { elect: "oracle", oracle: settings.oracle };
    const rows = [
      ["elected signs", await laboratory.score(derive(template, { method, models, parameters }), tasks)],
      [
        "signs of the oracle",
        await laboratory.score(derive(template, { method, models, parameters: { ...parameters, ...signs } }), tasks),
      ],
      ["the oracle itself", await laboratory.individual(() => settings.oracle!, tasks)],
      ["individual models", await laboratory.individual((task) => individualOf(task, recipe, {}), tasks)],
    ] as const;
    return {
      chart: {
        kind: "bars",
        title: "Signs elected, or taken from a model of all tasks",
        description: `Mean score over ${tasks.length} tasks (${settings.split}): ${rows
          .map(([name, { mean }]) => `${name} ${percent(mean)}`)
          .join(", ")}.`,
        y: { label: "score", form: "percent", from: 0 },
        groups: [...tasks.map(({ name }) => name), "mean"],
        series: rows.map(([name, { tasks: scores, mean }]) => {
          return { name, values: [...scores.map(({ value }) => value), mean] };
        }),
      },
      numbers: { rows: rows.map(([name, scored]) => ({ name, ...scored })) },
    };
  },
};

function missing(): MergewrightError {
  return new MergewrightError("whose signs to take is not said", {
    kind: "request",
    code: "usage",
    where: { key: "--kind oracle" },
    expected: "--oracle <model>, a checkpoint trained on all tasks together",
  });
}

function other({ method }: Recipe): MergewrightError {
  return new MergewrightError("the recipe's method elects no signs", {
    kind: "request",
    code: "usage",
    where: { key: "--kind oracle" },
    expected: "a recipe of ties",
    found: method.name,
  });
}
