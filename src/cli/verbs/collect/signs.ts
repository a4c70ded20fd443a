import { learnSigns, type SignResult } from "../../../collect/signs.js";
import { MergewrightError } from "../../../errors.js";
import { parseTasks } from "../../../evaluate/read_tasks.js";
import { methods as catalogue } from "../../../methods/catalogue.js";
import { writeFolder } from "../../../platform/node/adapters.js";
import { collectPlatform } from "../../../platform/node/collect.js";
import { stateBeside } from "../../../platform/node/kept_state.js";
import { defaultThreads } from "../../../platform/node/platform.js";
import { parseRecipe } from "../../../recipe/native.js";
import { stringifyRecipe } from "../../../recipe/write.js";
import { PROVENANCE_FILE } from "../../../report/provenance.js";
import { countOf, countText, durationText } from "../../../report/units.js";
import { VERSION } from "../../../version.js";
import { headsOf } from "../../heads.js";
import { interruptible } from "../../interrupt.js";
import { refuseForeign } from "../../output.js";
import { openDisplay, stepMeter } from "../../progress.js";
import { readFileGiven } from "../../request.js";
import { facts } from "../../table.js";
import type { Given, Outcome } from "../../verb.js";

export async function signs({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const file = positionals[0]!;
  const out = flags.out!;
  refuseForeign(flags);
  const state = stateBeside(out);
  if (flags.force) state.remove();
  const recipe = parseRecipe(readFileGiven(file, "recipe"), { file, methods: catalogue, withoutCoefficients: true });
  const tasks = parseTasks(readFileGiven(flags.tasks!, "tasks file"), flags.tasks);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  try {
    const result = await interruptible(
      () =>
        learnSigns(recipe, tasks, collectPlatform, {
          threads: flags.threads ?? defaultThreads(),
          heads: headsOf(flags, tasks),
          from: startOf(flags.from ?? "mean"),
          ...(flags.steps !== undefined && { steps: flags.steps }),
          ...(flags.batch !== undefined && { batch: flags.batch }),
          ...(flags.examples !== undefined && { examples: flags.examples }),
          ...(flags.rate !== undefined && { rate: flags.rate }),
          ...(flags.split !== undefined && { split: flags.split }),
          state,
          progress: (progress) => display.report(progress),
        }),
      () => "the same command goes on from where it was, at most half a minute back",
    );
    const { files, ...told } = result;
    const record = { tool: `mergewright ${VERSION}`, verb: "collect signs", recipe: stringifyRecipe(recipe), ...told };
    const text = new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`);
    writeFolder(out, new Map([...files, [PROVENANCE_FILE, text]]), { force: flags.force ?? false });
    state.remove();
    return {
      exitCode: 0,
      json: { out, files: [...files.keys()], ...told },
      text: () => facts(rowsOf(result, out, file), terminal),
    };
  } finally {
    display.end();
  }
}

function rowsOf(result: SignResult, out: string, file: string) {
  const { steps, examples, split, losses, changed, entries, agreement, notes, seconds } = result;
  const mean = (row: readonly number[] = []) => (row.reduce((sum, loss) => sum + loss, 0) / row.length).toFixed(3);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const loss =
    steps === 0
      ? []
      : [["loss", `${mean(losses[0])} nats before the first step, ${mean(losses.at(-1))} before the last`] as const];
  return [
    [
      "trained",
      `${countOf(steps, "step")} on ${examples} examples of each task, split ${split}; ${durationText(seconds)}`,
    ] as const,
    ...loss,
    [
      "changed",
      `${percent(changed / entries)} of ${countText(entries)} entries; the others have no sign and count as negative`,
    ] as const,
    [
      "agreement",
      `${percent(agreement.entries)} of the entries have the sign of the sum of the models' changes, ${percent(agreement.mass)} of its mass`,
    ] as const,
    ...notes.map((note) => ["note", note] as const),
    ["wrote", out] as const,
    ["next", `mergewright merge ${file} -p elect=oracle -p oracle=${out} -o merged`] as const,
  ];
}

function startOf(text: string): "base" | "mean" {
  if (text === "base" || text === "mean") return text;
  throw new MergewrightError("--from has a wrong value", {
    kind: "request",
    code: "usage",
    where: { key: "--from" },
    expected: "base or mean",
    found: JSON.stringify(text),
  });
}
