/** What the plan of a merge says, or what keeps it from being made. */
import { describePlace, type MergewrightError } from "../errors.js";
import type { Plan } from "../plan/types.js";
import type { Recipe } from "../recipe/recipe.js";
import { mergekitDifferences } from "../report/differences.js";
import type { Finding } from "./findings.js";

/** A merge that cannot be planned. Its differences in tensors are told by tensorFindings, all of them. */
export function planProblem(error: MergewrightError): Finding[] {
  if (error.code === "plan/missing-tensor" || error.code === "plan/shape") return [];
  const place = describePlace(error.where);
  const details = [error.expected && `expected ${error.expected}`, error.found && `found ${error.found}`].filter(
    Boolean,
  );
  return [
    {
      ...{ level: "problem", topic: "plan" },
      what: [error.message.split("\n")[0]!, place && `(${place})`, details.length > 0 && `: ${details.join(", ")}`]
        .filter(Boolean)
        .join(" ")
        .replace(" :", ":"),
      advice: error.advice ?? "correct the recipe",
    },
  ];
}

/** What other findings tell with an advice of their own. */
const TOLD_ELSEWHERE: readonly RegExp[] = [
  / has \d+ tensors that the .* lacks; they are not in the result/,
  /^\d+ tensors are F64; their entries are rounded/,
  /^\d+ tensors are stored in fewer bits than in some model/,
  /^the configs name different model types/,
];
const ADVICE: readonly (readonly [warning: RegExp, advice: string])[] = [
  [/ is merged without .*, which lack it$/, "check that the models that lack it are complete, or exclude it"],
  [/pickles are never opened/, "nothing needs to be done: the safetensors files are read"],
  [/not part of the checkpoint, left alone/, "nothing needs to be done unless these files should be merged"],
  [
    /refers to Python code, which is never carried over/,
    "take the code from the model's own page when the result is used",
  ],
  [/is the base itself/, "leave it out of the models, or name another base"],
];

export function planFindings(plan: Plan): Finding[] {
  return plan.warnings
    .filter((warning) => !TOLD_ELSEWHERE.some((pattern) => pattern.test(warning)))
    .map((warning): Finding => {
      const advice = ADVICE.find(([pattern]) => pattern.test(warning))?.[1];
      const isIdle = advice?.startsWith("nothing needs to be done") ?? false;
      return {
        level: isIdle ? "note" : "warning",
        topic: "plan",
        what: warning,
        advice: advice ?? "see that this is meant; the recipe's documentation says how to have it otherwise",
      };
    });
}

/** Where mergekit 0.1.5 computes something else, for a recipe of its own. */
export function mergekitFindings(recipe: Recipe, plan: Plan): Finding[] {
  const isStrict = recipe.compat === "strict";
  return mergekitDifferences(recipe, plan).map((what): Finding => {
    return {
      ...{ level: "note", topic: "mergekit", what },
      advice: isStrict
        ? "remove compat: strict where the right numbers are wanted rather than mergekit's"
        : "write compat: strict where mergekit's own numbers are wanted as far as they can be had",
    };
  });
}

/** An inner merge is checked like one of its own. */
export function labelOfMerge({ sources, inputs }: Plan, key: string): string | null {
  const source = sources.find(({ address }) => address?.kind === "merge" && address.key === key);
  return source === undefined ? null : inputs[source.input]!.label;
}
