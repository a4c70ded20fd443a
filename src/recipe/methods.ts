import type { Method } from "../methods/method.js";
import type { Recipe } from "./recipe.js";

/** The methods of a recipe and of the merges inside it, by name. */
export function methodsOf(recipe: Recipe): (name: string) => Method {
  const methods = new Map<string, Method>();
  const visit = ({ method, merges }: Recipe): void => {
    methods.set(method.name, method);
    Object.values(merges).forEach(visit);
  };
  visit(recipe);
  return (name) => methods.get(name)!;
}
