/** How the parts of an artifact lie in its folder; docs/artifacts.md describes the whole. */
import { MergewrightError } from "../errors.js";
import { whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Accounted, Unplaced } from "./tensors.js";
import type { PlannedTensor, SkippedTensor } from "./types.js";

/**
 * An artifact is read over the very tensors of a base that is stored somewhere.
 * @throws recipe/unsupported where a recipe asks for something else.
 */
export function checkArtifact(recipe: Recipe, isWritten: boolean): void {
  const { method, base, merges, layout, input, tokenizer } = recipe;
  if (method.masking === undefined) return;
  const wrong =
    (!isWritten && "be the input of another merge; write it, and name a task of it as the model: ARTIFACT#TASK") ||
    (base !== null &&
      Object.hasOwn(merges, base) &&
      "be made over a merge that is not written; write the base first") ||
    (layout !== null && "be put together from slices") ||
    (input.dtype !== null && "be made of rounded inputs; leave out the dtype of the inputs") ||
    (tokenizer !== null && "have another vocabulary than its base; merge the vocabularies first");
  if (wrong === false) return;
  throw new MergewrightError(`the result of ${method.name} is an artifact, which cannot ${wrong}`, {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, "method"),
  });
}

/** The vector that all tasks share. */
export const SHARED_FOLDER = "vectors/shared";

/** What every task has of its own, as `masks/TASK`. */
export function folderOf(part: "heads" | "masks", task: string): string {
  return `${part}/${task}`;
}

/**
 * The masks of a model over the shared tensors that it has: one bit per entry.
 * @param shared the first tensors of the plan, in their order.
 */
export function masksOver(shared: readonly Unplaced[], model: number): (Unplaced & Pick<PlannedTensor, "mask">)[] {
  return shared.flatMap(({ name, entries, inputs }, over) => {
    const input = inputs.findIndex((candidate) => candidate.model === model);
    if (input < 0) return [];
    const bytes = Math.ceil(entries / 8);
    return [
      {
        name,
        shape: [bytes],
        entries: bytes,
        dtype: "U8" as const,
        action: "mask" as const,
        reason: "",
        base: null,
        inputs: [],
        extra: {},
        settings: null,
        prune: null,
        tiedTo: null,
        mask: { over, input },
      },
    ];
  });
}

/** An artifact repeats nothing of the base: what is not merged comes from there when a task's model is made. */
export function leftToBase({ backbone }: Accounted, { method, base }: Recipe): SkippedTensor[] {
  if (method.masking === undefined) return [];
  return backbone
    .filter(({ action }) => action === "copy")
    .map(({ name, reason }) => ({
      model: base!,
      name,
      reason: reason.replace("copied from the base", "taken from the base when a task's model is made"),
    }));
}
