import type { MethodDeclaration, Parameter, Settings, TileMethod, Values } from "./method.js";
import type { Pruner } from "../pruners/pruner.js";

/** A pruner and the method that merges what it leaves. */
export interface Composition
  extends Pick<MethodDeclaration, "name" | "title" | "paper" | "description" | "dialects">,
    Pick<TileMethod, "quirk"> {
  readonly pruner: Pruner;
  readonly merger: TileMethod;
  /** The merger's parameters that the composed method has, too; the others keep their defaults or `fixed`. */
  readonly shared: readonly string[];
  /** Parameters of its own. */
  readonly own?: Readonly<Record<string, Parameter>>;
  /** The merger's values that follow from the composed method's, and those that never change. */
  readonly fixed: (values: Values) => Values;
}

/**
 * A method that is a pruner followed by another: the same computation as that method with `prune:` in the recipe, under a
 * name and with defaults of its own.
 */
export function composed(composition: Composition): TileMethod {
  const { pruner, merger, shared, own = {}, fixed, name, title, paper, description, dialects, quirk } = composition;
  const parameters = {
    ...pruner.parameters,
    ...Object.fromEntries(shared.map((parameter) => [parameter, merger.parameters[parameter]!])),
    ...own,
  };
  const defaults = Object.fromEntries(
    Object.entries(merger.parameters).map(([key, { default: value }]) => [key, value]),
  );
  const inner = (values: Values): Values => ({
    ...defaults,
    ...Object.fromEntries(shared.map((parameter) => [parameter, values[parameter]!])),
    ...fixed(values),
  });
  const settingsOf = ({ global, models }: Settings): Settings => ({ global: inner(global), models: models.map(inner) });
  return {
    ...{ name, title, paper, description, dialects, parameters },
    ...(quirk && { quirk }),
    base: merger.base,
    models: merger.models,
    inputs: merger.inputs,
    grain: "tile",
    counters: merger.counters,
    check(settings) {
      for (const values of settings.models) {
        const fault = pruner.check?.(values) ?? null;
        if (fault !== null) return fault;
      }
      return merger.check?.(settingsOf(settings)) ?? null;
    },
    prune: (settings, shape) => settings.models.map((values) => pruner.cut(values, shape)),
    needs: (settings, known) => merger.needs(settingsOf(settings), known),
    majority: (settings) => merger.majority?.(settingsOf(settings)) ?? null,
    bind: (settings, known) => merger.bind(settingsOf(settings), known),
    combine: (tile, args) => merger.combine(tile, args),
    kernel: (args) => merger.kernel(args),
    maskedKernel: (args) => merger.maskedKernel?.(args) ?? null,
  };
}

/** What a sign election and a mean or sum of what agrees are made of, for methods that prune and then do as TIES does. */
export const ELECTION: readonly string[] = ["weight", "lambda", "elect", "vote", "zero_sign", "merge", "divide"];

/** TIES without a trim of its own. */
export const UNTRIMMED: Values = { select: "none" };

/** mergekit's rules after pruning. */
export const MERGEKIT_ELECTION: Values = {
  lambda: 1,
  elect: "mass",
  vote: "weighted",
  zero_sign: "positive",
  divide: "weights",
};

type Tensor = Parameters<NonNullable<TileMethod["quirk"]>>[1];

/** What mergekit does otherwise where entries are dropped at random. */
export function randomQuirk({ models }: Settings): string | null {
  const draws = models.some(({ density }) => Number(density) > 0 && Number(density) < 1);
  return draws
    ? "mergekit draws from one generator in the order of its tasks: it keeps the same share of other entries"
    : null;
}

/** The same for MagPrune, which mergekit does along the second axis. */
export function rankQuirk(settings: Settings, { shape }: Tensor): string | null {
  const draws = randomQuirk(settings);
  if (draws === null) return null;
  const row = shape.length < 2 ? (shape[0] ?? 1) : shape[1]!;
  if (row === 1) return "mergekit fails where a row has a single entry; here it is kept with probability density";
  if (shape.length > 2)
    return "mergekit ranks along the second axis of a tensor with more than two; here along all but the first";
  return draws;
}
