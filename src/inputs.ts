import type { Checkpoint } from "./models/model.js";
import type { OpenInputs } from "./plan/types.js";
import type { Recipe } from "./recipe/recipe.js";

/** Opens a checkpoint by what the user wrote: a path or an address. */
export type OpenModel = (label: string) => Promise<Checkpoint>;

/** Opens every checkpoint that a recipe names; the headers of all are read and checked. */
export async function openInputs(recipe: Recipe, open: OpenModel): Promise<OpenInputs & { close(): Promise<void> }> {
  const opened: Checkpoint[] = [];
  const close = async () => {
    for (const checkpoint of opened) await checkpoint.close();
  };
  const openOne = async (label: string) => {
    const checkpoint = await open(label);
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    const base = recipe.base === null ? null : await openOne(recipe.base);
    const models: Checkpoint[] = [];
    for (const { model } of recipe.models) models.push(await openOne(model));
    const extra: Record<string, Checkpoint> = {};
    for (const [name, { value }] of Object.entries(recipe.parameters)) {
      if (recipe.method.parameters[name]?.type === "checkpoint" && value !== null)
        extra[name] = await openOne(String(value));
    }
    return { base, models, extra, close };
  } catch (error) {
    await close();
    throw error;
  }
}
