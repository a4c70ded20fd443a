import { average } from "./average.js";
import type { TileMethod } from "./method.js";

export const linear: TileMethod = {
  ...average,
  name: "linear",
  title: "Weighted average of models that are all members alike",
  paper: null,
  description: `theta = (w_1 theta_1 + … + w_n theta_n) / (w_1 + … + w_n)

The arithmetic is that of \`average\`, under the name that mergekit's users know. There is no privileged model: a \`base\`
only supplies tensors that are not merged, config and tokenizer, and one that shall take part in the sum is listed in
\`models\` with a weight. (mergekit itself lists a base_model that is not listed as the last member.) With
\`normalize: false\` the sum is not divided; weights that sum to zero are then allowed, and otherwise refused, where mergekit
writes infinities.`,
  dialects: { mergekit: { meaning: "mergekit's linear", values: {} } },
};
