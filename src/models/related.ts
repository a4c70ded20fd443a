/** Whether checkpoints have anything to do with each other, by what their configs and tensors are called. */
import { MergewrightError, type Where } from "../errors.js";
import type { Checkpoint } from "./model.js";

/** What a config calls its architectures, or its kind of model where it names none: for messages. */
export function architectureOf(config: Checkpoint["config"]): string {
  const { architectures, model_type: kind } = config ?? {};
  const names = Array.isArray(architectures) ? architectures.filter((name) => typeof name === "string") : [];
  if (names.length > 0) return names.join(", ");
  return typeof kind === "string" ? kind : "no architecture named";
}

/**
 * What there is to say of a model that has no tensor by the name of any of the reference's; `null` where it has one.
 * @param what the reference is, such as "the base".
 */
export function strangerError(
  { reference, model, what }: { readonly reference: Checkpoint; readonly model: Checkpoint; readonly what: string },
  where: Where,
): MergewrightError | null {
  for (const name of model.tensors.keys()) if (reference.tensors.has(name)) return null;
  return new MergewrightError(
    `${model.label} and ${what} are of different architectures: no tensor has the same name`,
    {
      kind: "request",
      code: "plan/missing-tensor",
      where,
      expected: `${architectureOf(reference.config)}, as ${reference.label} is`,
      found: architectureOf(model.config),
      advice: "merge models of one architecture, fine-tuned from one base",
    },
  );
}
