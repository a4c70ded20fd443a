/** Pictures of how inputs found their experts. */
import type { HeatMap } from "../plots/chart.js";
import type { ArtifactEvaluation } from "./evaluate.js";

export interface RoutingCharts {
  /** Task x expert: the mean weight, or the share of tokens and layers that chose it. */
  readonly shares: HeatMap;
  /** Layer x task: the share of tokens that the layer's gate gave to the task's own expert; `null` without gates. */
  readonly layers: HeatMap | null;
}

/** @returns `null` where nothing was chosen. */
export function routingCharts({ routing, routed, experts }: ArtifactEvaluation): RoutingCharts | null {
  if (routed === null) return null;
  const isByTokens = routing === "tokens";
  const measured = isByTokens ? "share of tokens, over all layers" : "mean weight";
  const shares: HeatMap = {
    kind: "heat-map",
    title: "Which experts the inputs of each task find",
    description: `${measured}, routing ${routing}. ${routed
      .map(({ name, shares: own, entropy }) => `${name}: ${told(experts, own)}, entropy ${entropy.toFixed(3)}`)
      .join("; ")}.`,
    ...{ rows: routed.map(({ name }) => name), columns: experts, form: "percent" },
    ...{ rowLabel: "inputs of", columnLabel: `expert: ${measured}` },
    values: routed.map((task) => task.shares),
  };
  const owned = routed.filter(({ name, layers }) => layers !== null && experts.includes(name));
  const names = owned[0]?.layers?.map(({ layer }) => layer) ?? [];
  if (names.length === 0) return { shares, layers: null };
  const values = names.map((_, layer) => owned.map((task) => task.layers![layer]!.shares[experts.indexOf(task.name)]!));
  return {
    shares,
    layers: {
      kind: "heat-map",
      title: "How often each layer's gate finds a token's own expert",
      description: `Share of tokens by layer and task; ${(100 / experts.length).toFixed(1)} % would be chance.`,
      ...{ rows: names.map((name) => name.replace(/\.weight$/, "")), columns: owned.map(({ name }) => name) },
      ...{ rowLabel: "layer", columnLabel: "inputs of", form: "percent", values },
    },
  };
}

/** The expert with the largest share. */
function told(experts: readonly string[], shares: readonly number[]): string {
  const most = Math.max(...shares);
  return `mostly ${experts[shares.indexOf(most)]!}, ${(100 * most).toFixed(1)} %`;
}
