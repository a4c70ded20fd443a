import type { Arguments, Cut, Partitioning, Settings, TileMethod, Values } from "./method.js";
import { taskArithmetic } from "./task_arithmetic.js";

const { abs, fround, max, min } = Math;

/**
 * Parts of the models' changes are kept and weighed by what they do to the loss of their task: the idea of Activated
 * Parameter Locating. How importance becomes a density and a weight is a proposal of ours; no code of the paper is known.
 */
export const apl: TileMethod = {
  name: "apl",
  title: "APL-style: keep and weigh parts of task vectors by what they do to the loss",
  paper: {
    title: "Activated Parameter Locating via Causal Intervention for Model Merging",
    authors: "Kong, Zhang, Wang",
    where: "arXiv 2408.09485",
  },
  description: `theta = theta_0 + lambda n sum_i w_iP m_i tau_i   on every partition P

s_iP is how important the partition P of model i's task vector is to its own task: the magnitude of what P does to the mean
loss of a few examples, from a file that \`mergewright collect importance\` writes and that the recipe names as the model's
\`statistics\`. From the paper, as summaries of it agree: importance by causal intervention on partitions of the task vector, its
estimate |<grad L(theta_0), tau_P>|, and that it sets both how much of a partition is dropped and how it is weighed. The rules
by which it does are ours, since no code of the paper is known; so do not take this for the paper's algorithm:
- Weights: w_iP = v_i s_iP / sum_j v_j s_jP with v the models' \`weight\`; v_i / sum_j v_j where all are zero. Equal importance
  gives task arithmetic with the same lambda.
- Densities: model i keeps the share min(1, c_i h(s_iP)) of P, with the c_i at which \`density\` of all its entries are kept. h is
  the importance or its rank. If what has any importance is kept whole and entries are left to keep, the rest share them.
- Within P the smallest magnitudes are dropped and nothing is rescaled, or entries at random and the survivors are divided by
  the share kept, as DARE does.
Tensors that no statistics know keep all entries and are weighed by v.

What it does to models that were trained far from the base: a partition that the loss gradient finds important in one task
gets most of the weight there, at the others' cost. On the zoo of eight image tasks, with 64 images each, it gives 76.3 %
without dropping and with lambda 0.2, beside 75.0 % for averaging, 76.0 % for task arithmetic with the same lambda and 75.2 % for
TIES at its best. Dropping costs there: half by magnitude gives 75.6 %, half at random 73.0 %. Without dropping lambda 0.1
gives 74.3 % and lambda 0.3 72.8 %, both below averaging. So dropping is off unless asked for, and lambda wants to be searched.
With tensors as partitions it is 76.3 %, with rows 76.0 % (76.2 % where half is dropped), with whole models 76.0 %. Layers by
\`restore\` give 75.8 %, by \`remove\` 74.2 %, less than averaging: one layer's absence says little while the others make up for
it. On the zoo's six language models (32 windows of each task) lambda 0.1 gives 1.2150 bits per byte and lambda 0.2 1.2504, beside
1.2160 and 1.2490 for task arithmetic and 1.2201 for the base.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    lambda: { type: "number", default: 0.2, per: "tensor", meaning: "scale of the merged change" },
    weight: { type: "number", default: 1, min: 0, per: "model", meaning: "strength of a model beside its importance" },
    partition: {
      type: "choice",
      default: "layer",
      per: "recipe",
      choices: {
        model: "a model's whole change",
        layer: "each layer; outside the layers the embeddings, or one module",
        tensor: "each tensor",
        row: "each row of a matrix with its bias; each entry of a vector",
      },
      meaning: "what has an importance of its own",
    },
    importance: {
      type: "choice",
      default: "magnitude",
      per: "recipe",
      choices: {
        magnitude: "whatever moves the loss much",
        helpful: "only what lowers the loss; the rest counts as zero",
      },
      meaning: "which changes of the loss count",
    },
    density: { type: "number", default: 1, min: 0, max: 1, per: "recipe", meaning: "share of a model's entries kept" },
    densities: {
      type: "choice",
      default: "proportional",
      per: "recipe",
      choices: {
        proportional: "proportional to importance, at most 1",
        rank: "proportional to the rank of the importance, at most 1",
        even: "the same everywhere",
      },
      meaning: "how a partition's density follows from importance",
    },
    drop: {
      type: "choice",
      default: "magnitude",
      per: "recipe",
      choices: { magnitude: "the smallest magnitudes of the partition", random: "entries at random, as DARE" },
      meaning: "what is dropped",
    },
    weights: {
      type: "choice",
      default: "importance",
      per: "recipe",
      choices: { importance: "by importance and weight", even: "by weight alone" },
      meaning: "how a partition's weight follows from importance",
    },
  },
  dialects: {
    whole: { meaning: "nothing is dropped; weights by importance", values: {} },
    magnitude: { meaning: "half is kept, the largest magnitudes", values: { density: 0.5 } },
    random: { meaning: "half is kept at random and rescaled", values: { density: 0.5, drop: "random" } },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},
  statistics: {
    kinds: () => ["importance"],
    importance: ({ partition, importance }) => ({
      per: partition as Partitioning,
      isSigned: importance === "helpful",
    }),
  },

  densities({ density, densities, importance }, partitions) {
    const total = partitions.reduce((sum, { entries }) => sum + entries, 0);
    if (densities === "even" || density === 1) return partitions.map(() => Number(density));
    const scores = partitions.map(({ change }) => scoreOf(change, importance));
    const wanted = densities === "rank" ? ranksOf(scores) : scores;
    return filled(
      partitions.map(({ entries }, index) => ({ entries, score: wanted[index]! })),
      Number(density) * total,
    );
  },

  needs: () => null,

  check({ models }) {
    if (models.some(({ weight }) => Number(weight) > 0)) return null;
    return "all weights are zero, so there is nothing to merge; raise one";
  },

  prune({ models, importance }) {
    return models.map((values, index) => {
      if (importance === undefined) return null;
      const { densities } = importance[index]!;
      if (values.partition === "row") return rowsCut({ models, importance }, index);
      return cutOf(values, densities[0]!);
    });
  },

  bind({ global, models, importance }: Settings): Arguments {
    // Rows have been weighed where they were cut.
    const isWeighed = importance !== undefined && global.partition === "row";
    const weights = isWeighed ? models.map(() => 1) : weightsOf({ models, importance }, 0);
    return {
      scalars: { lambda: fround(Number(global.lambda)) },
      columns: { weight: weights.map(fround) },
    };
  },

  combine: (tile, args) => taskArithmetic.combine(tile, args),
  kernel: (args) => taskArithmetic.kernel(args),
};

/** Per model n w, of one partition of the tensor's. */
function weightsOf({ models, importance }: Pick<Settings, "models" | "importance">, row: number): number[] {
  const own = models.map(({ weight }) => Number(weight));
  const scores =
    importance === undefined || models[0]!.weights === "even"
      ? own
      : models.map((values, index) => own[index]! * scoreOf(importance[index]!.changes[row]!, values.importance));
  const shares = scores.some((score) => score > 0) ? scores : own;
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => (sum > 0 ? (models.length * share) / sum : 0));
}

/** Each row with its density; survivors are multiplied by the row's weight. */
function rowsCut(settings: Required<Pick<Settings, "models" | "importance">>, index: number): Cut {
  const { densities } = settings.importance[index]!;
  const isRandom = settings.models[index]!.drop === "random";
  const scales = densities.map((density, row) => {
    const weight = weightsOf(settings, row)[index]!;
    return fround(isRandom && density > 0 ? weight / density : weight);
  });
  return { kind: "rows", drop: isRandom ? "chance" : "magnitude", densities, scales, rescale: "none" };
}

function cutOf({ partition, drop }: Values, density: number): Cut | null {
  if (density >= 1) return null;
  if (drop === "random") return { kind: "chance", density, rescale: "inverse" };
  const scope = partition as "model" | "layer" | "tensor";
  return { kind: "band", scope, density, gamma: 0, least: 1, rescale: "none" };
}

/** @param change of the mean loss; below zero where the partition helps. */
function scoreOf(change: number, rule: Values[string] | undefined): number {
  return rule === "helpful" ? max(0, -change) : abs(change);
}

/** 1 for the smallest, equal ones in the middle of their ranks; 0 where a score is zero. */
function ranksOf(scores: readonly number[]): number[] {
  const order = Float64Array.from(scores).sort();
  const ranks = new Map<number, number>();
  for (let first = 0; first < order.length; ) {
    const score = order[first]!;
    let end = first + 1;
    while (order[end] === score) end++;
    ranks.set(score, (first + 1 + end) / 2);
    first = end;
  }
  return scores.map((score) => (score === 0 ? 0 : ranks.get(score)!));
}

/**
 * Water filling: min(1, c · score) with the c at which the densities of all entries add up to `budget`. What is left when
 * everything with a score is full is shared evenly by the rest.
 */
function filled(partitions: readonly { readonly entries: number; readonly score: number }[], budget: number): number[] {
  const order = partitions.flatMap(({ score }, index) => (score > 0 ? [index] : []));
  order.sort((a, b) => partitions[b]!.score - partitions[a]!.score || a - b);
  // From each place in the order on, the sum of entries times score.
  const masses = new Float64Array(order.length + 1);
  for (let at = order.length - 1; at >= 0; at--) {
    const { entries, score } = partitions[order[at]!]!;
    masses[at] = masses[at + 1]! + entries * score;
  }
  const densities = partitions.map(() => 0);
  let left = budget;
  let at = 0;
  for (; at < order.length; at++) {
    const { entries, score } = partitions[order[at]!]!;
    if (left * score < masses[at]!) break;
    densities[order[at]!] = 1;
    left -= entries;
  }
  for (const index of order.slice(at)) densities[index] = (left / masses[at]!) * partitions[index]!.score;
  const size = partitions.reduce((sum, { entries, score }) => sum + (score > 0 ? 0 : entries), 0);
  if (at < order.length || size === 0) return densities;
  return densities.map((density, index) => (partitions[index]!.score > 0 ? density : min(1, max(0, left / size))));
}
