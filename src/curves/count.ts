import { randomWord, streamKey } from "../numbers/random.js";
import { list } from "../recipe/tree.js";
import { entryOf, withEntry } from "../recipe/tree.js";
import { buildRecipe } from "../recipe/build.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Template } from "../search/field.js";
import { individualOf, normalised } from "../search/objective.js";
import type { LineSeries } from "../plots/chart.js";
import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { pathsOf, taskOfModel } from "./laboratory.js";
import { percent } from "./redundancy.js";

/** Accuracy on the merged tasks by how many are merged, divided by that of the individual models. */
export const count: CurveKind = {
  meaning: "accuracy by the number of merged tasks, of that of the individual models",
  work(context) {
    const models = context.recipes[0]!.template.recipe.models.length;
    const scored = setsOf(context, models).reduce((sum, { length }) => sum + length, 0);
    return models + context.recipes.length * scored;
  },
  async run(context): Promise<Curve> {
    const { recipes, tasks, laboratory } = context;
    const [first] = recipes;
    const { models } = first!.template.recipe;
    const own = models.map(({ name }) => taskOfModel(name, tasks));
    const individual = await laboratory.individual((task) => individualOf(task, first!.template.recipe, {}), own);
    const series: LineSeries[] = [];
    const numbers = [];
    for (const { name, template } of recipes) {
      pathsOf(template.recipe);
      const points = [];
      for (const members of setsOf(context, models.length)) {
        const scored = await laboratory.score(
          withModels(template, members),
          members.map((index) => own[index]!),
        );
        const shares = scored.tasks.map(({ value }, at) => {
          return normalised(value, individual.tasks[members[at]!]!.value, "higher");
        });
        points.push({
          models: members.map((index) => models[index]!.name),
          normalised: shares.reduce((sum, share) => sum + share, 0) / shares.length,
          tasks: scored.tasks,
        });
      }
      numbers.push({ name, points });
      series.push({ name, points: pointsOf(points) });
    }
    return {
      chart: {
        kind: "lines",
        title: "Accuracy by the number of merged tasks",
        description: `Mean score on the merged tasks (${context.settings.split}), each divided by that of its individual model. ${series
          .map(({ name, points }) => `${name}: ${points.map(({ x, y }) => `${x} ${percent(y)}`).join(", ")}`)
          .join("; ")}.`,
        x: { label: "merged tasks" },
        y: { label: "of the individual models' accuracy", form: "percent" },
        series,
        references: [{ name: "individual models", y: 1 }],
      },
      numbers: { individual: individual.tasks, recipes: numbers },
    };
  },
};

/** The recipe with some of its models, as they are written. */
function withModels({ root, context }: Template, members: readonly number[]): Recipe {
  const given = entryOf(root, "models")!;
  const items = given.node.kind === "list" ? given.node.items : [];
  const node = list(
    members.map((index) => items[index]!),
    given.node.where,
  );
  return buildRecipe(withEntry(root, { ...given, node }), context);
}

/** Sets of models: the first n for every n, and random ones where more are asked for; each once. */
function setsOf({ settings: { subsets, seed } }: CurveContext, models: number): number[][] {
  const all = new Map<string, number[]>();
  for (let size = 2; size <= models; size++) {
    for (let at = 0; at < subsets; at++) {
      const key = streamKey(seed, "subsets", `${size} ${at}`);
      const ranked = Array.from({ length: models }, (_, index) => index).toSorted((a, b) =>
        at === 0 ? a - b : randomWord(key, a) - randomWord(key, b),
      );
      const members = ranked.slice(0, size).toSorted((a, b) => a - b);
      all.set(members.join(" "), members);
    }
  }
  return [...all.values()];
}

function pointsOf(points: readonly { readonly models: readonly string[]; readonly normalised: number }[]) {
  const sizes = [...new Set(points.map(({ models }) => models.length))];
  return sizes.map((x) => {
    const shares = points.filter(({ models }) => models.length === x).map((point) => point.normalised);
    const y = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    return { x, y, low: Math.min(...shares), high: Math.max(...shares) };
  });
}
