/** Opens the statistics files that a recipe names: one per model, each of that very model. */
import { readStatistics } from "../collected/statistics.js";
import type { Statistics } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { ParameterValue, StatisticsKind } from "../methods/method.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";

/** @returns `null` where the method needs none. @throws statistics/missing, statistics/file, statistics/model */
export async function openStatistics(
  recipe: Recipe,
  models: readonly Checkpoint[],
  open: (label: string) => Promise<Checkpoint>,
): Promise<Statistics[] | null> {
  const wish = recipe.method.statistics;
  if (wish === undefined) return null;
  const values = Object.entries(recipe.parameters).map(([name, { value }]) => [name, value as ParameterValue] as const);
  const kinds = wish.kinds(Object.fromEntries(values));
  if (recipe.models.some(({ statistics }) => statistics === undefined)) throw missing(recipe, kinds[0]!);
  const files: Statistics[] = [];
  for (const [index, { statistics, model }] of recipe.models.entries()) {
    const file = readStatistics(await open(statistics!));
    const where = { ...whereOf(recipe, `models.${index}.statistics`), file: statistics! };
    const again = collectCommand(kinds[0]!, model, statistics!);
    if (!kinds.includes(file.info.kind)) {
      throw new MergewrightError(`${recipe.method.name} needs other statistics`, {
        ...{ kind: "request", code: "statistics/file", where },
        ...{ expected: kinds.join(" or "), found: file.info.kind, advice: again },
      });
    }
    const hash = await sampledFingerprint(models[index]!);
    if (hash !== file.info.model.hash) {
      throw new MergewrightError("statistics are of another model", {
        ...{ kind: "request", code: "statistics/model", where },
        expected: `${models[index]!.name} (${hash})`,
        found: `${file.info.model.name} (${file.info.model.hash})`,
        advice: `name the file that belongs to the model, or collect it: ${again}`,
      });
    }
    files.push(file);
  }
  return files;
}

/** With the commands that make what is missing. */
function missing(recipe: Recipe, kind: StatisticsKind): MergewrightError {
  const lacking = recipe.models.filter(({ statistics }) => statistics === undefined);
  const commands = lacking.map(({ model, name }) => collectCommand(kind, model, `${name}.${kind}.safetensors`, name));
  const first = lacking[0]!;
  return new MergewrightError(`${recipe.method.name} needs statistics of every model`, {
    kind: "request",
    code: "statistics/missing",
    where: whereOf(recipe, `models.${recipe.models.indexOf(first)}`),
    expected: `{model: ${first.model}, statistics: ${first.name}.${kind}.safetensors}`,
    advice: `collect them and name them in the recipe: ${commands.join("; ")}`,
  });
}

function collectCommand(kind: StatisticsKind, model: string, out: string, task = "TASK"): string {
  return `mergewright collect ${kind} --model ${model} --tasks tasks.yaml --task ${task} -o ${out}`;
}
