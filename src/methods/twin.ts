import type { Arguments, ExpertForm, ExpertTensor, Settings, Tile, TileMethod } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

const { max, min, trunc } = Math;

export const twin: TileMethod = {
  name: "twin",
  title: "Twin-Merging: a shared model, an expert per task, a router",
  paper: {
    title: "Twin-Merging: Dynamic Integration of Modular Expertise in Model Merging",
    authors: "Lu et al.",
    where: "arXiv 2406.15479",
  },
  description: `theta(x) = theta_s + sum_i w_i(x) v_i,   v_i = compress(theta_i - theta_s),   w(x) = softmax(router(x))

The result is an artifact: the shared model theta_s, one expert v_i per task and, once it is trained, a router.
1. Shared: theta_s = theta_0 + lambda (w_1 tau_1 + … + w_n tau_n), as task arithmetic; with \`shared\` any checkpoint, such
   as another merge written in its place. It is stored in the output's format.
2. Exclusive: theta_i - theta_s, the difference to the shared model as it is stored, not to the base. Matrices (two axes)
   are compressed, all other tensors kept whole. \`rank\`: the best approximation of rank trunc(density min(m, n)), at least
   1. \`energy\`: of the smallest rank that keeps this share of the sum of squares. \`magnitude\`: the trunc(density m n)
   largest entries, the first of equals. \`bernoulli\`: each entry with probability density, divided by it.
3. Router: \`mergewright collect router ARTIFACT --tasks TASKS\` trains it on the mean last hidden state of theta_s.

The paper's shared lambda is 0.3 and its density 0.1. Heads belong beside it: exclude them with \`heads: separate\`.
The released code factors A and B of a LoRA one by one, which is no best approximation of B A; here B A is factored.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 0.3, per: "tensor", meaning: "scale of the shared model's change" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model in the shared one" },
    shared: {
      type: "checkpoint",
      default: null,
      per: "recipe",
      meaning: "the shared model itself, a path or a merge; lambda and weight are then not used",
    },
    compress: {
      type: "choice",
      default: "rank",
      per: "recipe",
      choices: {
        rank: "truncated SVD to a share of the full rank",
        energy: "truncated SVD to a share of the sum of squares",
        magnitude: "the largest entries",
        bernoulli: "entries at random, made larger by what is left out",
      },
      meaning: "how an expert's matrices are made small",
    },
    density: {
      ...{ type: "number", default: 0.1, min: 0, max: 1, per: "tensor" },
      meaning: "share of the full rank, or of the entries, that an expert keeps",
    },
    energy: {
      ...{ type: "number", default: 0.9, min: 0, max: 1, per: "tensor" },
      meaning: "compress: energy: share of a matrix's sum of squares that is kept",
    },
  },
  dialects: {
    paper: { meaning: "the Qwen experiments: lambda 0.3, a tenth of the full rank", values: {} },
    roberta: { meaning: "the RoBERTa experiments: lambda 0.29", values: { lambda: 0.29 } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  bind(settings): Arguments {
    if (settings.global.shared === null) return taskArithmetic.bind(settings, {});
    return { scalars: { given: 1 }, columns: {} };
  },

  combine(tile: Tile, args: Arguments) {
    if (args.scalars.given === undefined) {
      taskArithmetic.combine(tile, args);
      return;
    }
    const { count, base, extra, out } = tile;
    const shared = extra.shared!;
    for (let p = 0; p < count; p++) out[p] = base[p]! + shared[p]!;
  },

  kernel: ({ scalars }) => (scalars.given === undefined ? "arithmetic" : null),

  experts: {
    over: "merge",
    form: ({ global }: Settings, { shape }: ExpertTensor): ExpertForm => {
      if (shape.length !== 2) return { kind: "whole" };
      const [rows = 0, columns = 0] = shape;
      const density = Number(global.density);
      switch (global.compress) {
        case "energy":
          return { kind: "factors", rank: { energy: Number(global.energy) }, gate: 0 };
        case "magnitude":
          return { kind: "largest", kept: trunc(density * rows * columns) };
        case "bernoulli":
          return { kind: "chance", density };
        default:
          return { kind: "factors", rank: max(1, trunc(density * min(rows, columns))), gate: 0 };
      }
    },
    routing: () => ({ by: "inputs" }),
  },
};
