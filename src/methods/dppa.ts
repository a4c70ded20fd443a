import type { Arguments, OutlierCounts, Settings, Tile, TileMethod } from "./method.js";

const { abs, fround, max, min, trunc } = Math;

/** The released code counts outliers of a layer above three times the mean, whatever the limit of its tensors. */
const LAYER_OUTLIER = 3;
/** Stands for a tensor that stays whole: every magnitude is above it. */
const WHOLE = [-1, -1];

export const dppa: TileMethod = {
  name: "dppa",
  title: "DPPA: prune by outliers, amplify what is left, layer by layer",
  paper: {
    title: "DPPA: Pruning Method for Large Language Model to Model Merging",
    authors: "Zhu et al.",
    where: "arXiv 2403.02799",
  },
  description: `theta_t = theta_0 + amplified(tau_t),   tau_t = theta_t - theta_0

The result is an artifact: per model the amplified task vector, sparse, about a tenth to a fifth of the model.
\`mergewright materialize\` writes a model from it, and \`ARTIFACT#MODEL\` is a model that any other method merges. In another
merge's list \`merge: {method: dppa, base: BASE, models: [MODEL]}\` is the same model without an artifact.

Dynamic pruning. The matrices inside the layers are pruned, all other tensors stay whole. For a sparsity s:
1. A layer's outlier score is the share of its entries with a magnitude above 3 times their mean. Scores are centred and
   scaled so that the largest distance is \`spread\`, and 1 - s is added: the layer's density.
2. A matrix's score is the share above \`outlier\` times its own mean, divided by the mean score, centred by the mean over
   all entries, scaled in the same way, and added to its layer's density. Densities are clamped to [0, 1); where all scores
   are equal, nothing is added.
3. Of n magnitudes in ascending order the one at index trunc(n (1 - density)) and all that are not above it are pruned.

Partition amplification. The pruning is done for two sparsities; what survives the higher one (\`sparsity_inner\`) is the
inner partition. An entry of the inner partition alone is multiplied by \`alpha_inner\`, of the outer one alone by
\`alpha_outer\`, of both by the factor with the larger magnitude; a factor of 0 drops what only it would keep. Tensors that
stay whole are in both. The paper searches the factors on data of the domain; here they are given.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    sparsity_inner: {
      ...{ type: "number", default: 0.9, min: 0, max: 1, per: "recipe" },
      meaning: "share pruned for the inner partition",
    },
    sparsity_outer: {
      ...{ type: "number", default: 0.8, min: 0, max: 1, per: "recipe" },
      meaning: "share pruned for the outer partition; not above the inner one's",
    },
    alpha_inner: { type: "number", default: 1.8, per: "model", meaning: "factor of the inner partition" },
    alpha_outer: { type: "number", default: 1, per: "model", meaning: "factor of the outer partition" },
    spread: {
      ...{ type: "number", default: 0.08, min: 0, max: 1, per: "recipe" },
      meaning: "largest distance of a density from its mean, for layers and again for matrices",
    },
    outlier: {
      ...{ type: "number", default: 5, min: 0, per: "recipe" },
      meaning: "multiple of a matrix's mean magnitude above which an entry is an outlier",
    },
  },
  dialects: {
    paper: {
      meaning: "sparsities 0.9 and 0.8; the factors with which the released search turns to each partition",
      values: {},
    },
  },
  inputs: "changes",
  grain: "tile",
  counters: {},

  needs: () => null,

  check({ global }) {
    if (Number(global.sparsity_inner) >= Number(global.sparsity_outer)) return null;
    return "sparsity_inner is below sparsity_outer, so the inner partition would be the larger one; swap them";
  },

  bind: (settings, known) => bindTo(settings, known.threshold?.thresholds ?? WHOLE),

  combine({ count, inputs: [input], out }: Tile, { scalars }: Arguments) {
    const { inner, outer, alphaInner, alphaOuter, alphaBoth } = scalars as Record<string, number>;
    for (let p = 0; p < count; p++) {
      const change = input![p]!;
      const magnitude = abs(change);
      // What is not a number survives.
      const isInner = !(magnitude <= inner!);
      const isOuter = !(magnitude <= outer!);
      const alpha = isInner ? (isOuter ? alphaBoth! : alphaInner!) : isOuter ? alphaOuter! : 0;
      out[p] = alpha === 0 ? 0 : change * alpha;
    }
  },

  kernel: () => null,

  packing: {
    outliers: ({ global }) => ({ layer: LAYER_OUTLIER, tensor: Number(global.outlier) }),
    densities({ global }, tensors) {
      const spread = Number(global.spread);
      return [global.sparsity_inner, global.sparsity_outer].map((sparsity) => {
        const layers = layerDensities(tensors, Number(sparsity), spread);
        return linearDensities(tensors, spread).map((own, index) => clamp(own + layers.get(tensors[index]!.layer)!));
      });
    },
    rank: (entries, density) => max(0, entries - trunc(entries * (1 - density))),
    bind: (settings, thresholds) => bindTo(settings, thresholds ?? WHOLE),
    limit({ scalars: { inner, outer, alphaInner, alphaOuter } }) {
      if (alphaInner === 0 && alphaOuter === 0) return null;
      return min(alphaInner === 0 ? Infinity : inner!, alphaOuter === 0 ? Infinity : outer!);
    },
    expected({ global, models }) {
      const { alpha_inner: inner, alpha_outer: outer } = models[0] ?? global;
      if (outer !== 0) return 1 - Number(global.sparsity_outer);
      return inner === 0 ? 0 : 1 - Number(global.sparsity_inner);
    },
  },
};

function bindTo({ global, models }: Settings, [inner, outer]: readonly number[]): Arguments {
  const { alpha_inner: first, alpha_outer: second } = models[0] ?? global;
  const [alphaInner, alphaOuter] = [fround(Number(first)), fround(Number(second))];
  const alphaBoth = abs(alphaOuter) > abs(alphaInner) ? alphaOuter : alphaInner;
  return { scalars: { inner: inner!, outer: outer!, alphaInner, alphaOuter, alphaBoth }, columns: {} };
}

function clamp(density: number): number {
  return max(0, min(1 - Number.EPSILON, density));
}

/** By layer. */
export function layerDensities(
  tensors: readonly OutlierCounts[],
  sparsity: number,
  spread: number,
): ReadonlyMap<string, number> {
  const layers = new Map<string, { entries: number; above: number }>();
  for (const { layer, entries, aboveLayer } of tensors) {
    const sum = layers.get(layer) ?? { entries: 0, above: 0 };
    layers.set(layer, { entries: sum.entries + entries, above: sum.above + aboveLayer });
  }
  const scores = [...layers.values()].map(({ entries, above }) => above / entries);
  const mean = meanOf(scores);
  const densities = scaled(
    scores.map((score) => score - mean),
    spread,
  );
  return new Map([...layers.keys()].map((layer, index) => [layer, densities[index]! + 1 - sparsity]));
}

/** What is added to the densities of the layers. */
export function linearDensities(tensors: readonly OutlierCounts[], spread: number): number[] {
  const scores = tensors.map(({ above, entries }) => above / entries);
  const mean = meanOf(scores);
  if (mean === 0) return scores.map(() => 0);
  const relative = scores.map((score) => score / mean);
  const entries = tensors.reduce((sum, tensor) => sum + tensor.entries, 0);
  const centre = relative.reduce((sum, score, index) => sum + score * tensors[index]!.entries, 0) / entries;
  return scaled(
    relative.map((score) => score - centre),
    spread,
  );
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** So that the largest magnitude is `spread`; zeros stay zeros. */
function scaled(values: readonly number[], spread: number): number[] {
  const largest = values.reduce((most, value) => max(most, abs(value)), 0);
  return largest === 0 ? values.map(() => 0) : values.map((value) => (value * spread) / largest);
}
