import { MergewrightError } from "../../errors.js";
import { planMerge } from "../../merge.js";
import { nodePlatform } from "../../platform/node/platform.js";
import type { Plan } from "../../plan/types.js";
import type { Recipe } from "../../recipe/recipe.js";
import { stringifyRecipe } from "../../recipe/write.js";
import { mergekitDifferences, nativeDifferences } from "../../report/differences.js";
import { readRequest } from "../request.js";
import { harmless } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

/** Comments stay within the width of a page. */
const WIDTH = 100;

export async function convert(given: Given): Promise<Outcome> {
  const { recipe } = await readRequest(given);
  const { plan, problem } = await planIfThere(recipe);
  const report = {
    recipe: stringifyRecipe(recipe),
    mergekit: mergekitDifferences(recipe, plan),
    native: nativeDifferences(recipe),
    notes: recipe.notes,
    unread: problem,
  };
  return { exitCode: 0, json: report, text: () => describe(report) };
}

/** A recipe can be converted before its models are there; the methods' differences on single tensors are then unknown. */
async function planIfThere(recipe: Recipe): Promise<{ plan: Plan | null; problem: string | null }> {
  if (recipe.compat === "none") return { plan: null, problem: null };
  try {
    return { plan: await planMerge(recipe, nodePlatform), problem: null };
  } catch (error) {
    if (!(error instanceof MergewrightError)) throw error;
    return { plan: null, problem: error.message.split("\n")[0]! };
  }
}

interface Report {
  readonly recipe: string;
  readonly mergekit: readonly string[];
  readonly native: readonly string[];
  readonly notes: readonly string[];
  readonly unread: string | null;
}

function describe({ recipe, mergekit, native, notes, unread }: Report): string {
  const sections = [
    section("Not used by mergekit either:", notes),
    section("Where mergekit 0.1.5 differs:", [
      ...mergekit,
      ...(unread === null ? [] : [`the method may differ more: the merge could not be planned (${unread})`]),
    ]),
    section("Kept by `compat` and `missing`, and otherwise different in a recipe of our own:", native),
  ];
  return [...sections.flat(), harmless(recipe.trimEnd())].join("\n");
}

function section(title: string, items: readonly string[]): string[] {
  if (items.length === 0) return [];
  return [`# ${title}`, ...items.flatMap((item) => comment(harmless(item)))];
}

/** One item as comment lines, broken between words. */
function comment(item: string): string[] {
  const lines: string[] = [];
  let line = "# -";
  for (const word of item.split(/\s+/)) {
    if (line.length + 1 + word.length > WIDTH && line.length > 3) {
      lines.push(line);
      line = "#  ";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
