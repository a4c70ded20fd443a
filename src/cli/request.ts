import { readFileSync, statSync } from "node:fs";
import { MergewrightError } from "../errors.js";
import { methods as catalogue } from "../methods/catalogue.js";
import type { Method } from "../methods/method.js";
import { loadMethods } from "../platform/node/own_methods.js";
import { systemError } from "../platform/node/files.js";
import { readAdapterRecipe } from "../recipe/adapters.js";
import type { AdapterRecipe } from "../recipe/adapters.js";
import { overrideRecipe, recipeFromOptions } from "../recipe/options.js";
import type { RecipeOptions } from "../recipe/options.js";
import type { Recipe } from "../recipe/recipe.js";
import type { FlagValues, Given } from "./verb.js";

/** What a verb is asked to work on. */
export interface Request {
  readonly recipe: Recipe;
  /** Methods of the user's own. */
  readonly own: readonly Method[];
}

/** The recipe that positionals and flags describe together. */
export async function readRequest(given: Given): Promise<Request> {
  const own = await loadMethods(given.flags.use ?? []);
  return { recipe: recipeOf(given, [...catalogue, ...own]), own };
}

/** The recipe over adapters that positionals and flags describe together. */
export async function readAdapterRequest({
  positionals,
  flags,
}: Given): Promise<{ asked: AdapterRecipe; own: readonly Method[] }> {
  // What only adapters need, a merge of models does not load.
  const { withWeights } = await import("../lora/methods.js");
  const { adapterContext } = await import("../lora/context.js");
  const own = await loadMethods(flags.use ?? []);
  const [first, ...others] = positionals;
  if (first === undefined && flags.model === undefined) throw nothingGiven("mergewright adapter merge", "ADAPTER ...");
  const file = first !== undefined && isRecipeFile(first) ? first : null;
  const asked = readAdapterRecipe(
    file === null ? null : readFileGiven(file, "recipe"),
    optionsOf(flags, file === null ? positionals : others),
    {
      ...(flags.space !== undefined && { space: flags.space }),
      ...(flags.rank !== undefined && { rank: flags.rank }),
      ...(flags.energy !== undefined && { energy: flags.energy }),
    },
    {
      ...(file !== null && { file }),
      ...adapterContext([...catalogue, ...own]),
    },
  );
  if (flags.weights === undefined) return { asked, own };
  return { asked: { ...asked, recipe: withWeights(asked.recipe, flags.weights) }, own };
}

function recipeOf({ positionals, flags }: Given, methods: readonly Method[]): Recipe {
  const [first, ...others] = positionals;
  if (first !== undefined && isRecipeFile(first)) {
    return overrideRecipe(readFileGiven(first, "recipe"), optionsOf(flags, others), { file: first, methods });
  }
  if (first === undefined && flags.model === undefined) throw nothingGiven();
  return recipeFromOptions(optionsOf(flags, positionals), { methods });
}

function optionsOf(flags: FlagValues, positionals: readonly string[]): RecipeOptions {
  const models = [...positionals, ...(flags.model ?? [])];
  const {
    method,
    dialect,
    base,
    prune,
    rescale,
    dare,
    lines,
    exclude,
    heads,
    missing,
    seed,
    compat,
    dtype,
    shardSize,
    allowDuplicates,
  } = flags;
  return {
    method,
    dialect,
    base,
    models: models.length === 0 ? undefined : models,
    parameters: flags.parameter,
    prune,
    rescale,
    dare,
    lines,
    exclude,
    heads,
    missing,
    seed,
    compat,
    dtype,
    shardSize,
    allowDuplicates,
  };
}

/** By its name; a folder of that name is a model. */
function isRecipeFile(path: string): boolean {
  if (!/\.ya?ml$/i.test(path) || /^https?:\/\//.test(path)) return false;
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;
}

/** @param noun what is in it, for messages. */
export function readFileGiven(path: string, noun: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw systemError("read", path, error);
    throw new MergewrightError(`there is no such ${noun}`, {
      kind: "request",
      code: "usage",
      where: { file: path },
      expected: `a ${noun} in YAML`,
      advice: "check the path",
      cause: error,
    });
  }
}

function nothingGiven(verb = "mergewright merge", inputs = "--method NAME --base BASE MODEL ..."): MergewrightError {
  return new MergewrightError("neither a recipe nor models are given", {
    kind: "request",
    code: "usage",
    where: { key: "command line" },
    expected: `RECIPE.yaml, or ${inputs}`,
    advice: `${verb} --help shows examples`,
  });
}
