import { MergewrightError } from "../../errors.js";
import { measureUnfold, referenceOf } from "../../fold.js";
import { openModel } from "../../platform/node/platform.js";
import { countText, numberText } from "../../report/units.js";
import { facts } from "../table.js";
import type { Given, Outcome } from "../verb.js";
import { merge } from "./merge.js";

export async function fold(given: Given): Promise<Outcome> {
  const { model, adapters, weights } = partsOf(given);
  const outcome = await merge(asMerge(given, referenceOf({ model, adapters, weights })));
  const named = adapters.map((adapter, index) => ({ adapter, weight: weights[index]! }));
  return {
    exitCode: outcome.exitCode,
    json: { base: model, adapters: named, ...outcome.json },
    text: () => [facts([["folded", folded(named, model, "into")]], given.terminal), outcome.text()].join("\n"),
  };
}

export async function unfold(given: Given): Promise<Outcome> {
  const { model, adapters, weights } = partsOf(given);
  const { flags, terminal } = given;
  const outcome = await merge(asMerge(given, referenceOf({ model, adapters, weights }, true)));
  const base = flags.base ?? null;
  const error = await measureUnfold({ model, adapters, weights, out: flags.out!, base }, openModel);
  const named = adapters.map((adapter, index) => ({ adapter, weight: weights[index]! }));
  const share = (count: number) => `${countText(count)} of ${countText(error.entries)} entries`;
  const rows: (readonly [string, string])[] = [
    ["unfolded", folded(named, model, "out of")],
    ["error", `at most ${numberText(error.bound)} and the rounding of the result's format`],
    ["again", `folded again, ${share(error.again.differing)} differ, by ${numberText(error.again.largest)} at most`],
    ...(error.base === null
      ? []
      : [
          [
            "base",
            `${share(error.base.differing)} differ from ${base}'s, by ${numberText(error.base.largest)} at most, ` +
              `${numberText(error.base.rms)} in the mean square`,
          ] as const,
        ]),
  ];
  return {
    exitCode: outcome.exitCode,
    json: { folded: model, adapters: named, error, ...outcome.json },
    text: () => [facts(rows, terminal), outcome.text()].join("\n"),
  };
}

function folded(
  adapters: readonly { readonly adapter: string; readonly weight: number }[],
  model: string,
  where: string,
): string {
  const one = ({ adapter, weight }: (typeof adapters)[number]) => (weight === 1 ? adapter : `${weight} * ${adapter}`);
  return `${adapters.map(one).join(", ")} ${where} ${model}`;
}

/** A merge of one model; flags that are about adapters mean nothing to it. */
function asMerge({ flags, terminal }: Given, reference: string): Given {
  const { weights: _, base: _base, ...rest } = flags;
  return { positionals: [reference], flags: { ...rest, method: "passthrough" }, terminal };
}

function partsOf({ positionals, flags }: Given) {
  const [model, ...adapters] = positionals as [string, ...string[]];
  const weights = flags.weights ?? adapters.map(() => 1);
  if (weights.length === adapters.length) return { model, adapters, weights };
  throw new MergewrightError("--weights has a wrong value", {
    kind: "request",
    code: "usage",
    where: { key: "--weights" },
    expected: `one number for each of the ${adapters.length} adapters`,
    found: weights.join(","),
  });
}
