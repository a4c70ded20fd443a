/**
 * Greedy soup (M. Wortsman et al., "Model soups", ICML 2022): models are scored alone and sorted, the best first; each is
 * taken into the average once if that makes the score strictly better.
 */

import { MergewrightError } from "../errors.js";
import type { Task } from "../evaluate/task.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import { Desk, type SearchPlatform } from "./desk.js";
import { recipeOf, type Template } from "./field.js";
import { checkIndividual, individualOf, isHigherBetter, objectiveOf } from "./objective.js";
import { type SearchOptions, type SearchResult, splitOf, Tried } from "./search.js";

export type SoupOptions = Omit<SearchOptions, "method" | "budget" | "seed">;

export interface SoupResult extends Omit<SearchResult, "seed" | "over"> {
  /** Names of the averaged models, in the order in which they were taken. */
  readonly soup: readonly string[];
  /** Every try in order: a model alone, later the soup with it. */
  readonly trace: readonly { readonly model: string; readonly soup: readonly string[]; readonly taken: boolean }[];
}

/**
 * The average of those of a recipe's models that is best; the recipe's own method takes no part. Values of a candidate say
 * which models are in it.
 */
export async function greedySoup(
  template: Template,
  average: string,
  tasks: readonly Task[],
  platform: SearchPlatform,
  options: SoupOptions,
): Promise<SoupResult> {
  const started = performance.now();
  const split = splitOf(options);
  const { objective = "mean", heads = {} } = options;
  const { models } = template.recipe;
  checkModels(template.recipe);
  const desk = new Desk(tasks, platform, { ...options, split });
  try {
    const tried = new Tried(2 * models.length - 1, options.progress);
    const individual =
      objective === "mean"
        ? null
        : await desk.individual((task) => individualOf(task, template.recipe, heads), tried.tell("individual"));
    const values = individual?.map(({ value }) => value) ?? null;
    if (values !== null) checkIndividual(values, tasks);
    const score = async (members: readonly number[]) => {
      const recipe = recipeOf(template, average, members);
      const names = Object.fromEntries(members.map((index) => [models[index]!.name, 1]));
      const { entry, known } = await desk.score(recipe, names, tried.tell());
      const found = tried.add(members.join(" "), recipe, entry, known, objectiveOf(entry, values));
      return (isHigherBetter(found.better, objective) ? 1 : -1) * found.candidate.objective;
    };
    const alone: { index: number; score: number }[] = [];
    for (const index of models.keys()) alone.push({ index, score: await score([index]) });
    const [first, ...others] = alone.toSorted((a, b) => b.score - a.score);
    let soup = [first!.index];
    let best = first!.score;
    const namesOf = (members: readonly number[]) => members.map((index) => models[index]!.name);
    const trace = [{ model: models[soup[0]!]!.name, soup: namesOf(soup), taken: true }];
    for (const { index } of others) {
      const larger = [...soup, index];
      const found = await score(larger);
      const taken = found > best;
      if (taken) [soup, best] = [larger, found];
      trace.push({ model: models[index]!.name, soup: namesOf(larger), taken });
    }
    const { candidate, recipe, metric, better } = tried.find(soup.join(" "))!;
    return {
      split,
      onTestData: split === "test",
      metric,
      better,
      objective,
      method: "greedy-soup",
      candidates: tried.candidates,
      best: candidate,
      individual: individual?.map(({ name, value }) => ({ name, value })) ?? null,
      recipe: stringifyRecipe(recipe),
      soup: namesOf(soup),
      trace,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await desk.close();
  }
}

function checkModels({ models, merges, layout }: Recipe): void {
  const inner = models.find(({ model }) => Object.hasOwn(merges, model));
  if (models.length >= 2 && inner === undefined && layout === null) return;
  throw new MergewrightError("a soup is of models that lie ready", {
    kind: "request",
    code: "usage",
    where: { key: "--soup" },
    expected: "a recipe with two or more models under models:",
    found: inner === undefined ? `${models.length} models` : `${inner.name}, which is a merge`,
  });
}
