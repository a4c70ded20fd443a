import { average } from "./average.js";
import type { MatrixMethod, Settings } from "./method.js";

/** How methods of whole matrices make what is none: the average by their models' `weight`. */
export const averaging: MatrixMethod["otherwise"] = {
  combine: (tile, args) => average.combine(tile, args),
  kernel: (args) => average.kernel(args),
  bind: ({ global, models }: Settings) => average.bind({ global: { ...global, normalize: true }, models }, {}),
};
