import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../../errors.js";
import { parseTasks } from "../../../evaluate/read_tasks.js";
import { ROUTER_FILE, ROUTER_FOLDER } from "../../../experts/router_file.js";
import { trainRouter } from "../../../experts/train_router.js";
import type { TrainedRouter } from "../../../experts/train_router.js";
import { evaluatePlatform } from "../../../platform/node/evaluate.js";
import { systemError } from "../../../platform/node/files.js";
import { defaultThreads, nodePlatform } from "../../../platform/node/platform.js";
import { threadTeam } from "../../../platform/node/team.js";
import { durationText, percentText } from "../../../report/units.js";
import { soloTeam } from "../../../runtime/team.js";
import { openDisplay, stepMeter } from "../../progress.js";
import { readFileGiven } from "../../request.js";
import { facts, table } from "../../table.js";
import type { Column } from "../../table.js";
import type { Terminal } from "../../terminal.js";
import type { Given, Outcome } from "../../verb.js";

interface RouterReport extends Omit<TrainedRouter, "bytes"> {
  readonly out: string;
}

/** Trains the router of an artifact and puts it into the artifact. */
export async function router({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const [artifact] = positionals;
  const file = flags.tasks;
  if (artifact === undefined || file === undefined) {
    throw new MergewrightError(`${artifact === undefined ? "the artifact" : "--tasks"} is missing`, {
      kind: "request",
      code: "usage",
      where: { key: "mergewright collect router" },
      expected: "mergewright collect router ARTIFACT --tasks TASKS",
    });
  }
  const tasks = parseTasks(readFileGiven(file, "tasks file"), file);
  const threads = flags.threads ?? defaultThreads();
  const openTeam = () => (threads > 1 ? threadTeam(threads) : soloTeam());
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  try {
    const { bytes, ...trained } = await trainRouter(
      artifact,
      tasks,
      { ...nodePlatform, ...evaluatePlatform, openTeam },
      {
        progress: display.report,
        ...(flags.split !== undefined && { split: flags.split }),
        ...(flags.router !== undefined && { kind: flags.router }),
        ...(flags.seed !== undefined && { seed: Number(flags.seed) }),
        ...(flags.examples !== undefined && { examples: flags.examples }),
      },
    );
    const report: RouterReport = { ...trained, out: writeRouter(artifact, bytes) };
    return { exitCode: 0, json: report, text: () => describe(report, terminal) };
  } finally {
    display.end();
  }
}

/** Under another name first, so that a reader never sees half of it. */
function writeRouter(artifact: string, bytes: Uint8Array): string {
  const folder = path.join(artifact, ROUTER_FOLDER);
  const out = path.join(folder, ROUTER_FILE);
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${out}.part`, bytes);
    renameSync(`${out}.part`, out);
    return out;
  } catch (error) {
    throw systemError("write", out, error);
  }
}

function describe({ kind, tasks, scores, seconds, out }: RouterReport, terminal: Terminal): string {
  const columns: Column[] = [{ head: "task" }];
  for (const { split } of scores) columns.push({ head: split, align: "right" });
  const share = (right: readonly number[], of: readonly number[]) => {
    const sum = (list: readonly number[]) => list.reduce((total, one) => total + one, 0);
    return percentText(sum(right) / sum(of));
  };
  const rows = tasks.map((task, index) => [
    task,
    ...scores.map(({ right, of }) => share([right[index]!], [of[index]!])),
  ]);
  rows.push(["all", ...scores.map(({ right, of }) => share(right, of))]);
  const summary = [
    ["router", `${kind}, learnt from ${scores[0]!.split}`],
    ["time", durationText(seconds)],
    ["written", out],
  ] as const;
  return [facts(summary, terminal), "inputs whose task it finds:", table(columns, rows, terminal)].join("\n\n");
}
