import type { Arguments, TileMethod } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

const { fround } = Math;

export const addDifference: TileMethod = {
  name: "add_difference",
  title: "Base plus the difference of two other models",
  paper: null,
  description: `theta = theta_0 + lambda (theta_A - theta_B),   models: [A, B]

Carries what A learned since B over to the base, e.g. an instruction tuning (A: tuned, B: its own base) to another
descendant of B. Other tools write it A + alpha (B - C): their A is the \`base\` here, which also supplies config and
tokenizer, their B and C are the first and second of \`models\`, their alpha is lambda. The difference is taken as
(theta_A - theta_0) - (theta_B - theta_0); equal entries of A and B leave the base's exactly.`,
  base: "required",
  models: { min: 2, max: 2 },
  parameters: { lambda: { type: "number", default: 1, per: "tensor", meaning: "scale of the difference" } },
  dialects: { plain: { meaning: "the whole difference", values: {} } },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  check: ({ models }) => twoModels(models.length),

  // Task Arithmetic with the weights 1 and -1.
  bind: ({ global }): Arguments => ({
    scalars: { lambda: fround(Number(global.lambda)) },
    columns: { weight: [1, -1] },
  }),
  combine: (tile, args) => taskArithmetic.combine(tile, args),
  kernel: (args) => taskArithmetic.kernel(args),
};

/** A difference needs both of its models in every tensor. */
export function twoModels(models: number): string | null {
  if (models === 2) return null;
  return `a difference needs both models, and ${models} has this tensor; exclude the tensor to keep the base's`;
}
