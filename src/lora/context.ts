import type { Method } from "../methods/method.js";
import type { AdapterContext } from "../recipe/adapters.js";
import { cat, svd } from "./methods.js";
import { PEFT, peftMethods } from "./peft/methods.js";

/** The methods that a recipe over adapters may name: the sums, then all others; under the dialect peft PEFT's own. */
export function adapterContext(others: readonly Method[]): AdapterContext {
  return {
    methods: (dialect) => (dialect === PEFT ? peftMethods : [cat, svd, ...others]),
    methodDefault: cat.name,
  };
}
