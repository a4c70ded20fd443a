/** What experts store and cost, for people. */
import { countText, durationText, sizeText } from "../report/units.js";
import type { ExpertsCost, Upscaling, UpscalingWay } from "../plan/upscaling.js";

export function upscalingFacts({ parameters, perToken, ways }: Upscaling): (readonly [string, string])[] {
  const { shared, experts, gates, ratio } = parameters;
  const of = gates === 0 ? "" : ` and ${countText(gates)} of gates`;
  return [
    [
      "experts",
      `${countText(experts)} numbers${of} beside ${countText(shared)} shared: ${ratio.toFixed(2)} times the model`,
    ],
    ...(perToken.shared === 0 ? [] : ways.map((way) => [wayName(way), wayText(way, perToken)] as const)),
  ];
}

function wayName({ routing }: UpscalingWay): string {
  return routing === "tokens" ? "per token" : `per token, ${routing}`;
}

function wayText({ experts, ratio, perChoice }: UpscalingWay, { shared, gates }: Upscaling["perToken"]): string {
  const parts = [
    `${countText(shared)} multiply-adds in shared layers`,
    ...(gates === 0 ? [] : [`${countText(gates)} in gates`]),
    `${countText(experts)} in experts`,
  ];
  const once = perChoice === 0 ? "" : `; ${countText(perChoice)} once per choice`;
  return `${parts.join(", ")}: ${ratio.toFixed(2)} times${once}`;
}

export function makingFacts({ matrices, operations, seconds, bytes }: ExpertsCost): (readonly [string, string])[] {
  if (matrices === 0) return [];
  const what = matrices === 1 ? "1 matrix" : `${countText(matrices)} matrices`;
  const work = `${what} to decompose, ${(operations / 1e9).toPrecision(2)} GFLOP, about ${durationText(seconds)}`;
  return [["making", `${work}; ${sizeText(bytes)} for the matrices at hand`]];
}
