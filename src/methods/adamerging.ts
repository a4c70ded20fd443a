import type { Arguments, Known, Need, Settings, Tile, TileMethod, Values } from "./method.js";

const { abs, fround, trunc } = Math;

export const adamerging: TileMethod = {
  name: "adamerging",
  title: "AdaMerging: base plus task vectors, with learnt coefficients for every tensor and task",
  paper: {
    title: "AdaMerging: Adaptive Model Merging for Multi-Task Learning",
    authors: "Yang et al.",
    where: "arXiv 2310.02575",
  },
  description: `theta_l = theta_0l + c_1l x_1l + … + c_nl x_nl,   x_i = tau_i = theta_i - theta_0

One coefficient per model (task-wise) or per model and tensor (layer-wise; the paper's "layers" are tensors, weight and
bias apart). They minimise the entropy of the merged model's predictions on unlabelled inputs of all tasks, which takes
a network and data: \`mergewright collect coefficients\` learns them once and writes a table; \`coefficients: FILE\` in the
recipe uses it, and the merge itself stays a function of files. Without a table \`coefficient\` holds, as for any
parameter; 0.3 is where learning begins.

AdaMerging++ (\`plus-plus\`, density 0.2) replaces tau_i by what TIES leaves of it: of each task vector the largest share
\`density\` over the whole model (trunc(d·density) + 1 entries and every entry equal to the last), a sign elected per
entry by the sum, a zero sum taking the majority of all signs (a zero majority counts as negative), and of each model
the entries that agree; these are added, not averaged.

Learnt on the data that later judge the model, as the paper does it, the coefficients are transductive: nothing about
other data follows from the score.`,
  base: "required",
  models: { min: 1 },
  parameters: {
    coefficient: {
      type: "number",
      default: 0.3,
      per: "model",
      meaning: "strength of a model's task vector; a table of coefficients takes its place",
    },
    density: {
      type: "number",
      default: 1,
      min: 0,
      max: 1,
      per: "model",
      meaning: "share of a task vector that is kept before signs are elected; 1 for all models: no election either",
    },
  },
  dialects: {
    paper: { meaning: "AdaMerging: whole task vectors", values: {} },
    "plus-plus": {
      meaning: "AdaMerging++: trimmed to 20 %, entries that agree with the elected sign",
      values: { density: 0.2 },
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

  weighing: { coefficient: "coefficient", fixed: {}, start: (values) => Number(values.coefficient), parts: partsOf },

  needs({ models }, known): Need | null {
    if (!filters(models) || known.threshold !== undefined) return null;
    return { statistic: "threshold", scope: "model", ranks: models.map(rankOf), ties: "keep" };
  },

  majority: ({ models }) => (filters(models) ? "model" : null),

  bind({ models }: Settings, known: Known): Arguments {
    const positive = known.votes !== undefined && known.votes.positive > known.votes.negative;
    return {
      scalars: { lambda: 1, filter: filters(models) ? 1 : 0, zero: positive ? 1 : 0 },
      columns: {
        weight: models.map(({ coefficient }) => fround(Number(coefficient))),
        threshold: models.map((_, i) => known.threshold?.thresholds[i] ?? 0),
      },
    };
  },

  combine(tile: Tile, args: Arguments) {
    const { count, base, out } = tile;
    const weights = args.columns.weight!;
    const parts = args.scalars.filter === 0 ? tile.inputs : tile.inputs.map(() => new Float32Array(count));
    if (args.scalars.filter !== 0) partsOf(tile, args, parts);
    for (let p = 0; p < count; p++) {
      let sum = 0;
      for (let i = 0; i < parts.length; i++) sum = fround(sum + fround(parts[i]![p]! * weights[i]!));
      out[p] = base[p]! + sum;
    }
  },

  kernel: ({ scalars }) => (scalars.filter === 0 ? "arithmetic" : null),
};

/** What of each change is weighed: all of it, or what the trim and the elected sign leave; the rest is +0. */
function partsOf(
  { count, inputs, counters }: Pick<Tile, "count" | "inputs" | "counters">,
  { scalars, columns }: Arguments,
  parts: readonly Float32Array[],
): void {
  if (scalars.filter === 0) {
    for (const [i, part] of parts.entries()) part.set(inputs[i]!.subarray(0, count));
    return;
  }
  const thresholds = columns.threshold!;
  const column = new Float32Array(inputs.length);
  const tally = { conflicts: 0, cancelled: 0, positive: 0, negative: 0 };
  for (let p = 0; p < count; p++) {
    let [sum, up, down] = [0, false, false];
    for (let i = 0; i < column.length; i++) {
      const x = inputs[i]![p]!;
      // Dropped only if smaller: a NaN never is, so it reaches the result.
      column[i] = abs(x) < thresholds[i]! ? 0 : x;
      sum = fround(sum + column[i]!);
      up ||= column[i]! > 0;
      down ||= column[i]! < 0;
    }
    if (up && down) tally.conflicts++;
    if (sum > 0) tally.positive++;
    else if (sum < 0) tally.negative++;
    else if (sum === 0 && up) tally.cancelled++;
    const elected = sum > 0 || (sum === 0 && scalars.zero === 1) ? 1 : -1;
    for (let i = 0; i < column.length; i++) parts[i]![p] = column[i]! * elected < 0 ? 0 : column[i]! + 0;
  }
  for (const [name, found] of Object.entries(tally)) counters[name] = (counters[name] ?? 0) + found;
}

function filters(models: readonly Values[]): boolean {
  return models.some(({ density }) => Number(density) < 1);
}

/** Rank (1 = largest) of the smallest magnitude kept among d entries, as TIES' released code counts. */
function rankOf({ density }: Values): (entries: number) => number | null {
  return (entries) => (Number(density) >= 1 ? null : trunc(entries * Number(density)) + 1);
}
