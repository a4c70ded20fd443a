import { learnCoefficients, type CoefficientResult, type Sharing } from "../../../collect/coefficients.js";
import { curvesOf } from "../../../collect/coefficient_files.js";
import { MergewrightError } from "../../../errors.js";
import { parseTasks } from "../../../evaluate/read_tasks.js";
import { methods as catalogue } from "../../../methods/catalogue.js";
import { collectPlatform } from "../../../platform/node/collect.js";
import { refuseTaken, stateBeside, writeWhole } from "../../../platform/node/kept_state.js";
import { loadMethods } from "../../../platform/node/own_methods.js";
import { defaultThreads } from "../../../platform/node/platform.js";
import { drawChart } from "../../../plots/draw.js";
import { parseRecipe } from "../../../recipe/native.js";
import { markdownTable, plainText } from "../../../report/markdown.js";
import { countOf, durationText } from "../../../report/units.js";
import { headsOf } from "../../heads.js";
import { interruptible } from "../../interrupt.js";
import { showMarkdown } from "../../markdown.js";
import { shellWord } from "../../output.js";
import { openDisplay, stepMeter } from "../../progress.js";
import { readFileGiven } from "../../request.js";
import { harmless } from "../../terminal.js";
import type { FlagValues, Given, Outcome } from "../../verb.js";

export async function coefficients({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const file = positionals[0]!;
  const out = flags.out!;
  refuseTaken(out, flags.force ?? false);
  const state = stateBeside(out);
  if (flags.force) state.remove();
  const own = await loadMethods(flags.use ?? []);
  const recipe = parseRecipe(readFileGiven(file, "recipe"), {
    file,
    methods: [...catalogue, ...own],
    withoutCoefficients: true,
  });
  const tasks = parseTasks(readFileGiven(flags.tasks!, "tasks file"), flags.tasks);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  try {
    const result = await interruptible(
      () =>
        learnCoefficients(recipe, tasks, collectPlatform, {
          threads: flags.threads ?? defaultThreads(),
          heads: headsOf(flags, tasks),
          per: sharingOf(flags.per ?? "tensor"),
          ...(flags.steps !== undefined && { steps: flags.steps }),
          ...(flags.batch !== undefined && { batch: flags.batch }),
          ...(flags.rate !== undefined && { rate: flags.rate }),
          ...(flags.clamp === false && { clamp: null }),
          ...(flags.split !== undefined && { split: flags.split }),
          ...(flags.shuffle === true && { shuffle: { seed: seedOf(flags) } }),
          state,
          progress: (progress) => display.report(progress),
        }),
      () => "the same command goes on from where it was, at most some seconds back",
    );
    const curves = writeCurves(out, result);
    writeWhole(out, result.table);
    state.remove();
    const { split, steps, resumedAt, models, means, history, seconds, notes } = result;
    const report = { out, split, transductive: split === "test", steps, resumedAt, models, means };
    const json = { ...report, tasks: result.tasks, losses: history.losses, curves, notes, seconds };
    const text = () =>
      [
        showMarkdown(describe(result), terminal),
        `wrote: ${[out, ...curves].map(harmless).join(", ")}`,
        `next: write coefficients: ${harmless(out)} into ${harmless(file)}, then mergewright merge ${harmless(shellWord(file))} -o merged`,
      ].join("\n\n");
    return { exitCode: 0, json, text };
  } finally {
    display.end();
  }
}

function writeCurves(out: string, result: CoefficientResult): readonly string[] {
  const stem = out.replace(/\.safetensors$/, "");
  const charts = curvesOf(result.history, result);
  const files = [`${stem}.curves.json`, `${stem}.entropy.svg`, `${stem}.coefficients.svg`];
  const { split, steps, models, tasks, history } = result;
  const table = Object.fromEntries([...result.coefficients].map(([name, values]) => [name, [...values]]));
  writeWhole(files[0]!, `${JSON.stringify({ split, steps, models, tasks, ...history, coefficients: table })}\n`);
  for (const [index, chart] of charts.entries()) writeWhole(files[index + 1]!, drawChart(chart));
  return files;
}

function describe(result: CoefficientResult): string {
  const { models, means, coefficients, history, split, steps, resumedAt, notes, seconds } = result;
  const all = [...coefficients.values()];
  const rows = models.map((name, model) => {
    const column = all.map((row) => row[model]!);
    return [name, means[model]!, Math.min(...column), Math.max(...column)].map((cell) =>
      typeof cell === "number" ? cell.toFixed(4) : plainText(cell),
    );
  });
  const lossAt = (step: number) => (history.losses.at(step) ?? []).reduce((sum, loss) => sum + loss, 0).toFixed(3);
  const told = [
    `${countOf(steps, "step")} on the split ${split}, without its labels; ${durationText(seconds)}`,
    ...(resumedAt > 0 ? [`${countOf(resumedAt, "step")} of them by the run before`] : []),
    ...(steps > 0
      ? [`sum of the tasks' entropies: ${lossAt(0)} nats before the first step, ${lossAt(-1)} before the last`]
      : []),
    ...(split === "test"
      ? ["learnt on test inputs, as the paper does: scores on the same data say nothing about other data"]
      : []),
    ...notes,
  ];
  const head = ["model", "mean coefficient", "least", "most"];
  return [markdownTable(head, rows), told.map((line) => `- ${plainText(line)}`).join("\n")].join("\n\n");
}

function sharingOf(text: string): Sharing {
  if (text === "tensor" || text === "layer" || text === "model") return text;
  throw wrongWord("--per", text, "tensor, layer or model");
}

/** The recipe's flags read it as text, and so does this verb. */
export function seedOf({ seed = "0" }: FlagValues): number {
  const value = /^\d{1,15}$/.test(seed) ? Number(seed) : Number.NaN;
  if (!Number.isNaN(value)) return value;
  throw wrongWord("--seed", seed, "a whole number from 0 on");
}

function wrongWord(flag: string, found: string, expected: string): MergewrightError {
  const details = { kind: "request", code: "usage", where: { key: flag } } as const;
  return new MergewrightError(`${flag} has a wrong value`, { ...details, expected, found: JSON.stringify(found) });
}
