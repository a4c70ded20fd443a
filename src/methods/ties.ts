import { nextAbove } from "../numbers/convert.js";
import type { Arguments, Cut, Known, Need, Scope, Settings, Tile, TileMethod, Values } from "./method.js";

const { abs, fround, sign, trunc } = Math;
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** How `elect` and `merge` travel to the definition as numbers. */
const ELECT = { mass: 0, "norm-mass": 1, "norm-fraction": 2, count: 3, oracle: 4, none: 5 } as const;
const MERGE = {
  mean: 0,
  sum: 1,
  max: 2,
  "plain-mean": 3,
  "plain-sum": 4,
  "plain-median": 5,
  "plain-magnitude": 6,
} as const;

export const ties: TileMethod = {
  name: "ties",
  title: "TIES-Merging: trim, elect a sign, merge what agrees",
  paper: {
    title: "TIES-Merging: Resolving Interference When Merging Models",
    authors: "Yadav et al.",
    where: "arXiv 2306.01708",
  },
  description: `tau_i = theta_i - theta_0
trim    x_i = tau_i where |tau_i| >= the density-quantile of |tau_i|, else 0
elect   s   = sign(x_1 + … + x_n); a zero sum takes the majority of all signs (zero_sign)
merge   m   = mean of the x_i whose sign is s
theta   = theta_0 + lambda m

Trim. \`select: top\` keeps the largest share \`density\` of each task vector, over the whole model (\`trim: model\`, the
paper) or within each tensor (\`trim: tensor\`). With \`quota: at-least\` (the released code) the threshold is the
magnitude of rank trunc(d·density) + 1 and every entry equal to it is kept; with \`exactly\` trunc(d·density) entries are
kept, of equal ones those with the lowest index; \`exactly-nonzero\` keeps at least one. \`deviations\` keeps entries
further than so many standard deviations from the mean; \`norm-share\` keeps the smallest set of largest entries that
holds this share of the squared norm. density 1 keeps everything. A NaN or an infinity is never trimmed away.

Elect. \`mass\`: sign of the sum. \`norm-mass\`: sign of the sum of sign(x) x² / |tau|². \`norm-fraction\`: sign of the entry
with the largest x² / |tau|². \`count\`: sign of the sum of signs. \`oracle\`: sign of the change of another checkpoint
(parameter oracle), whose zeros count as negative. \`none\`: no election, every non-zero entry is kept. \`zero_sign\` says
what a zero sum elects: the majority sign of all columns (a zero majority counts as negative, as released), or always
positive, or always negative.

Merge. \`mean\`, \`sum\` and \`max\` take the agreeing entries; the plain- forms aggregate all entries, agreeing or not, and
give the result the elected sign (plain-median is the lower median). With weights, x_i is multiplied by weight_i after
trimming; \`vote\` says whether the election sees weighted values, and an entry agrees by the sign that it voted with;
\`divide\` says whether the mean divides by the number of agreeing models or by the sum of their weights.

\`rescale: norm\` multiplies what the trim leaves of each tensor by what gives it its old L1 norm (an option of mergekit,
not of the paper); it needs an exact count.

Note. lambda is not Task Arithmetic's: TIES averages, so TIES at lambda 1 is as strong as Task Arithmetic at 1/n. The
port popular in vision (vision-sum) sums with lambda 0.3: a different model. On nearly orthogonal task vectors TIES can
do worse than plain averaging; the bundled zoo is such a case.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    density: {
      type: "number",
      default: 0.2,
      min: 0,
      max: 1,
      per: "model",
      meaning: "share of entries kept (select: top)",
    },
    lambda: { type: "number", default: 1, per: "tensor", late: true, meaning: "scale of the merged change" },
    weight: { type: "number", default: 1, per: "model", meaning: "strength of a model; a negative one flips its vote" },
    trim: {
      type: "choice",
      default: "model",
      per: "recipe",
      choices: { model: "one threshold for a model's whole task vector", tensor: "one threshold per tensor" },
      meaning: "over which entries the trimming looks",
    },
    select: {
      type: "choice",
      default: "top",
      per: "recipe",
      choices: {
        top: "the largest share `density`",
        deviations: "further than `deviations` standard deviations from the mean",
        "norm-share": "the largest entries holding the share `norm_share` of the squared norm",
        none: "everything",
      },
      meaning: "which entries survive the trimming",
    },
    quota: {
      type: "choice",
      default: "at-least",
      per: "recipe",
      choices: {
        "at-least": "trunc(d·density) + 1 and every entry equal to the last one",
        exactly: "trunc(d·density), equal entries by lowest index",
        "exactly-nonzero": "as exactly, but at least one unless density is 0",
      },
      meaning: "how many entries density keeps",
    },
    rescale: {
      type: "choice",
      default: "none",
      per: "recipe",
      choices: { none: "not at all", norm: "to the old L1 norm of each tensor" },
      meaning: "how what the trim leaves is scaled (select: top)",
    },
    deviations: {
      type: "number",
      default: 1,
      min: 0,
      per: "model",
      meaning: "distance from the mean (select: deviations)",
    },
    norm_share: {
      type: "number",
      default: 0.9,
      min: 0,
      max: 1,
      per: "model",
      meaning: "share of the squared norm (select: norm-share)",
    },
    elect: {
      type: "choice",
      default: "mass",
      per: "recipe",
      choices: {
        mass: "sign of the sum",
        "norm-mass": "sign of the sum of signed squares over the squared norm",
        "norm-fraction": "sign of the largest square over the squared norm",
        count: "sign of the sum of signs",
        oracle: "sign of another checkpoint's change",
        none: "no election",
      },
      meaning: "how a column's sign is elected",
    },
    oracle: {
      type: "checkpoint",
      default: null,
      per: "recipe",
      meaning: "checkpoint whose change gives the sign (elect: oracle)",
    },
    vote: {
      type: "choice",
      default: "weighted",
      per: "recipe",
      choices: { weighted: "after multiplication by the weight", unweighted: "before" },
      meaning: "what the election sees of a model with a weight",
    },
    zero_sign: {
      type: "choice",
      default: "majority",
      per: "recipe",
      choices: { majority: "the majority sign of all columns", positive: "positive", negative: "negative" },
      meaning: "what a zero sum elects",
    },
    merge: {
      type: "choice",
      default: "mean",
      per: "recipe",
      choices: {
        mean: "mean of the agreeing entries",
        sum: "sum of the agreeing entries",
        max: "largest agreeing entry",
        "plain-mean": "mean of all entries, elected sign",
        "plain-sum": "sum of all entries, elected sign",
        "plain-median": "lower median of all entries, elected sign",
        "plain-magnitude": "largest of all entries, elected sign",
      },
      meaning: "what is made of a column",
    },
    divide: {
      type: "choice",
      default: "weights",
      per: "recipe",
      choices: { weights: "by the sum of the agreeing weights", count: "by the number of agreeing models" },
      meaning: "what the mean divides by",
    },
  },
  dialects: {
    paper: { meaning: "the released code: global top 20 %, mass, disjoint mean, lambda 1", values: {} },
    "vision-sum": {
      meaning: "the vision port used by AdaMerging, EMR and FusionBench: disjoint sum, lambda 0.3",
      values: { merge: "sum", lambda: 0.3 },
    },
    mergekit: {
      meaning:
        "mergekit's ties: per tensor, exact count, weighted vote, zero sum positive, divided by the agreeing weights",
      values: {
        trim: "tensor",
        quota: "exactly-nonzero",
        density: 1,
        zero_sign: "positive",
        vote: "weighted",
        divide: "weights",
      },
    },
    peft: {
      meaning:
        "PEFT's ties: per tensor, exact count, unweighted vote, zero sum positive, divided by the agreeing models",
      values: { trim: "tensor", quota: "exactly", zero_sign: "positive", vote: "unweighted", divide: "count" },
    },
  },
  inputs: "changes",
  grain: "tile",
  counters: {
    conflicts: "columns in which trimmed entries of both signs meet",
    cancelled: "columns whose votes cancel exactly",
    positive: "columns that elect the positive sign",
    negative: "columns that elect the negative sign",
  },

  check({ global }) {
    if (global.elect === "oracle" && global.oracle === null)
      return "elect: oracle needs the parameter oracle, a checkpoint";
    if (global.elect !== "oracle" && global.oracle !== null)
      return "the parameter oracle is used only with elect: oracle";
    if (global.rescale === "norm" && (global.select !== "top" || global.quota === "at-least"))
      return "rescale: norm needs select: top and an exact count, quota: exactly or exactly-nonzero";
    return null;
  },

  needs(settings, known): Need | null {
    const { global, models } = settings;
    const scope = global.trim as Scope;
    if (trims(global) && known.threshold === undefined) {
      return { statistic: "threshold", scope, ranks: models.map(rankOf), ties: tieRule(global) };
    }
    if (global.select === "deviations" && known.moments === undefined) return { statistic: "moments", scope };
    if (global.select === "norm-share" && known["norm-share"] === undefined) {
      return { statistic: "norm-share", scope, shares: models.map((model) => Number(model.norm_share)) };
    }
    const normed = global.elect === "norm-mass" || global.elect === "norm-fraction";
    if (normed && known.energy === undefined) {
      const { columns } = this.bind(settings, known);
      const trim = columns.threshold!.map((threshold, i) => ({ threshold, centre: columns.centre![i]! }));
      return { statistic: "energy", scope, trim };
    }
    return null;
  },

  prune({ global, models }) {
    if (global.rescale !== "norm") return models.map(() => null);
    return models.map(({ density, quota }): Cut | null => {
      if (Number(density) >= 1) return null;
      const least = quota === "exactly-nonzero" ? 1 : 0;
      const scope = global.trim as Scope;
      return { kind: "band", scope, density: Number(density), gamma: 0, least, rescale: "norm" };
    });
  },

  majority: ({ global }) => (decidesByMajority(global) ? (global.trim as Scope) : null),

  bind({ global, models }: Settings, known: Known): Arguments {
    const majority =
      decidesByMajority(global) && known.votes !== undefined && known.votes.positive > known.votes.negative;
    const zero = global.zero_sign === "positive" || majority;
    const count = global.divide === "count";
    return {
      scalars: {
        lambda: fround(Number(global.lambda)),
        zero: zero && global.elect !== "oracle" ? 1 : 0,
        mean: global.merge === "mean" ? 1 : 0,
        tally: decidesByMajority(global) ? 1 : 0,
        elect: ELECT[global.elect as keyof typeof ELECT],
        merge: MERGE[global.merge as keyof typeof MERGE],
      },
      columns: {
        threshold: models.map((model, i) => thresholdOf(model, known, i)),
        vote: models.map((model) => voteWeight(model)),
        weight: models.map((model) => fround(Number(model.weight))),
        share: models.map((model) => (count ? 1 : fround(Number(model.weight)))),
        centre: models.map((model, i) => (model.select === "deviations" ? fround(known.moments?.mean[i] ?? 0) : 0)),
        inverse: models.map((_, i) => inverseOf(known.energy?.energy[i] ?? 0)),
      },
    };
  },

  combine(tile: Tile, args: Arguments) {
    const { count, base, out, counters, extra } = tile;
    const { lambda, zero, elect, merge, tally } = args.scalars as Record<string, number>;
    const weights = args.columns.weight!;
    const column = new Float32Array(tile.inputs.length);
    const voted = new Float32Array(tile.inputs.length);
    const votes = args.columns.vote!;
    let conflicts = 0;
    let cancelled = 0;
    let positive = 0;
    let negative = 0;
    for (let p = 0; p < count; p++) {
      trimColumn(tile, p, args, column);
      const vote = elect === ELECT.none ? 0 : electColumn(column, extra.oracle?.[p] ?? 0, args);
      const elected = elect === ELECT.none ? 0 : vote > 0 || (vote === 0 && zero === 1) ? 1 : -1;
      let up = false;
      let down = false;
      let unknown = false;
      for (let i = 0; i < column.length; i++) {
        voted[i] = column[i]! * votes[i]!;
        column[i] = column[i]! * weights[i]!;
        up ||= column[i]! > 0;
        down ||= column[i]! < 0;
        unknown ||= Number.isNaN(column[i]!);
      }
      if (up && down && !unknown) conflicts++;
      if (tally === 1) {
        if (vote > 0) positive++;
        else if (vote < 0) negative++;
        else if (vote === 0 && (up || down) && !unknown) cancelled++;
      }
      const merged = merge! <= MERGE.max ? disjoint(column, voted, elected, args) : plain(column, elected, merge!);
      out[p] = base[p]! + fround(merged * lambda!);
    }
    const counts = { conflicts, cancelled, positive, negative };
    for (const [name, more] of Object.entries(counts)) counters[name] = (counters[name] ?? 0) + more;
  },

  kernel({ scalars, columns }) {
    if (scalars.elect !== ELECT.mass || scalars.merge! > MERGE.sum) return null;
    if (columns.centre!.some((centre) => centre !== 0)) return null;
    const isOne = (value: number) => value === 1;
    // The kernel looks at the signs of weighted entries, which must be those that voted.
    if (columns.weight!.some((weight, i) => weight !== columns.vote![i] && !(weight > 0 && columns.vote![i]! > 0)))
      return null;
    // The kernel takes a zero sum for a cancellation only where entries of both signs meet. Where votes are not the
    // weighted entries, one sign alone can have a zero sum, and the majority decides over it.
    if (scalars.tally === 1 && columns.vote!.some((vote, i) => vote !== columns.weight![i])) return null;
    const plainWeights = columns.vote!.every(isOne) && columns.weight!.every(isOne) && columns.share!.every(isOne);
    return plainWeights ? "ties" : "ties_weighted";
  },

  maskedKernel(args) {
    const isTrimmed = args.columns.threshold!.some((value) => value !== 0);
    return !isTrimmed && args.scalars.tally !== 1 && this.kernel(args) === "ties" ? "ties_masked" : null;
  },
};

/** Whether the method itself trims to a share; scaled, it is pruned before. */
function trims({ select, rescale }: Values): boolean {
  return select === "top" && rescale !== "norm";
}

/** Whether a column without a sign of its own takes the majority's. */
function decidesByMajority({ elect, zero_sign: zeroSign }: Values): boolean {
  return zeroSign === "majority" && elect !== "none" && elect !== "oracle";
}

/** 1 / energy within f32; 0 where there is no norm: nothing survived, or the change is not finite. */
function inverseOf(energy: number): number {
  return energy > 0 ? Math.min(fround(1 / energy), LARGEST) : 0;
}

function voteWeight(model: Values): number {
  return model.vote === "weighted" ? fround(Number(model.weight)) : 1;
}

function tieRule(global: Values): "keep" | "first" {
  return global.quota === "at-least" ? "keep" : "first";
}

/** Rank (1 = largest) of the smallest magnitude kept among d entries; the products are IEEE doubles as released. */
function rankOf(model: Values): (entries: number) => number | null {
  const density = Number(model.density);
  return (entries) => {
    if (density >= 1) return null;
    const share = trunc(entries * density);
    if (model.quota === "at-least") return share + 1;
    return density > 0 && model.quota === "exactly-nonzero" ? Math.max(1, share) : share;
  };
}

function thresholdOf(model: Values, known: Known, i: number): number {
  switch (model.select) {
    case "top":
      return known.threshold?.thresholds[i] ?? 0;
    case "norm-share":
      return known["norm-share"]?.thresholds[i] ?? 0;
    case "deviations":
      // Kept is what lies strictly further, so the smallest f32 above the distance is the threshold.
      return nextAbove(fround(Number(model.deviations) * (known.moments?.deviation[i] ?? 0)));
    default:
      return 0;
  }
}

/** The column's changes, trimmed: +0 where smaller than the threshold. */
function trimColumn({ inputs }: Tile, p: number, { columns }: Arguments, column: Float32Array): void {
  const thresholds = columns.threshold!;
  const centres = columns.centre!;
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i]![p]!;
    column[i] = abs(fround(x - centres[i]!)) < thresholds[i]! ? 0 : x;
  }
}

/** A number whose sign is the elected one. */
function electColumn(column: Float32Array, oracle: number, { scalars, columns }: Arguments): number {
  const votes = columns.vote!;
  const inverse = columns.inverse!;
  let sum = 0;
  switch (scalars.elect) {
    case ELECT.mass:
      for (let i = 0; i < column.length; i++) sum = fround(sum + fround(column[i]! * votes[i]!));
      return sum;
    case ELECT.count:
      for (let i = 0; i < column.length; i++) sum += sign(fround(column[i]! * votes[i]!));
      return sum;
    case ELECT["norm-mass"]:
      for (let i = 0; i < column.length; i++) {
        const x = fround(column[i]! * votes[i]!);
        sum = fround(sum + fround(fround(x * abs(x)) * inverse[i]!));
      }
      return sum;
    case ELECT["norm-fraction"]: {
      let largest = 0;
      for (let i = 0; i < column.length; i++) {
        const x = fround(column[i]! * votes[i]!);
        const share = fround(fround(x * x) * inverse[i]!);
        if (share > largest) {
          largest = share;
          sum = x;
        }
      }
      return sum;
    }
    default:
      return oracle;
  }
}

/** Mean, sum or maximum of the entries that voted for the elected sign (0: of all non-zero entries). */
function disjoint(column: Float32Array, voted: Float32Array, elected: number, { scalars, columns }: Arguments): number {
  const shares = columns.share!;
  // From +0, so that a column of zeros gives +0 whichever sign it elects: nothing but `cancelled` hangs on votes.
  let sum = 0;
  let divisor = 0;
  let largest = 0;
  for (let i = 0; i < column.length; i++) {
    const x = column[i]!;
    // Written so that a NaN, which has no sign, is taken in every case.
    const own = voted[i]!;
    if (elected > 0 ? own < 0 : elected < 0 ? own > 0 : false) continue;
    sum = fround(sum + x);
    if (own !== 0 && !Number.isNaN(own)) divisor = fround(divisor + shares[i]!);
    if (abs(x) > abs(largest) || Number.isNaN(x)) largest = x;
  }
  if (scalars.merge === MERGE.sum) return sum;
  if (scalars.merge === MERGE.max) return largest;
  return fround(sum / (divisor === 0 ? 1 : divisor));
}

/** An aggregate of all entries with the elected sign (0: with its own). */
function plain(column: Float32Array, elected: number, merge: number): number {
  let value = 0;
  if (merge === MERGE["plain-median"]) {
    // sort puts NaN last, where no median would meet it.
    value = column.some(Number.isNaN) ? Number.NaN : Float32Array.from(column).sort()[(column.length - 1) >> 1]!;
  } else if (merge === MERGE["plain-magnitude"]) {
    for (const x of column) if (abs(x) > abs(value) || Number.isNaN(x)) value = x;
  } else {
    for (const x of column) value = fround(value + x);
    if (merge === MERGE["plain-mean"]) value = fround(value / column.length);
  }
  // Never −0, which a sign elected by the majority could give where nothing else depends on it.
  return elected === 0 || value === 0 ? value + 0 : abs(value) * elected;
}
