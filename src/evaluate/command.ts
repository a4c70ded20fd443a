/** Scores from outside: any program that prints a number, such as lm-eval or an image scorer. */

import { printable } from "../formats/safetensors/text.js";
import { readDecimal } from "../recipe/tree.js";
import { taskDefect } from "./defect.js";
import type { Finished } from "./platform.js";
import type { Scorer } from "./scorer.js";
import type { CommandTask } from "./task.js";

/** Of what a program printed, in messages. */
const SHOWN = 300;

export const command: Scorer<CommandTask> = async (task, { model, split, platform }) => {
  const { runCommand } = platform;
  if (runCommand === null || model.location === "") {
    throw taskDefect(task, "tasks/model", "a command scores a model in files", {
      expected: "a model in a local folder, and a place where programs run",
      found: model.location === "" ? "a model in memory" : "no programs here",
      advice: "merge the model into a folder first",
    });
  }
  const known: Readonly<Record<string, string>> = { model: model.location, split, task: task.name };
  const words =
    typeof task.command === "string"
      ? task.command
      : task.command.map((word) => word.replaceAll(/\{(model|split|task)\}/g, (_, name: string) => known[name]!));
  return {
    // What a program does depends on more than can be seen.
    content: null,
    examples: 1,
    notes: [],
    async run(_, during) {
      const variables = {
        MERGEWRIGHT_MODEL: model.location,
        MERGEWRIGHT_SPLIT: split,
        MERGEWRIGHT_TASK: task.name,
      };
      const finished = await during(1, runCommand(words, { timeout: task.timeout, variables }));
      const value = numberOf(task, words, finished);
      return { kind: "printed", metric: task.metric, value, better: task.better };
    },
  };
};

/** The last line that holds anything must be a number. */
function numberOf(task: CommandTask, words: string | readonly string[], finished: Finished): number {
  const { ended, status, stdout, stderr } = finished;
  const where = { file: printable(typeof words === "string" ? words : words.join(" ")) };
  const said = tail(stderr) || tail(stdout);
  const found = (what: string) => (said === "" ? what : `${what}; it said: ${said}`);
  if (ended === "timeout") {
    throw taskDefect(task, "tasks/scorer", "a scorer did not come to an end", {
      where,
      expected: `a number within ${task.timeout} seconds`,
      found: found("it was ended"),
      advice: "find out what it waits for, or write a longer timeout: in the task",
    });
  }
  if (ended !== "exit" || status !== "0") {
    const how = { exit: "exit code", signal: "ended by signal", "not-started": "it could not be started:" }[ended];
    throw taskDefect(task, "tasks/scorer", "a scorer failed", {
      where,
      expected: "exit code 0",
      found: found(`${how} ${status}`),
      advice: "run it by hand with MERGEWRIGHT_MODEL set to the model's folder",
    });
  }
  const last = stdout.trimEnd().split("\n").at(-1)!.trim();
  const value = readDecimal(last);
  if (value !== undefined && Number.isFinite(value)) return value;
  throw taskDefect(task, "tasks/scorer", "a scorer printed no number", {
    where,
    expected: "a number alone in the last line of standard output, such as 0.731",
    found: last === "" ? found("nothing") : `"${tail(last)}"`,
    advice: "print the score last",
  });
}

function tail(text: string): string {
  const short = text.trim().slice(-SHOWN);
  return printable(short.replaceAll(/\s*\n\s*/g, " / "));
}
