/** Opens the statistics files that a recipe names: one per model, each of that very model. */
import { readStatistics } from "../collected/statistics.js";
import type { ModelIdentity, Statistics } from "../collected/statistics.js";
import { readSums } from "../collected/sums.js";
import { MergewrightError } from "../errors.js";
import type { ParameterValue, Partitioning, StatisticsKind, StatisticsWish } from "../methods/method.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";

/** @returns `null` where the method needs none. @throws statistics/missing, statistics/file, statistics/model */
export async function openStatistics(
  recipe: Recipe,
  { base, models }: { readonly base: Checkpoint | null; readonly models: readonly Checkpoint[] },
  open: (label: string) => Promise<Checkpoint>,
): Promise<Statistics[] | null> {
  const wish = recipe.method.statistics;
  if (wish === undefined) return null;
  const values = Object.entries(recipe.parameters).map(([name, { value }]) => [name, value as ParameterValue] as const);
  const settings = Object.fromEntries(values);
  const kinds = wish.kinds(settings);
  if (kinds[0] === "block") throw onlyVectors(recipe);
  if (recipe.models.some(({ statistics }) => statistics === undefined)) throw missing(recipe, kinds[0]!);
  const files: Statistics[] = [];
  for (const [index, { statistics, model }] of recipe.models.entries()) {
    const file = readStatistics(await open(statistics!));
    const where = { ...whereOf(recipe, `models.${index}.statistics`), file: statistics! };
    const again = collectCommand(recipe, kinds[0]!, model, statistics!);
    if (!kinds.includes(file.info.kind)) {
      throw new MergewrightError(`${recipe.method.name} needs other statistics`, {
        ...{ kind: "request", code: "statistics/file", where },
        ...{ expected: kinds.join(" or "), found: file.info.kind, advice: again },
      });
    }
    const isOf = async (checkpoint: Checkpoint, identity: ModelIdentity, what: string) => {
      const hash = await sampledFingerprint(checkpoint);
      if (hash === identity.hash) return;
      throw new MergewrightError(`statistics are of another ${what}`, {
        ...{ kind: "request", code: "statistics/model", where },
        expected: `${checkpoint.name} (${hash})`,
        found: `${identity.name} (${identity.hash})`,
        advice: `name the file that belongs to the model, or collect it: ${again}`,
      });
    };
    await isOf(models[index]!, file.info.model, "model");
    if (file.info.base !== null && base !== null) await isOf(base, file.info.base, "base");
    const wanted = wish.importance?.(settings);
    if (wanted === undefined) files.push(file);
    else {
      const fault = importanceFault(file, wanted);
      if (fault !== null) {
        throw new MergewrightError(`${recipe.method.name} needs other importances`, {
          ...{ kind: "request", code: "statistics/file", where, ...fault },
          advice: again,
        });
      }
      files.push({ ...file, sums: await readSums(file.file) });
    }
  }
  return files;
}

const FINEST_FIRST: readonly Partitioning[] = ["row", "tensor", "layer", "model"];

/** What is wrong with a file of importances for what a method wants; `null`: nothing. */
function importanceFault(
  { info }: Statistics,
  { per, isSigned }: ReturnType<NonNullable<StatisticsWish["importance"]>>,
): { readonly expected: string; readonly found: string } | null {
  if (isSigned && info.dialect === "per-example") {
    return { expected: "changes of the loss with their sign", found: `magnitudes (${info.dialect})` };
  }
  const isSum = info.dialect === "gradient" && FINEST_FIRST.indexOf(info.per!) <= FINEST_FIRST.indexOf(per);
  if (isSum || info.per === per) return null;
  return { expected: `one of every ${per}`, found: `one of every ${info.per}, by ${info.dialect}` };
}

function onlyVectors(recipe: Recipe): MergewrightError {
  return new MergewrightError("the whole Fisher is known of (IA)3 vectors alone", {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, "method"),
    expected: "a recipe of (IA)3 adapters for mergewright adapter merge, or another objective",
    advice: "whole models take objective: kfac",
  });
}

/** With the commands that make what is missing. */
function missing(recipe: Recipe, kind: StatisticsKind): MergewrightError {
  const lacking = recipe.models.filter(({ statistics }) => statistics === undefined);
  const commands = lacking.map(({ model, name }) =>
    collectCommand(recipe, kind, model, `${name}.${kind}.safetensors`, name),
  );
  const first = lacking[0]!;
  return new MergewrightError(`${recipe.method.name} needs statistics of every model`, {
    kind: "request",
    code: "statistics/missing",
    where: whereOf(recipe, `models.${recipe.models.indexOf(first)}`),
    expected: `{model: ${first.model}, statistics: ${first.name}.${kind}.safetensors}`,
    advice: `collect them and name them in the recipe: ${commands.join("; ")}`,
  });
}

function collectCommand({ base }: Recipe, kind: StatisticsKind, model: string, out: string, task = "TASK"): string {
  const from = kind === "importance" ? ` --base ${base}` : "";
  return `mergewright collect ${kind} --model ${model}${from} --tasks tasks.yaml --task ${task} -o ${out}`;
}
