import type { Curve, CurveContext, CurveKind } from "./curve.js";
import { pathsOf } from "./laboratory.js";
import { percent } from "./redundancy.js";

/** How often the signs of task vectors disagree, for the first 2, 3, … models, before and after trimming. */
export const conflict: CurveKind = {
  meaning: "sign conflicts by the number of models, before and after trimming",
  // One comparison, of which the laboratory is told.
  work: () => 1,
  async run({ recipes, compare, settings: { density } }: CurveContext): Promise<Curve> {
    const { recipe } = recipes[0]!.template;
    const { signs, entries, cosine, models } = await compare(
      recipe.base ?? "",
      pathsOf(recipe),
      density,
      recipe.exclude,
    );
    const lines = [
      ["all entries", signs.map((one) => one.untrimmed.share)],
      [`trimmed to ${percent(density)}`, signs.map((one) => one.trimmed.share)],
      ["trimmed, of entries kept by two or more", signs.map((one) => one.trimmed.shareOfShared)],
    ] as const;
    return {
      chart: {
        kind: "lines",
        title: "Sign conflicts by the number of models",
        description: `Share of entries in which task vectors have both signs. Of ${signs.length + 1} models ${percent(
          signs.at(-1)!.untrimmed.share,
        )} of all entries, ${percent(signs.at(-1)!.trimmed.share)} once trimmed.`,
        x: { label: "models" },
        y: { label: "entries with both signs", form: "percent", from: 0 },
        series: lines.map(([name, shares]) => {
          return { name, points: shares.map((share, at) => ({ x: signs[at]!.models, y: share })) };
        }),
      },
      numbers: {
        density,
        entries,
        signs,
        cosine,
        models: models.map(({ name, norm, threshold, kept, zeroShare }) => ({
          name,
          norm,
          threshold,
          kept,
          zeroShare,
        })),
      },
    };
  },
};
